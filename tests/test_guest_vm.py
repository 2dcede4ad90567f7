"""The guest on a real virtual machine: scripts that reboot or fill the disk, and what of it all stays on the disk.

A boot takes 15 to 25 s without hardware acceleration, so each build tries many things at once.
"""

import gzip
import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from cos_customizer.emulator.machines import STAND_IN, Backend, Machine, MachineSpec
from cos_customizer.emulator.server import make_backend
from cos_customizer.emulator.service import default_cache_dir
from cos_customizer.guest.protocol import (
    PORT,
    BuildFailed,
    BuildSucceeded,
    Event,
    OutputLine,
    SerialParser,
    StepFailed,
    StepStarted,
    StepSucceeded,
)
from cos_customizer.guest.user_data import ContextObject, GuestStep, render_user_data

pytestmark = pytest.mark.vm

BOOT_LIMIT = 240
"""Seconds for a boot and what follows it, on a busy machine."""

HOST = "169.254.169.1"
"""This machine's loopback, as the guest sees it."""

SECRET = 's3cret it\'s $(reboot) "of"\nthe builder'


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    backend = make_backend("qemu", tmp_path_factory.mktemp("qemu"), default_cache_dir())
    backend.prepare()
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def storage() -> Iterator["Storage"]:
    storage = Storage({})
    storage.serve()
    yield storage
    storage.stop()


@dataclass
class Storage:
    """As much of Cloud Storage as the guest needs: objects by name, for whoever brings a token."""

    objects: dict[str, bytes]

    def serve(self) -> None:
        objects = self.objects

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = objects.get(self.path.removeprefix("/storage/v1/b/my-bucket/o/").partition("?")[0])
                allowed = (self.headers["Authorization"] or "").startswith("Bearer ")
                self.send_response((200 if body is not None else 404) if allowed else 401)
                self.end_headers()
                if allowed and body is not None:
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.endpoint = f"http://{HOST}:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Console:
    """Follows a machine's third serial port."""

    def __init__(self, machine: Machine, nonce: str) -> None:
        self._machine = machine
        self._parser = SerialParser(nonce)
        self._at = 0
        self.raw = b""
        self.events: list[Event] = []

    def read(self) -> list[Event]:
        chunk = self._machine.serial_output(PORT, self._at)
        assert chunk.start == self._at, "output was lost"
        self._at = chunk.next
        self.raw += chunk.contents
        new = self._parser.feed(chunk.contents)
        self.events += new
        return new

    def until(self, *last: type[Event] | str) -> Event:
        """Wait for an event of one of these types, or for a line that is one of these."""
        types = tuple(kind for kind in last if not isinstance(kind, str))
        deadline = time.monotonic() + BOOT_LIMIT
        while time.monotonic() < deadline and self._machine.running:
            for event in self.read():
                if isinstance(event, types) or (isinstance(event, OutputLine) and event.text in last):
                    return event
            time.sleep(0.1)
        raise AssertionError(
            f"nothing of the kind: {self.events}\n{self._machine.serial_output(1, 0).contents[-3000:]!r}"
        )

    @property
    def text(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, OutputLine)]

    @property
    def markers(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, OutputLine)]


def power_on(backend: Backend, name: str, image: str, attributes: dict[str, str]) -> Machine:
    backend.create_disk(name, image, 10)
    machine = backend.machine(
        MachineSpec(
            project="my-project",
            zone="us-west1-b",
            name=name,
            instance_id=str(time.time_ns()),
            boot_disk=name,
            attributes=attributes,
            service_account="default@my-project.iam.gserviceaccount.com",
            scopes=("https://www.googleapis.com/auth/cloud-platform",),
        )
    )
    machine.power_on()
    return machine


