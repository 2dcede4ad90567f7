"""The machine room without a boot: disks and images, serial rings, the cache of the stand-in, what a host lacks."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines import stand_in_image
from cos_customizer.emulator.machines.backend import SERIAL_RING_BYTES, STAND_IN, MachineSpec, SerialChunk
from cos_customizer.emulator.machines.disk_files import DiskFiles
from cos_customizer.emulator.machines.host import missing_packages, require_packages
from cos_customizer.emulator.machines.kvm import OVERRIDE, choose_accelerator
from cos_customizer.emulator.machines.qemu import QemuBackend
from cos_customizer.emulator.machines.serial_files import trim
from cos_customizer.emulator.machines.stand_in_image import StandIn

pytestmark = pytest.mark.skipif(not shutil.which("qemu-io"), reason="qemu-utils is not installed")

GIB = 1 << 30


@pytest.fixture
def disks(tmp_path: Path) -> DiskFiles:
    return DiskFiles(tmp_path / "state", StandIn(tmp_path / "cache"))


def qemu_io(disk: Path, command: str) -> str:
    return subprocess.run(["qemu-io", "-c", command, str(disk)], capture_output=True, text=True, check=True).stdout


def virtual_size(disk: Path) -> int:
    shown = subprocess.run(["qemu-img", "info", "--output=json", str(disk)], capture_output=True, check=True).stdout
    return int(json.loads(shown)["virtual-size"])


def test_an_image_outlives_its_disk_and_a_disk_its_image(disks: DiskFiles) -> None:
    disks.create("origin", None, 1)
    qemu_io(disks.path("origin"), "write -P 0x5a 1M 64k")
    assert 0 < disks.create_image("image", "origin") < 4 << 20
    disks.delete("origin")
    disks.create("copy", "image", 3)
    disks.create("small", "image", 0)
    disks.delete_image("image")
    disks.delete_image("image")
    assert virtual_size(disks.path("copy")) == 3 * GIB
    assert virtual_size(disks.path("small")) == GIB  # never smaller than the image
    qemu_io(disks.path("small"), "write -P 0x11 1M 64k")
    assert "Pattern verification failed" not in qemu_io(disks.path("copy"), "read -P 0x5a 1M 64k")
    with pytest.raises(EmulatorError, match="no image image"):
        disks.create("late", "image", 1)


def test_deleting_leaves_no_file(disks: DiskFiles, tmp_path: Path) -> None:
    disks.create("disk", None, 1)
    disks.create_image("image", "disk")
    disks.create("overlay", "image", 1)
    for key in ("disk", "overlay", "never"):
        disks.delete(key)
    disks.delete_image("image")
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []


def test_an_image_of_no_disk_is_refused(disks: DiskFiles, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="no disk nothing"):
        disks.create_image("image", "nothing")
    assert not list((tmp_path / "state" / "images").iterdir())


@pytest.mark.parametrize(
    ("written", "asked", "start", "length"),
    [
        (0, 0, 0, 0),
        (100, 0, 0, 100),
        (100, 60, 60, 40),
        (100, 100, 100, 0),
        (100, 500, 100, 0),
        (SERIAL_RING_BYTES + 300, 0, 300, SERIAL_RING_BYTES),
        (SERIAL_RING_BYTES + 300, 299, 300, SERIAL_RING_BYTES),
        (SERIAL_RING_BYTES + 300, 301, 301, SERIAL_RING_BYTES - 1),
    ],
)
def test_serial_output_is_the_last_mebibyte(tmp_path: Path, written: int, asked: int, start: int, length: int) -> None:
    backend = QemuBackend(tmp_path / "state", tmp_path / "cache")
    machine = backend.machine(MachineSpec("p", "z", "vm", "1", "disk"))
    assert machine.serial_output(3, 0) == SerialChunk(b"", 0, 0)
    output = bytes(number % 251 for number in range(written))
    port = tmp_path / "state" / "serial" / "disk" / "1" / "serial3"
    port.parent.mkdir(parents=True)
    port.write_bytes(output)
    assert machine.serial_output(3, asked) == SerialChunk(output[start : start + length], start, start + length)
    backend.delete_disk("disk")
    assert not port.exists()
    backend.close()


def test_a_flood_takes_little_room_and_every_offset_stays(tmp_path: Path) -> None:
    backend = QemuBackend(tmp_path / "state", tmp_path / "cache")
    machine = backend.machine(MachineSpec("p", "z", "vm", "1", "disk"))
    port = machine.directory / "serial3"
    port.parent.mkdir(parents=True)
    (machine.directory / "serial1").write_bytes(b"login: ")
    mebibytes = [bytes([number]) * SERIAL_RING_BYTES for number in range(1, 9)]
    with port.open("ab", buffering=0) as qemu:
        for written, mebibyte in enumerate(mebibytes, start=1):
            qemu.write(mebibyte)
            trim(machine.directory)
            assert port.stat().st_blocks * 512 <= 2 * SERIAL_RING_BYTES
            end = written * SERIAL_RING_BYTES
            assert machine.serial_output(3, 0) == SerialChunk(mebibyte, end - SERIAL_RING_BYTES, end)
            assert machine.serial_output(3, end - 5) == SerialChunk(mebibyte[:5], end - 5, end)
            assert machine.serial_output(3, end) == SerialChunk(b"", end, end)
        qemu.write(b"the end")
    assert machine.serial_output(3, 8 * SERIAL_RING_BYTES).contents == b"the end"
    assert machine.serial_output(1, 0).contents == b"login: "
    backend.close()


def test_what_the_host_lacks_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {"qemu-system-x86", "qemu-utils", "mmdebstrap"} <= set(missing_packages())
    assert "mmdebstrap" not in missing_packages(build=False)
    with pytest.raises(EmulatorError, match="qemu-system-x86, qemu-utils") as caught:
        require_packages()
    assert caught.value.hint.startswith("apt-get install --no-install-recommends qemu-system-x86 qemu-utils")
    with pytest.raises(EmulatorError, match="qemu-system-x86"):
        QemuBackend(tmp_path / "state", tmp_path / "cache").prepare()


@pytest.mark.parametrize("wish", ["kvm", "tcg"])
def test_the_environment_decides_the_accelerator(wish: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(OVERRIDE, wish)
    assert choose_accelerator(StandIn(tmp_path), tmp_path) == wish
    monkeypatch.setenv(OVERRIDE, "magic")
    with pytest.raises(EmulatorError, match="'magic'"):
        choose_accelerator(StandIn(tmp_path), tmp_path)


def test_the_stand_in_is_built_once_and_never_half(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    builds = []

    def build(output: Path, work: Path) -> None:
        (output / "disk.qcow2").write_bytes(b"disk")
        builds.append(work)
        if len(builds) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(stand_in_image, "_build", build)
    monkeypatch.setattr(stand_in_image, "require_packages", lambda: None)
    left = tmp_path / "stand-in-killed.partial"
    left.mkdir()
    stand_in = StandIn(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stand_in.ensure()
    assert not stand_in.is_built()
    threads = [threading.Thread(target=StandIn(tmp_path).ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stand_in.is_built()
    assert len(builds) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"stand-in-{stand_in.key}", "stand-in.lock"]


def test_disks_of_the_stand_in_outlive_the_cache(disks: DiskFiles, tmp_path: Path) -> None:
    cached = StandIn(tmp_path / "cache").disk
    cached.parent.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(cached), "1G"], check=True)
    disks.create("disk", STAND_IN, 10)
    cached.unlink()
    disks.create("another", STAND_IN, 10)
    assert virtual_size(disks.path("disk")) == virtual_size(disks.path("another")) == 10 * GIB


def test_what_a_killed_emulator_has_left_is_collected(disks: DiskFiles, tmp_path: Path) -> None:
    state = tmp_path / "state"
    disks.create("kept", None, 1)
    disks.create_image("image", "kept")
    disks.create("overlay", "image", 1)
    (state / "serial" / "overlay").mkdir(parents=True)
    before = {path for path in state.rglob("*") if path.is_file()}
    disks.create("orphan", "image", 1)
    disks.create_image("lost", "kept")
    for name in ("images/image-1.partial", "images/.image.qcow2.0a1b2c3d", "images/stand-in.older", "disks/copy-5"):
        (state / name).write_text("left")
    (state / "serial" / "orphan" / "1").mkdir(parents=True)
    (state / "serial" / "orphan" / "1" / "serial3").write_text("left")
    backend = QemuBackend(state, tmp_path / "cache")
    backend.keep_only(["kept", "overlay"], ["image"])
    backend.close()
    assert {path for path in state.rglob("*") if path.is_file()} == before
