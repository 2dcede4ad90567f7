"""The guest records what is on a machine's disk and sends it; its functions are run by bash on this machine."""

import gzip
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.bash_guest import FOLDER
from support.packed_contents import packed
from support.paths import ROOT
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.contents.inventory import Inventory
from cos_customizer.customizer.contents.reading import read_contents
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import contents as recorded
from cos_customizer.gcp.clients import connect

PROGRAMS = ("docker", "ctr", "systemctl", "dpkg-query", "rpm", "modinfo", "sfdisk", "blkid")


@dataclass
class Machine:
    """Stands for the builder VM: `disk` is what it keeps, programs of `bin` are in the place of its own."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def bash(self, script: str, **env: str) -> str:
        """Run a piece of bash with the functions of contents.sh; what it prints."""
        prelude = f"""
            set -u; shopt -s nullglob dotglob globstar
            directory={self.folder}/run state={self.folder}/state nonce=n0nce
            mkdir -p $directory/steps
            cp {FOLDER}/steps/*.sh $directory/steps
            for part in protocol context steps unkept cleanup contents; do . {FOLDER}/$part.sh; done
            exec 3>&1
            say() {{ printf '%s\\n' "$*"; }}
            send() {{ printf '%s\\n' "$1"; }}
            sleep() {{ :; }}
            os_release={self.folder}/os-release
            find_boot_disk() {{ return 1; }}
            find_roots() {{ roots=({self.disk}) pruned=() oem_mounted=; }}
            noise=("$state" '*/lost+found' {self.disk}'/cache/*') stores=({self.disk}/docker/overlay2)
            mkdir -p $directory/contents/{{before,after}}
        """
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", **env}
        done = subprocess.run(
            ["bash", "-c", prelude + script], capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.stderr == "", done.stderr
        return done.stdout

    def inventory(self, script: str = "take_daemons $contents/after; take_rest $contents/after") -> Inventory:
        """What it has after this, as it is read."""
        self.bash(f"{script}; echo 1 >$contents/version; tar -cz -C $contents -f {self.folder}/packed version after")
        with (self.folder / "packed").open("rb") as file:
            return read_contents(file).after


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One without a daemon and without packages."""
    for name in ("bin", "disk", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "os-release").write_text("ID=other\n")
    machine = Machine(tmp_path)
    for name in PROGRAMS:
        machine.program(name, "exit 1")
    return machine


def test_files_are_told_whatever_they_are_called_and_noise_is_not(machine: Machine) -> None:
    disk = machine.disk
    odd = b"odd \xff\n\t'name\"\\ *"
    place = os.fsencode(disk) + b"/" + odd
    Path(os.fsdecode(place)).write_bytes(b"content")
    (disk / "set-uid").write_bytes(b"x")
    (disk / "set-uid").chmod(0o4755)
    (disk / "link").symlink_to("not there\n")
    os.mkfifo(disk / "fifo", 0o600)
    (disk / "empty").touch(0o640)
    for noise in ("cache", "docker/overlay2/layer", "lost+found"):
        (disk / noise).mkdir(parents=True)
        (disk / noise / "file").touch()
    found = machine.inventory()
    names = {path.removeprefix(str(disk)): file for path, file in found.files.items()}
    assert set(names) == {
        *("", "/set-uid", "/link", "/fifo", "/empty", "/cache", "/docker"),
        "/" + os.fsdecode(odd).encode(errors="surrogateescape").decode(errors="surrogateescape"),
    }
    file = names["/" + os.fsdecode(odd)]
    assert (file.kind, file.size, file.sha256) == ("file", 7, hashlib.sha256(b"content").hexdigest())
    assert (file.user, file.group) == (os.getuid(), os.getgid())
    assert names["/set-uid"].mode == 0o4755
    assert (names["/link"].kind, names["/link"].target) == ("link", "not there\n")
    assert (names["/fifo"].kind, names["/fifo"].mode) == ("fifo", 0o600)
    assert names["/empty"].sha256 == hashlib.sha256(b"").hexdigest()
    assert names["/cache"].mode == stat.S_IMODE((disk / "cache").stat().st_mode)
    assert "partitions: the root file system is on no partition of a disk" in found.left_out


def test_digests_are_those_of_the_files_however_many_programs_work_them_out(machine: Machine) -> None:
    for number in range(1200):
        (machine.disk / f"file {number:04}").write_bytes(b"%d" % number * (number % 50 + 1))
    found = machine.inventory("nproc() { echo 8; }; take_files $contents/after")
    files = [file for file in found.files.values() if file.kind == "file"]
    assert len(files) == 1200
    assert all(file.sha256 == hashlib.sha256(Path(file.path).read_bytes()).hexdigest() for file in files)


LIMITS = {
    "files": ("most_files=3", "files: more than the first 3", 3),
    "the length of the list": ("most_listed=300", "for their names are long", None),
    "bytes": ("most_hashed=25", "digests: the largest 4 files are too much to read", 6),
    "seconds": ("longest_hashing=1", "could not be read in 1 s", 6),
}


@pytest.mark.parametrize("case", LIMITS)
def test_beyond_a_limit_what_is_left_out_is_told(machine: Machine, case: str) -> None:
    for number in range(5):
        (machine.disk / f"{number} has a long name").write_bytes(b"x" * 10 * (number + 1))
    machine.program("xargs", "exec sleep 30" if case == "seconds" else 'exec /usr/bin/xargs "$@"')
    limit, told, count = LIMITS[case]
    found = machine.inventory(f"{limit}; take_files $contents/after")
    assert any(told in line for line in found.left_out), found.left_out
    assert count is None or len(found.files) == count
    if case == "bytes":
        assert [bool(file.sha256) for _, file in sorted(found.files.items())] == [
            False,
            True,
            False,
            False,
            False,
            False,
        ]


def test_what_is_cut_off_by_the_limit_of_time_is_no_wrong_digest(machine: Machine) -> None:
    """The last line of what a program had written when it was ended may be half of one."""
    (machine.disk / "ab").write_bytes(b"1")
    (machine.disk / "abc").write_bytes(b"2")
    half = f"{'0' * 64}  {machine.disk}/abc\\0{'0' * 64}  {machine.disk}/a"
    machine.program("xargs", f"printf '{half}' >\"${{@: -1}}/1\"; exec sleep 30")
    found = machine.inventory("longest_hashing=1; take_files $contents/after")
    assert found.files[f"{machine.disk}/ab"].sha256 is None
    assert found.files[f"{machine.disk}/abc"].sha256 == "0" * 64


DOCKER = r"""
case "$*" in
  "image ls --quiet --no-trunc") echo sha256:b; echo sha256:a; echo sha256:b ;;
  "image inspect --format "*" sha256:a sha256:b")
    echo '{"Id":"sha256:a","RepoTags":["app:1"],"RepoDigests":["app@sha256:9"],"Layers":["sha256:1"],"Size":7}'
    echo '{"Id":"sha256:b","RepoTags":[],"RepoDigests":[],"Layers":null,"Size":8}' ;;
  *) exit 1 ;;
esac
"""
CTR = r"""
index=sha256:1111111111111111111111111111111111111111111111111111111111111111
there=sha256:2222222222222222222222222222222222222222222222222222222222222222
absent=sha256:3333333333333333333333333333333333333333333333333333333333333333
config=sha256:4444444444444444444444444444444444444444444444444444444444444444
case "$*" in
  "namespaces ls --quiet") echo k8s.io ;;
  "--namespace k8s.io images ls")
    echo "REF TYPE DIGEST SIZE PLATFORMS LABELS"
    echo "gcr.io/p/app:1 application/vnd.oci.image.index.v1+json $index 3.1 MiB linux/amd64,linux/arm64 -" ;;
  "--namespace k8s.io content get $index")
    printf '{"manifests": [{"digest": "%s", "size": 5},\n {"digest": "%s", "size": 6}]}' $absent $there ;;
  "--namespace k8s.io content get $there")
    printf '{"config": {"mediaType": "x", "digest": "%s"},\n "layers": [{"size": 40, "digest": "sha256:5"}]}' $config ;;
  "--namespace k8s.io content get $config")
    printf '{"config": {"Env": ["TOKEN=hunter2"]}, "rootfs": {"diff_ids": ["sha256:6",\n"sha256:7"]}}' ;;
  *) exit 1 ;;
esac
"""


def test_running_daemons_tell_their_images_and_no_environment(machine: Machine) -> None:
    machine.program("docker", DOCKER)
    machine.program("ctr", CTR)
    machine.program("systemctl", '[[ $* == *is-active* ]] || printf "a.service enabled enabled\\n"')
    found = machine.inventory("take_daemons $contents/after")
    told = [(each.runtime, each.id[:8], each.names, each.layers, each.size) for each in found.containers]
    assert told == [
        ("containerd", "sha256:1", ("gcr.io/p/app:1",), ("sha256:6", "sha256:7"), 40),
        ("docker", "sha256:a", ("app:1",), ("sha256:1",), 7),
        ("docker", "sha256:b", (), (), 8),
    ]
    assert found.units == {"a.service": "enabled"}
    assert b"hunter2" not in gzip.decompress((machine.folder / "packed").read_bytes())


def test_a_daemon_that_does_not_run_is_not_asked(machine: Machine) -> None:
    machine.program("docker", f"touch {machine.folder}/asked")
    machine.program("ctr", f"touch {machine.folder}/asked")
    machine.program("systemctl", "[[ $* != *is-active* ]]")
    machine.inventory("take_daemons $contents/after")
    assert not (machine.folder / "asked").exists()


def test_packages_are_those_that_their_databases_tell(machine: Machine) -> None:
    machine.program("dpkg-query", r"printf 'ii \tbash\t5.2-1\tamd64\tbash\n'")
    machine.program("rpm", r"printf 'bash\t(none):5.1-6\tx86_64\tbash-5.1-6.src.rpm\n'")
    assert [(each.kind, each.version) for each in machine.inventory("take_packages $contents/after").packages] == [
        ("deb", "5.2-1"),
        ("rpm", "5.1-6"),
    ]


def test_a_driver_s_modules_are_told_and_the_kernel_s_own_are_not(machine: Machine) -> None:
    (machine.disk / "nvidia").mkdir()
    for name in ("nvidia/nvidia.ko", "nvidia/nvidia-uvm.ko.xz", "nvidia/other.kok"):
        (machine.disk / name).write_bytes(b"x")
    machine.program("modinfo", 'for file; do printf "filename: %s\\nversion: 535\\n" "$file"; done')
    assert machine.inventory("take_files $contents/after").modules == {"nvidia": "535", "nvidia_uvm": "535"}


def test_what_was_recorded_before_the_first_step_outlives_a_reboot_and_is_taken_once(machine: Machine) -> None:
    (machine.disk / "old").write_bytes(b"old")
    machine.bash("record_contents_before")
    (machine.disk / "old").unlink()
    (machine.disk / "new").write_bytes(b"new")
    machine.bash("rm -rf $directory; mkdir -p $directory; record_contents_before")
    machine.bash(f"send_contents() {{ cp $1 {machine.folder}/sent; }}; begin_contents; finish_contents")
    with (machine.folder / "sent").open("rb") as file:
        found = read_contents(file)
    assert [Path(path).name for path in found.before.files] == ["disk", "old"]
    assert [Path(path).name for path in found.after.files] == ["disk", "new"]
    assert not (machine.folder / "run" / "contents").exists()


def test_a_step_that_removes_what_was_recorded_before_it_is_told_of(machine: Machine) -> None:
    machine.bash("record_contents_before")
    (machine.folder / "state" / "contents.tar.gz").unlink()
    machine.bash(f"send_contents() {{ cp $1 {machine.folder}/sent; }}; begin_contents; finish_contents")
    with (machine.folder / "sent").open("rb") as file:
        assert read_contents(file).before.left_out == ("everything: a step has removed what was recorded before it",)


@dataclass
class Session:
    """The session of an upload on an emulator, and a machine that sends to it."""

    machine: Machine
    emulator: Emulator
    content: bytes
    target: ObjectRef
    address: str

    def send(self, more: str = "") -> str:
        """What the guest says of it."""
        endpoint = f"http://127.0.0.1:{self.emulator.storage_port}"
        file = self.machine.folder / "archive"
        file.write_bytes(self.content)
        return self.machine.bash(
            f"""
            get_metadata() {{ printf %s '{self.address}'; }}
            endpoint_of() {{ printf %s '{endpoint}'; }}
            touch $directory/curl.errors
            {more}
            why=; send_contents {file} {len(self.content)} && echo sent || echo "failed: $why"
            """
        ).strip()

    def stored(self) -> bytes | None:
        blob = anonymous_bucket().get_blob(self.target.name)
        return blob.download_as_bytes(raw_download=True) if blob else None


@pytest.fixture
def session(machine: Machine, emulator: Emulator) -> Session:
    content = os.urandom(3 << 20)
    target = ObjectRef("my-project_cloudbuild", "w/contents.tar.gz")
    address = recorded.begin_upload(connect(), target, {"a": "b"})
    return Session(machine, emulator, content, target, address)


def test_it_is_sent_to_the_session_that_the_build_has_begun_without_any_right(session: Session) -> None:
    assert session.send() == "sent"
    assert session.stored() == session.content
    (blob,) = anonymous_bucket().list_blobs()
    assert (blob.metadata, blob.custom_time, blob.content_type) == ({"a": "b"}, None, "application/gzip")


UPLOAD: Any = {"method": "PUT", "path": "upload_id"}
FAULTS: dict[str, list[Any]] = {
    "an answer that is lost": [{"kind": "drop", "when": "after", "skip": 1}],
    "a connection that is cut": [{"kind": "drop", "when": "before", "skip": 1}],
    "errors": [{"kind": "http", "status": 503, "count": 3}],
    "too many requests": [{"kind": "http", "status": 429}],
}


@pytest.mark.parametrize("case", FAULTS)
def test_it_is_gone_on_with_after(session: Session, case: str) -> None:
    for fault in FAULTS[case]:
        session.emulator.faults.add(**UPLOAD, **fault)
    assert session.send() == "sent"
    assert session.stored() == session.content


def test_what_has_arrived_before_a_cut_is_not_sent_again(session: Session) -> None:
    """curl is cut off in the middle of the first try; the second begins where Cloud Storage has come to."""
    cut = """
        uncut=1
        put() {
          if [[ ${3-} && $uncut ]]; then
            uncut=''
            head -c 1048576 "$3" >"$3.part"
            status=$(curl -sS -o /dev/null -D "$directory/curl.headers" -w '%{http_code}' -X PUT \\
              -H "Content-Range: bytes 0-1048575/*" -T "$3.part" "$1")
            status=000
            return
          fi
          printf '%s\\n' "$2" >>$directory/ranges
          real_put "$@"
        }
    """
    said = session.send(f'eval "real_$(declare -f put)"; {cut}')
    assert said == "sent"
    size = len(session.content)
    ranges = (session.machine.folder / "run" / "ranges").read_text().splitlines()
    assert ranges == [f"*/{size}", f"*/{size}", f"1048576-{size - 1}/{size}"]
    assert session.stored() == session.content