def build(backend: Backend, storage: Storage, name: str, *scripts: str) -> tuple[Machine, Console]:
    """Start a build of these scripts."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number, script in enumerate(scripts, start=1):
            info = tarfile.TarInfo(f"{number}.sh")
            info.size = len(script.encode())
            archive.addfile(info, io.BytesIO(script.encode()))
    tar = stream.getvalue()
    storage.objects[f"{name}%2Fcontext.tar.gz"] = gzip.compress(tar)
    context = ContextObject("my-bucket", f"{name}/context.tar.gz", hashlib.sha256(tar).hexdigest())
    steps = [
        GuestStep("run-script", f"run-script {number}.sh", f"{number}.sh", {"SECRET": SECRET})
        for number in range(1, len(scripts) + 1)
    ]
    user_data = render_user_data(steps, context, "n0nce")
    machine = power_on(backend, name, STAND_IN, {"user-data": user_data, "storage-endpoint": storage.endpoint})
    return machine, Console(machine, "n0nce")


def stop(machine: Machine) -> None:
    """Press the power button, and wait until the machine is off."""
    begun = time.monotonic()
    machine.press_power_button()
    while machine.running:
        assert time.monotonic() - begun < 60, "does not power off"
        time.sleep(0.05)


FILL_THE_DISK = """
fallocate -l $(($(stat -f -c '%a * %S' /var))) /var/filler 2>/dev/null
cat /dev/zero >/var/filler2 2>/dev/null
for i in {1..5000}; do : >"/var/lib/filler-$i" || break; done 2>/dev/null
"""

# Something in every place that is cleaned, and something that is kept.
LITTER = r"""
for place in /var/cache /var/lib/systemd /var/tmp /tmp /var/lib/crash_reporter /var/lib/metrics /var/lib/update_engine \
    /var/lib/whitelist /var/lib/cloud /var/log/journal /var/log/audit /etc/netplan /mnt/stateful_partition/etc/ssh \
    /etc/docker /root; do
  mkdir -p "$place/litter with space/$RANDOM"
  echo litter >"$place/.litter"
done
mkdir -p /var/cache/{apt,debconf} /var/lib/systemd/deb-systemd-helper-enabled /var/log/app
echo kept | tee /var/cache/{apt,debconf}/kept /var/lib/systemd/deb-systemd-helper-enabled/kept /var/lib/kept >/dev/null
echo litter | tee /etc/docker/key.json /etc/ssh/ssh_host_rsa_key /var/lib/systemd/random-seed >/dev/null
echo litter >/var/log/app/app.log
mkdir -p /var/tmp/mounted && mount -t tmpfs none /var/tmp/mounted && touch /var/tmp/mounted/file
mkdir -p /var/lib/elsewhere && touch /var/lib/elsewhere/file && mkdir -p /var/tmp/bound
mount --bind /var/lib/elsewhere /var/tmp/bound
"""

# /var and /home are on the stateful partition. (The patterns do not match themselves, in this boot's own user-data.)
LOOK_AROUND = r"""
exec >/dev/ttyS2 2>&1
stty raw -echo </dev/ttyS2
{
  find / /mnt/stateful_partition -xdev -regex '.*\(lit[t]er\|cos-customize[r]\|fille[r]\).*'
  find /mnt/stateful_partition -name mounted -o -name bound -o -name random-seed
  grep -rls -e s3cre[t] -e lit[t]er -e n0nc[e] /mnt/stateful_partition /root /usr/share/oem
  systemctl list-unit-files 'cos-customize[r]*' --no-legend
} | sed 's/^/left: /'
for file in /etc/docker/key.json /etc/ssh/ssh_host_rsa_key /mnt/stateful_partition/etc; do
  [[ ! -e $file ]] || echo "left: $file"
done
for file in /var/cache/apt/kept /var/cache/debconf/kept /var/lib/systemd/deb-systemd-helper-enabled/kept /var/lib/kept \
    /var/lib/elsewhere/file /var/lib/hello; do
  [[ -e $file ]] && echo "kept: $file"
