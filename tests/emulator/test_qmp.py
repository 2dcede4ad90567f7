"""QEMU's control protocol, with a QEMU that has nothing to boot: what it answers, refuses and tells, and its end."""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.backend import DataDisk, MachineSpec
from cos_customizer.emulator.machines.qemu import QemuBackend
from cos_customizer.emulator.machines.qemu_command import content_of, device_id, device_of, node_of
from cos_customizer.emulator.machines.qmp import QemuGoneError, Qmp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
]
SPEC = MachineSpec("p", "z", "vm", "1", boot_disk="boot-disk")
DISK = DataDisk("disk-1", "1.data_x-y", read_only=True)
COMMAND = "qemu-system-x86_64 -S -accel tcg -m 16 -nodefaults -display none -qmp stdio -device virtio-scsi-pci,id=scsi"


@pytest.fixture
def qmp() -> Iterator[Qmp]:
    process = subprocess.Popen(COMMAND.split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert b"QMP" in process.stdout.readline()
        control = Qmp(process, "vm")
        listener = threading.Thread(target=control.listen)
        listener.start()
        control.ask("qmp_capabilities")
        yield control
        control.tell("quit")
        listener.join()
    finally:
        process.kill()
        process.wait()
    control.close()


def test_a_disk_comes_and_goes(qmp: Qmp, tmp_path: Path) -> None:
    file = tmp_path / "disk, with a comma.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), "1M"], check=True)
    node = node_of(SPEC, DISK.key)
    for _ in range(2):
        qmp.ask("blockdev-add", content_of(node, file, read_only=True))
        qmp.ask("device_add", device_of(SPEC, DISK))
        (block,) = qmp.ask("query-block")
        assert (block["inserted"]["node-name"], block["inserted"]["ro"]) == ("data-disk-1", True)
        with qmp.awaiting("DEVICE_DELETED", device_id(DISK.key)):
            qmp.ask("device_del", {"id": device_id(DISK.key)})
        assert qmp.ask("query-block") == []
        qmp.ask("blockdev-del", {"node-name": node})
    assert qmp.ask("query-named-block-nodes") == []


def test_the_boot_disk_has_a_name_of_its_own() -> None:
    assert (node_of(SPEC, "boot-disk"), node_of(SPEC, "disk-1")) == ("boot", "data-disk-1")


def test_what_qemu_refuses_says_why(qmp: Qmp) -> None:
    with pytest.raises(EmulatorError, match="refuses device_del: Device 'none' not found"):
        qmp.ask("device_del", {"id": "none"})
    with pytest.raises(EmulatorError, match=r"refuses blockdev-add: .*No such file"):
        qmp.ask("blockdev-add", content_of("data", Path("/none/disk.qcow2")))


def ask_for_ever(qmp: Qmp) -> None:
    while True:
        qmp.ask("query-status")


def test_who_asks_a_qemu_that_has_ended_is_told_at_once(qmp: Qmp) -> None:
    qmp.tell("quit")
    with pytest.raises(QemuGoneError, match="has ended before it could query-status"):
        ask_for_ever(qmp)
    with qmp.awaiting("DEVICE_DELETED", "none"):
        pass


def test_a_machine_stands_still_until_nobody_reads_its_disks_and_it_is_resumed(qmp: Qmp, tmp_path: Path) -> None:
    with contextlib.closing(QemuBackend(tmp_path / "state", tmp_path / "cache")) as host:
        machine = host.machine(SPEC)
        machine._qmp = qmp

        def runs() -> bool:
            return bool(qmp.ask("query-status")["running"])

        machine.thaw()
        assert runs()
        with machine.paused():
            with machine.paused():
                assert not runs()
            assert not runs(), "the other one reads still"
        assert runs()
        with machine.paused():
            machine.freeze()
        assert not runs(), "suspended meanwhile"
        with machine.paused():
            machine.thaw()
            assert not runs(), "resumed, but still read"
        assert runs()
