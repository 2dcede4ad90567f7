"""setup_gpu.sh, as it runs at every boot of a machine that has a GPU driver on its disk."""

from pathlib import Path

import pytest
from support.guest_gpu import Vm, needs_namespaces

pytestmark = needs_namespaces


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


def test_setting_up_does_all_that_a_reboot_has_undone_in_order(vm: Vm) -> None:
    vm.modules("nvidia-drm", "nvidia-uvm", "nvidia", "nvidia-modeset")
    (vm.driver / "lib64").mkdir()
    (vm.driver / "firmware").mkdir()
    for program in ("nvidia-modprobe", "nvidia-smi", "nvidia-persistenced"):
        vm.has_driver_program(program, "[[ $0 != *smi ]] || echo table")
    done = vm.set_up()
    assert (done.code, done.output) == (0, "table\n")
    assert done.calls == [
        f"mountpoint -q {vm.place}",
        f"mount --bind {vm.place} {vm.place}",
        f"mount -o remount\\,exec {vm.place}",
        "ldconfig",
        *(f"insmod {vm.place}/drivers/{name}.ko" for name in ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm")),
        "nvidia-modprobe -c0 -u -m",
        "nvidia-smi",
        "nvidia-persistenced --verbose",
    ]
    assert vm.text("ld.so.conf") == f"{vm.driver}/lib64\n"
    assert vm.text("module/firmware_class/parameters/path") == f"{vm.driver}/firmware"
    assert vm.text("softlockup_panic") == "1"


def test_a_second_time_does_no_harm(vm: Vm) -> None:
    vm.modules("nvidia", "nvidia-uvm")
    (vm.driver / "lib64").mkdir()
    vm.has("insmod", f'name=${{1##*/}}; name=${{name%.ko}}; mkdir {vm.folder}/module/"${{name//-/_}}"')
    # Like the daemon, it goes to the background, and is known by its name there.
    vm.has_driver_program("nvidia-persistenced", "(sleep 600; :) >/dev/null 2>&1 &\nsleep 0.05")
    vm.has_driver_program("nvidia-smi")
    done = vm.set_up("bash {} && bash {}")
    assert (done.code, done.output) == (0, "")
    assert len(done.called("insmod")) == 2
    assert len(done.called("nvidia-persistenced")) == 1
    assert len(done.called("nvidia-smi")) == 2
    assert vm.text("ld.so.conf").count("lib64") == 1


def test_two_at_once_wait_for_each_other(vm: Vm) -> None:
    vm.modules("nvidia")
    vm.has("insmod", f"sleep 0.1; mkdir {vm.folder}/module/nvidia")
    vm.has_driver_program("nvidia-smi")
    done = vm.set_up("bash {} & bash {} && wait $!")
    assert (done.code, done.output) == (0, "")
    assert len(done.called("insmod")) == 1


def test_it_finds_its_directory_from_anywhere(vm: Vm) -> None:
    vm.has_driver_program("nvidia-smi")
    for script in (
        'cd "$(dirname {})"; bash setup_gpu.sh',
        f"ln -s {{}} {vm.folder}/link; cd /; CDPATH=. bash {vm.folder}/link",
    ):
        done = vm.set_up(script)
        assert done.code == 0, done.output
        assert done.calls[0] == f"mountpoint -q {vm.place}"


def test_a_driver_without_modules_programs_and_libraries_to_load_is_only_shown(vm: Vm) -> None:
    vm.has_driver_program("nvidia-smi", "echo table")
    done = vm.set_up()
    assert (done.code, done.output) == (0, "table\n")
    assert not done.called("insmod")
    assert vm.text("ld.so.conf") == ""


def test_a_module_that_someone_has_just_loaded_is_no_error(vm: Vm) -> None:
    vm.modules("nvidia")
    vm.has("insmod", "echo insmod: ERROR: could not insert module nvidia.ko: File exists >&2; exit 1")
    vm.has_driver_program("nvidia-smi", "echo table")
    done = vm.set_up()
    assert (done.code, done.output) == (0, "table\n")


NO_GPU = "there is no NVIDIA GPU on this machine"


@pytest.mark.parametrize(
    ("said", "gpu", "last"),
    [
        ("No such device", False, NO_GPU),
        ("Unknown symbol in module", True, "kernel's last words: of nvidia"),
        ("Unknown symbol in module", False, NO_GPU),
        ("Invalid module format", True, "was made for another kernel than this one ("),
        ("invalid module format", False, "build the image anew, from this release of the system"),
        ("Key was rejected by service", True, "was made for another kernel than this one ("),
        ("Required key not available", True, "was made for another kernel than this one ("),
    ],
)
def test_a_module_that_does_not_load_is_an_error_with_the_kernel_s_words(
    said: str, gpu: bool, last: str, vm: Vm
) -> None:
    vm.modules("nvidia", "nvidia-uvm")
    vm.has("insmod", f"echo insmod: ERROR: could not insert module nvidia.ko: {said} >&2; exit 1")
    vm.has("dmesg", "echo kernel\\'s last words: of nvidia")
    vm.has_driver_program("nvidia-smi")
    if gpu:
        attach_gpu(vm)
    done = vm.set_up()
    assert done.code == 1
    lines = done.output.splitlines()
    error = f"insmod: ERROR: could not insert module nvidia.ko: {said}"
    assert lines[0] == f"setup_gpu.sh: cannot load nvidia.ko: {error}; the kernel's last words:"
    assert lines[1] == "kernel's last words: of nvidia"
    assert last in lines[-1]
    assert len(done.called("insmod")) == 1
    assert not done.called("nvidia-smi")


def attach_gpu(vm: Vm) -> None:
    for number, vendor in enumerate(("0x8086", "0x10de")):
        device = vm.folder / "devices" / f"0000:00:0{number}.0"
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")


@pytest.mark.parametrize("gpu", [True, False])
def test_a_gpu_that_cannot_be_seen_is_an_error(gpu: bool, vm: Vm) -> None:
    vm.has_driver_program("nvidia-smi", "echo NVIDIA-SMI has failed; exit 9")
    vm.has_driver_program("nvidia-persistenced")
    if gpu:
        attach_gpu(vm)
    done = vm.set_up()
    assert done.code == 1
    assert done.output.splitlines() == [
        "NVIDIA-SMI has failed",
        "setup_gpu.sh: nvidia-smi does not see a GPU that works",
        *([] if gpu else [f"setup_gpu.sh: {NO_GPU}"]),
    ]
    assert not done.called("nvidia-persistenced")
    assert vm.text("softlockup_panic") == ""


@pytest.mark.parametrize("program", ["nvidia-modprobe", "nvidia-persistenced", "ldconfig"])
def test_what_a_gpu_can_do_without_is_complained_about(program: str, vm: Vm) -> None:
    vm.has_driver_program("nvidia-smi")
    (vm.driver / "lib64").mkdir()
    if program == "ldconfig":
        vm.has(program, "exit 1")
    else:
        vm.has_driver_program(program, "exit 1")
    done = vm.set_up()
    assert done.code == 0
    assert done.output.startswith("setup_gpu.sh: ")
    assert vm.text("softlockup_panic") == "1"


def test_a_directory_that_cannot_be_made_executable_is_an_error(vm: Vm) -> None:
    vm.has("mount", "exit 32")
    done = vm.set_up()
    assert (done.code, done.output) == (1, f"setup_gpu.sh: cannot make {vm.driver} executable\n")
