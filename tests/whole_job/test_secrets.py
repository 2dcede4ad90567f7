"""A secret that a step was given is found nowhere afterwards. `PLACES` is the list of where it is looked for.

The build is as real as can be: the program, a Prefect server with its database, the emulator, two virtual machines. Its
step and its verification script print the secret, write it to a file that they remove, and pass it to other programs.
"""

import base64
import gzip
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from support.compute_clients import call
from support.raw_blocks import words_in_blocks

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.server import Emulator

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.xdist_group("secrets")]  # which share a build

SECRET = "projects/my-project/secrets/token/versions"
MARK, KEPT, FILE = "mArk-of-the-oUtput-31c0", "kEpt-in-the-iMage-77ab", "fIle-with-the-sEcret-19d2"
INSTANCES = "projects/my-project/zones/-/instances"

SCRIPT = f"""
[[ $(printf %s "$TOKEN" | sha256sum) == "$DIGEST"* ]] || exit 9
echo "{MARK} $STAGE: the script has the right secret"
echo "plain $TOKEN, $TOKEN$TOKEN."
printf %s "$TOKEN" | base64; echo "$TOKEN" | base64 -w 0; echo
printf %s "$TOKEN" | od -An -v -tx1 | tr -d ' \\n'; echo
for user in u us use; do printf '%s:%s@' $user "$TOKEN" | base64 -w 0; echo; done
for file in /proc/[0-9]*/cmdline; do
  [[ $(tr '\\0' ' ' <"$file") != *"$TOKEN"* ]] || echo "it is on the command line of ${{file//[!0-9]/}}"
done 2>/dev/null
for place in /var/tmp /var/lib /home /mnt/stateful_partition; do
  for n in {{1..20}}; do printf '%s\n' "$TOKEN"{{1..50}} >"$place/{FILE}-$n"; done
  sync
  rm -f "$place/{FILE}"-*
done
echo {KEPT} >/var/lib/kept
sleep 2 # for those who look at command lines
"""
OTHER = f"""
echo "{MARK} another step has ${{TOKEN-no secret}}"
"""


@dataclass
class Build:
    """What is left of a build, and what was seen while it ran."""

    value: str
    image: Path
    prefect: Path
    cloud: Emulator
    state: Path
    home: Path
    output_file: Path
    printed: bytes
    seen: dict[str, set[bytes]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, session_server: dict[str, str]) -> Iterator[Build]:
    """One build whose step and verification script have a secret each, by its newest version and by a number."""
    place, state = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("cloud")
    value = f"vAlue/{secrets.token_hex(16)}+"
    with Emulator(state, "qemu", cache_dir=default_cache_dir()) as cloud:
        cloud.prepare()
        path = "/v1/projects/my-project/secrets"
        assert call(cloud, "POST", f"{path}?secretId=token", {"replication": {"automatic": {}}})[0] == 200
        payload = {"payload": {"data": base64.b64encode(value.encode()).decode()}}
        assert call(cloud, "POST", f"{path}/token:addVersion", payload)[0] == 200
        recipe = _recipe(place, hashlib.sha256(value.encode()).hexdigest())
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")},
            **cloud.environment(),
            **session_server,
            "PREFECT_LOGGING_TO_API_ENABLED": "true",
            "HOME": str(place / "home"),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        }
        program = str(Path(sys.executable).with_name("cos-customizer"))
        (place / "home").mkdir()
        for arguments in (
            (
                "start-image-build",
                "-gcs-bucket=my-project_cloudbuild",
                "-gcs-workdir=w",
                "-image-project=cos-cloud",
                "-image-milestone=125",
            ),
            ("run-script", "-script=first.sh", f"-env-secret=TOKEN={SECRET}/latest"),
        ):
            subprocess.run([program, *arguments], cwd=place / "context", env=environment, check=True)
        built = Build(
            value,
            place / "image.qcow2",
            Path(session_server["PREFECT_HOME"]),
            cloud,
            state,
            place / "home",
            place / "out",
            b"",
        )
        with _watching(built):
            command = [program, "build", f"-recipe={recipe}", f"-output-file={built.output_file}"]
            ran = subprocess.run(command, env=environment, capture_output=True)
        built.printed = ran.stdout + ran.stderr
        assert ran.returncode == 0, built.printed.decode()
        (image,) = [path for path in state.rglob("images/*.qcow2") if not path.name.startswith("stand-in")]
        shutil.copyfile(image, built.image)
        yield built