def test_what_cloud_storage_refuses_is_told_at_once(session: Session) -> None:
    recorded.cancel_upload(connect(), session.address)
    assert session.send() == "failed: Cloud Storage refuses it (HTTP 404)"
    assert session.stored() is None


def test_it_has_an_end_if_nothing_answers(session: Session) -> None:
    session.emulator.faults.add("http", **UPLOAD, status=503, count=0)
    said = session.send("longest_sending=2")
    assert said.startswith("failed: not in 2 s: no answer of Cloud Storage: HTTP 503")


def test_an_upload_of_a_machine_that_has_restarted_since_is_not_mixed_with_another(session: Session) -> None:
    connect().storage._http.put(
        f"http://127.0.0.1:{session.emulator.storage_port}{session.address}",
        data=bytes(1 << 20),
        headers={"Content-Range": "bytes 0-1048575/*"},
    )
    assert session.send() == "failed: an earlier try was cut off by a restart of the machine"


def test_the_list_of_noise_is_the_one_that_is_documented() -> None:
    text = (ROOT / "docs" / "contents.md").read_text().partition("empties:\n\n")[2].partition("\n\n")[0]
    documented = [word.strip("`, \n") for word in text.split("`,")]
    script = f"""
        directory={FOLDER} state=/var/lib/.cos-customizer
        . {FOLDER}/cleanup.sh; . {FOLDER}/contents.sh
        printf '%s\\n' "${{noise[@]}}"
    """
    said = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert documented == said


def test_the_test_s_own_archive_is_what_tar_makes_of_the_same() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(after__units=b"a enabled\n"))) as archive:
        assert archive.getnames() == ["version", "after/units"]