done
echo "app.log: $(stat -c %s /var/log/app/app.log) bytes"
cat /var/lib/hello
echo 'looked around'
"""


def test_a_build_from_its_first_step_to_the_image(backend: Backend, storage: Storage) -> None:
    scripts = [
        # 1: what a script gets to see; it reads its input, and prints bytes that are no text and no line.
        r"""
        echo "in $PWD as $(id -un) at home in $HOME with $SECRET"
        cat; read -r line || echo "no input"
        [[ ! -t 1 ]] && echo "no terminal"
        printf 'binary \x00\xff\x1b[31m\n'
        (touch /usr/no || true) 2>&1 | grep -o 'Read-only file system'
        [[ $(mount) == *'tmpfs on /root '* ]] && echo "/root in memory"
        yes | head -1
        echo BuildSucceeded[n0nce]:
        printf 'no end'
        """,
        # 2: leaves a process that holds its output open, for much longer than the build has to wait for it.
        "(sleep 600; echo late) & echo left running",
        # 3: reboots at its end.
        LITTER + "\necho Hello >/var/lib/hello\nreboot",
        # 4: runs after the reboot, fills the disk, and is content with that.
        FILL_THE_DISK
        + "echo x >/var/more || echo full\nls -A /root | wc -l\nread -r up _ </proc/uptime; echo up $up\nexit 0",
        # 5: still has its turn, with the disk full.
        "rm -rf /var/filler* /var/lib/filler-*\n"
        + LITTER
        + "\n(trap '' TERM; while :; do sleep 1; done) >/dev/null 2>&1 &",
    ]
    machine, console = build(backend, storage, "good", *scripts)
    console.until(BuildSucceeded, BuildFailed)

    labels = [f"run-script {number}.sh" for number in range(1, 6)]
    assert console.markers == [
        marker
        for number, label in enumerate(labels, start=1)
        for marker in (StepStarted(number, label), _succeeded(console, number))
    ] + [BuildSucceeded()]
    text = console.text
    first = text.index('in /var/lib/.cos-customizer/context as root at home in /root with s3cret it\'s $(reboot) "of"')
    assert text[first + 1 : first + 10] == [
        "the builder",
        "no input",
        "no terminal",
        "binary ␀�",
        "Read-only file system",
        "/root in memory",
        "y",
        "BuildSucceeded[n0nce]:",
        "no end",
    ]
    assert "fetched the build context" in text[0]
    assert sum("fetched the build context" in line for line in text) == 1, "once, not again after the reboot"
    assert _succeeded(console, 2).seconds < 10
    assert "late" not in text
    assert "full" in text
    assert text[text.index("full") + 1] == "0", "/root is empty after a reboot"
    uptime = float(next(line for line in text if line.startswith("up ")).split()[1])
    assert uptime < BOOT_LIMIT / 2, "it did reboot"

    # The last marker is repeated, lest the console lose it, and told once; then the machine halts, and stays on.
    deadline = time.monotonic() + 60
    while b"System halted" not in machine.serial_output(1, 0).contents:
        assert time.monotonic() < deadline, "does not halt"
        console.read()
        time.sleep(0.1)
    console.read()
    assert console.raw.count(b"\nBuildSucceeded[n0nce]:") >= 3
    assert console.markers[-1] == BuildSucceeded()
    assert console.markers.count(BuildSucceeded()) == 1
    assert machine.running, "halted, not powered off"
    machine.cut_power()

    backend.create_image("good-image", "good")
    commands = {"runcmd": [["bash", "-c", LOOK_AROUND]]}
    copy = power_on(backend, "copy", "good-image", {"user-data": "#cloud-config\n" + yaml.safe_dump(commands)})
    console = Console(copy, "n0nce")
    console.until("looked around")
    copy.cut_power()
    assert console.text == [
        "kept: /var/cache/apt/kept",
        "kept: /var/cache/debconf/kept",
        "kept: /var/lib/systemd/deb-systemd-helper-enabled/kept",
        "kept: /var/lib/kept",
        "kept: /var/lib/elsewhere/file",
        "kept: /var/lib/hello",
        "app.log: 0 bytes",
        "Hello",
        "looked around",
    ]


def _succeeded(console: Console, number: int) -> StepSucceeded:
    return next(event for event in console.events if isinstance(event, StepSucceeded) and event.step == number)


def test_a_script_that_fails_after_it_filled_the_disk(backend: Backend, storage: Storage) -> None:
    machine, console = build(
        backend, storage, "full", "echo one", FILL_THE_DISK + "echo full >&2; exit 3", "echo never"
    )
    console.until(BuildFailed, BuildSucceeded)
    assert console.markers[2:] == [
        StepStarted(2, "run-script 2.sh"),
        StepFailed(2, 3, "exited with 3"),
        BuildFailed(2, 3, "exited with 3"),
    ]
    assert "full" in console.text
    assert "never" not in console.text
    machine.cut_power()


def test_a_reboot_in_the_middle_of_a_script(backend: Backend, storage: Storage) -> None:
    machine, console = build(backend, storage, "cut", "echo once >>/var/lib/once\nreboot\nsleep 600", "echo never")
    console.until(StepStarted)
    failed = console.until(BuildFailed, BuildSucceeded)
    assert isinstance(failed, BuildFailed)
    assert (failed.step, failed.exit_code) == (1, None)
    assert "interrupted by a reboot" in failed.reason
    assert "exit right after asking for a reboot" in failed.reason
    assert [type(marker) for marker in console.markers] == [StepStarted, StepFailed, BuildFailed], "it ran once"
    stop(machine)