def _recipe(place: Path, digest: str) -> Path:
    (place / "context").mkdir()
    for stage in ("build", "verify"):
        (place / "context" / f"{stage}.sh").write_text(SCRIPT)
    (place / "context" / "first.sh").write_text(OTHER)

    def script(stage: str, version: str) -> dict[str, object]:
        env = {"DIGEST": digest, "STAGE": stage}
        return {"script": f"{stage}.sh", "env": env, "env_secrets": {"TOKEN": f"{SECRET}/{version}"}}

    recipe = {
        "source": {"project": "cos-cloud", "family": "cos-stable"},
        "context": {"path": str(place / "context")},
        "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
        "builder": {"project": "my-project", "zones": ["us-west1-b"]},
        "output": {"project": "my-project", "name": "with-secrets", "family": "with-secrets"},
        "steps": [script("build", "latest"), {"script": "first.sh"}],
        "verify": {"scripts": [script("verify", "1")]},
        "timeout": "20m",
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return place / "recipe.yaml"


class _watching:  # noqa: N801 - reads as a clause
    """Looks, again and again, at all processes of this machine and at the VMs as the emulator has them."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._build.seen = {"processes": set(), "vms": set()}
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            for what in ("cmdline", "environ"):
                for file in Path("/proc").glob(f"[0-9]*/{what}"):
                    try:
                        self._build.seen["processes"].add(file.read_bytes())
                    except OSError:  # it has ended, or is somebody else's
                        continue
            self._build.seen["vms"] |= {json.dumps(vm).encode() for vm in self._build.cloud.list(INSTANCES)}


def forms(value: str) -> list[str]:
    """How a secret may be written: as it is, in base64 wherever it begins in a text, in hexadecimal digits."""
    encoded = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + value.encode()).decode()
        # Characters at its ends that tell of what is before and behind it, too.
        core = text.rstrip("=")[:-1] if "=" in text else text
        encoded.append(core[(0, 2, 3)[before] :])
    safe = [text.replace("+", "-").replace("/", "_") for text in encoded]
    return list(dict.fromkeys([value, *encoded, *safe, value.encode().hex(), value.encode().hex().upper()]))


def files_below(directory: Path) -> bytes:
    """The contents of all files, in one."""
    return b"\0".join(path.read_bytes() for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def asked(build: Build, query: str) -> bytes:
    """What a query of Prefect's database gives."""
    with sqlite3.connect(f"file:{build.prefect / 'prefect.db'}?mode=ro", uri=True) as database:
        return "\n".join(str(row) for row in database.execute(query)).encode()


def objects(build: Build) -> bytes:
    """All objects in the bucket, unpacked."""
    endpoint = build.cloud.environment()["STORAGE_EMULATOR_HOST"]
    client = Client("-", AnonymousCredentials(), client_options={"api_endpoint": endpoint})  # type: ignore[no-untyped-call]
    contents = [blob.download_as_bytes() for blob in client.list_blobs("my-project_cloudbuild")]
    return b"\0".join(gzip.decompress(each) if each.startswith(b"\x1f\x8b") else each for each in contents)


PLACES: dict[str, tuple[str, Callable[[Build], bytes]]] = {
    # Where: a word that must be there, lest the wrong place is looked at; what is there.
    "command lines and environments of all processes": (
        "qemu-system",
        lambda build: b"\n".join(build.seen["processes"]),
    ),
    "local state of the build steps": (f"{SECRET}/latest", lambda build: files_below(build.home)),
    "metadata of the VMs": (f"secret:TOKEN={SECRET}/1", lambda build: b"\n".join(build.seen["vms"])),
    "the program's output and errors": (MARK, lambda build: build.printed),
    "-output-file": ("with-secrets", lambda build: build.output_file.read_bytes()),
    "serial logs and all else in the bucket": (f"{MARK} verify", objects),
    "Prefect's database, its log and its files": (f"{SECRET}/latest", lambda build: files_below(build.prefect)),
    "parameters of runs": (f"{SECRET}/latest", lambda build: asked(build, "SELECT parameters FROM flow_run")),
    "Prefect's log lines": (MARK, lambda build: asked(build, "SELECT message FROM log")),
    "Prefect's artifacts": ("with-secrets", lambda build: asked(build, "SELECT data FROM artifact")),
    "the emulator's files, but for disks": (
        "with-secrets",
        lambda build: b"\0".join(
            path.read_bytes() for path in build.state.rglob("*") if path.is_file() and "images" not in path.parts
        ),
    ),
    "the emulator's log of requests": (":access", lambda build: json.dumps(build.cloud.calls.report()).encode()),
    "the emulator's log of Cloud Logging": (
        "",
        lambda build: json.dumps(build.cloud.logs.page({"resourceNames": ["projects/my-project"]})).encode(),
    ),
}


def test_the_forms_of_a_secret_are_found_wherever_it_begins() -> None:
    value = "some/secret+"
    for before in ("", "a", "ab", "abc"):
        text = base64.b64encode(f"{before}{value}xyz".encode()).decode()
        assert [form for form in forms(value) if form in text], before


@pytest.mark.parametrize("place", PLACES)
def test_it_is_not_in(build: Build, place: str) -> None:
    mark, read = PLACES[place]
    content = read(build)
    assert mark.encode() in content
    assert [form for form in forms(build.value) if form.encode() in content] == []


def test_it_is_not_in_the_raw_blocks_of_the_image(build: Build) -> None:
    words = [*forms(build.value), FILE]
    assert words_in_blocks(build.image, [*words, KEPT]) == {**dict.fromkeys(words, 0), KEPT: 1}


def test_the_scripts_had_it_and_nobody_else(build: Build) -> None:
    lines = [line for line in objects(build).decode(errors="replace").splitlines() if "BuildStatus: " in line]
    text = "\n".join(lines)
    for stage in ("build", "verify"):
        assert f"{MARK} {stage}: the script has the right secret" in text
    assert f"{MARK} another step has no secret" in text
    assert "plain ***, ***." in text
    assert "it is on the command line" not in text
