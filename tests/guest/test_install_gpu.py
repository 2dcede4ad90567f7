"""install-gpu in the guest: which installer runs, how it is called, and what is said when it cannot be."""

from pathlib import Path

import pytest
from support.guest_gpu import CONTAINER, FOLDER, Vm, needs_namespaces

OWN_DRIVER = "NVIDIA-Linux-x86_64-450.51.06.run"

pytestmark = needs_namespaces


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


def run_line(vm: Vm, *inputs: str, version: str = "396.26", md5sum: str = "") -> str:
    """The installer's container as it is to be started."""
    words = [
        *("docker", "run", "--rm", "--privileged", "--net=host", "--pid=host"),
        *("--volume", f"{vm.driver}:/usr/local/nvidia", "--volume", "/dev:/dev", "--volume", "/:/root"),
        *("-e", f"NVIDIA_DRIVER_VERSION={version}", "-e", f"NVIDIA_DRIVER_MD5SUM={md5sum}"),
        *("-e", f"NVIDIA_INSTALL_DIR_HOST={vm.driver}", "-e", "NVIDIA_INSTALL_DIR_CONTAINER=/usr/local/nvidia"),
        *("-e", f"COS_NVIDIA_INSTALLER_CONTAINER={CONTAINER}", "-e", "ROOT_MOUNT_DIR=/root"),
    ]
    for given in inputs:
        words += ["-e", given]
    return " ".join(word.replace(" ", "\\ ") for word in [*words, CONTAINER])


def test_the_legacy_installer_runs_with_its_environment_and_mounts(vm: Vm) -> None:
    done = vm.install()
    assert done.code == 0, done.output
    assert done.output.splitlines() == [
        "install-gpu: driver 396.26, installed by container (the image has no cos-extensions)",
        "table of nvidia-smi",
    ]
    assert done.calls == [
        f"mountpoint -q {vm.place}",
        f"mount --bind {vm.place} {vm.place}",
        f"mount -o remount\\,exec {vm.place}",
        f"docker image inspect {CONTAINER}",
        "sync",
        run_line(vm),
    ], "an image that was there is neither pulled nor removed"


def test_setup_gpu_is_installed_as_it_is_and_the_kernel_told_to_panic(vm: Vm) -> None:
    assert vm.install().code == 0
    installed = vm.driver / "setup_gpu.sh"
    assert installed.read_bytes() == (FOLDER / "steps" / "setup_gpu.sh").read_bytes()
    assert installed.stat().st_mode & 0o777 == 0o755
    assert vm.text("softlockup_panic") == "1"


def test_a_directory_that_is_mounted_is_not_mounted_twice(vm: Vm) -> None:
    vm.has("mountpoint")
    assert [call.split()[1] for call in vm.install().called("mount")] == ["-o"]


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("396.26", "396.26"),
        ("535.104.05", "535.104.05"),
        (OWN_DRIVER, "450.51.06"),
        ("NVIDIA-Linux-x86_64-396.26-diagnostic.run", "396.26"),
    ],
)
def test_the_legacy_installer_is_told_a_number(version: str, number: str, vm: Vm) -> None:
    vm.offer(f"gpu/{version}")
    (line,) = vm.install(version=version, deps_dir="gpu").called("docker")[1:]
    assert f" -e NVIDIA_DRIVER_VERSION={number} " in line


@pytest.mark.parametrize(
    ("deps_dir", "url"),
    [
        ("gpu", "/gpu"),
        ("a dir/ö%20#?&", "/a%20dir/%C3%B6%2520%23%3F%26"),
        (".", ""),
    ],
)
def test_a_driver_of_the_build_context_is_downloaded_from_the_machine_s_root(deps_dir: str, url: str, vm: Vm) -> None:
    md5sum = vm.offer(f"{deps_dir}/{OWN_DRIVER}")
    vm.has("cos-extensions")
    done = vm.install(version=OWN_DRIVER, deps_dir=deps_dir, md5sum=md5sum)
    assert done.code == 0, done.output
    assert done.output.splitlines()[0].endswith("installed by container (for the sake of deps_dir)")
    base = f"file:///root{vm.state}/context{url}"
    assert done.calls[-1] == run_line(
        vm,
        f"COS_DOWNLOAD_GCS={base}",
        f"GPU_INSTALLER_DOWNLOAD_URL={base}/{OWN_DRIVER}",
        version="450.51.06",
        md5sum=md5sum,
    )


def test_other_inputs_leave_the_driver_to_google(vm: Vm) -> None:
    vm.offer("gpu/toolchain.tgz")
    done = vm.install(deps_dir="gpu")
    assert done.calls[-1] == run_line(vm, f"COS_DOWNLOAD_GCS=file:///root{vm.state}/context/gpu")


def test_a_sum_of_a_driver_that_is_downloaded_is_the_legacy_installer_s_to_check(vm: Vm) -> None:
    assert vm.install(md5sum="0" * 32).calls[-1] == run_line(vm, md5sum="0" * 32)


def test_cos_extensions_checks_no_sum_and_the_log_says_so(vm: Vm) -> None:
    vm.has("cos-extensions", vm.installs_driver)
    done = vm.install(md5sum="0" * 32)
    assert done.code == 0
    assert (
        "install-gpu: cos-extensions verifies the signature of the driver, not its MD5 sum" in done.output.splitlines()
    )


def test_a_sum_that_does_not_fit_our_own_driver_stops_before_the_installer(vm: Vm) -> None:
    found = vm.offer(f"gpu/{OWN_DRIVER}")
    done = vm.install(version=OWN_DRIVER, deps_dir="gpu", md5sum="0" * 32)
    assert done.code == 1
    assert done.output.splitlines()[-1] == f"install-gpu: {OWN_DRIVER} has the MD5 sum {found}, not {'0' * 32}"
    assert not done.called("docker")


COS_EXTENSIONS: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "-version=396.26 -host-dir={}"),
    ({"version": "latest"}, "-version=latest -host-dir={}"),
    ({"version": "R535"}, "-version=R535 -host-dir={}"),
    ({"version": "default"}, "-host-dir={}"),
    ({"installer": "cos-extensions"}, "-version=396.26 -host-dir={}"),
    ({"verify": "", "target_gpu": "NVIDIA_L4"}, "-version=396.26 -host-dir={} -no-verify -target-gpu=NVIDIA_L4"),
    ({"verify": ""}, "-version=396.26 -host-dir={} -no-verify"),
)


@pytest.mark.parametrize(("settings", "arguments"), COS_EXTENSIONS)
def test_cos_extensions_is_taken_where_it_is(settings: dict[str, str], arguments: str, vm: Vm) -> None:
    vm.has("cos-extensions", vm.installs_driver)
    done = vm.install(**settings)
    assert done.code == 0, done.output
    why = "as asked for" if "installer" in settings else "the image has it"
    assert f"installed by cos-extensions ({why})" in done.output.splitlines()[0]
    assert done.calls[-1] == f"cos-extensions install gpu -- {arguments.format(vm.place)}"
    assert (vm.driver / "setup_gpu.sh").exists()


def test_without_a_gpu_nothing_is_tried_and_the_log_says_so(vm: Vm) -> None:
    vm.has("cos-extensions", vm.installs_driver)
    done = vm.install(verify="", target_gpu="NVIDIA_L4")
    assert done.output.splitlines()[1:] == [
        "install-gpu: not verified: no GPU is attached; the driver is for NVIDIA_L4"
    ]
    assert vm.text("softlockup_panic") == ""


def test_a_failure_of_cos_extensions_shows_what_the_image_supports(vm: Vm) -> None:
    vm.has("cos-extensions", "[[ $1 != list ]] || { echo 535.104.05 [default]; exit; }; echo no such version; exit 7")
    done = vm.install(version="1.2.3")
    assert done.code == 7
    assert done.output.splitlines()[1:] == [
        "no such version",
        "install-gpu: what this image supports:",
        "535.104.05 [default]",
        "install-gpu: cos-extensions could not install driver 1.2.3",
    ]
    assert not (vm.driver / "setup_gpu.sh").exists()


@pytest.mark.parametrize("programs", [(), ("cos-extensions",)])
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"installer": "container", "verify": ""},
            "without a GPU it takes cos-extensions: the legacy installer ends",
        ),
        (
            {"deps_dir": "gpu", "verify": ""},
            "without a GPU it takes cos-extensions: the legacy installer ends",
        ),
        ({"deps_dir": "gpu", "version": "latest"}, "version latest needs cos-extensions: the legacy installer does"),
        ({"installer": "container", "version": "R535"}, "version R535 needs cos-extensions: the legacy installer"),
        ({"deps_dir": "gpu", "version": OWN_DRIVER}, f"there is no {OWN_DRIVER} in deps_dir gpu"),
        ({"version": OWN_DRIVER}, f"there is no {OWN_DRIVER} in deps_dir (which is not set)"),
    ],
)
def test_what_the_legacy_installer_cannot_do(
    settings: dict[str, str], reason: str, programs: tuple[str, ...], vm: Vm
) -> None:
    refused(vm, settings, reason, programs)


@pytest.mark.parametrize(
    ("settings", "programs", "reason"),
    [
        ({"installer": "cos-extensions"}, (), "the image has no cos-extensions, which comes with Container-Optimized"),
        ({"verify": ""}, (), "without a GPU it takes cos-extensions"),
        ({"version": "default"}, (), "version default needs cos-extensions: the legacy installer does not know it"),
        ({"installer": "cos-extensions", "deps_dir": "gpu"}, ("cos-extensions",), "takes drivers from Google only"),
        ({"installer": "cos-extensions", "version": OWN_DRIVER}, ("cos-extensions",), "drivers from Google only"),
    ],
)
def test_what_an_installer_cannot_do(settings: dict[str, str], programs: tuple[str, ...], reason: str, vm: Vm) -> None:
    refused(vm, settings, reason, programs)


def refused(vm: Vm, settings: dict[str, str], reason: str, programs: tuple[str, ...]) -> None:
    for program in programs:
        vm.has(program)
    done = vm.install(**settings)
    assert done.code == 1
    last = done.output.splitlines()[-1]
    assert last.startswith("install-gpu: ")
    assert reason in last
    assert not [call for call in done.calls if " run " in call or call.startswith("cos-extensions")]


def test_an_image_with_neither_installer(vm: Vm) -> None:
    done = vm.install(before="PATH=/nowhere")
    assert done.code == 1
    assert done.output.splitlines()[-1] == "install-gpu: the image has no docker to run the legacy installer"


def docker(vm: Vm, pull: str, run: str = "") -> None:
    """Docker without the installer's image: what it does to pull it, and how a run of it ends."""
    vm.has(
        "docker",
        f"""
        case "$1 $2" in
          image\\ inspect) exit 1 ;;
          pull*) {pull} ;;
          run*) {vm.installs_driver} {run} ;;
        esac
        """,
    )


def test_a_pull_is_tried_again_and_what_was_pulled_is_removed(vm: Vm) -> None:
    docker(vm, f"echo x >>{vm.folder}/tries; (($(wc -l <{vm.folder}/tries) == 3))")
    done = vm.install()
    assert done.code == 0, done.output
    assert [call.split(" --")[0] for call in done.calls if call.split()[0] in {"docker", "sleep"}] == [
        f"docker image inspect {CONTAINER}",
        f"docker pull {CONTAINER}",
        "sleep 1",
        f"docker pull {CONTAINER}",
        "sleep 2",
        f"docker pull {CONTAINER}",
        "docker run",
        f"docker image rm {CONTAINER}",
    ]
    assert not done.called("journalctl")


def test_what_was_pulled_before_a_reset_is_removed_too(vm: Vm) -> None:
    docker(vm, "true", "kill -9 $PPID")
    assert vm.install().code == 137
    vm.has("docker", f"[[ $1 != run ]] || {{ {vm.installs_driver}\n}}")  # the image is there
    done = vm.install()
    assert done.code == 0
    assert [call.split()[1] for call in done.called("docker")] == ["image", "run", "image"]
    assert done.calls[-1] == f"docker image rm {CONTAINER}"


def test_a_pull_that_goes_on_failing_shows_docker_s_journal(vm: Vm) -> None:
    docker(vm, "echo 'Error response from daemon: no such host'; exit 1")
    vm.has("journalctl", "echo words of docker")
    done = vm.install()
    assert done.code == 1
    assert done.output.splitlines()[-4:] == [
        "Error response from daemon: no such host",
        "install-gpu: docker's journal:",
        "words of docker",
        f"install-gpu: cannot pull {CONTAINER}",
    ]
    assert done.called("journalctl") == ["journalctl --unit docker.service --no-pager --lines 100"]
    pauses = [int(call.split()[1]) for call in done.called("sleep")]
    assert pauses == [*sorted(pauses[:-1]), 0]
    assert 30 < sum(pauses) <= 60
    assert not [call for call in done.calls if " run " in call]


def test_a_failed_installation_shows_the_end_of_its_log_and_its_exit_code(vm: Vm) -> None:
    log = f"{vm.place}/nvidia-installer.log"
    docker(vm, "true", f"seq 1000 >{log}; echo ERROR: Unable to build the kernel module. >>{log}; exit 5")
    done = vm.install()
    assert done.code == 5
    lines = done.output.splitlines()
    at = lines.index("install-gpu: the end of nvidia-installer.log:")
    assert lines[at + 1] == "802"
    assert lines[-2:] == [
        "ERROR: Unable to build the kernel module.",
        "install-gpu: container could not install driver 396.26",
    ]
    assert not (vm.driver / "setup_gpu.sh").exists()


def test_a_driver_that_does_not_work_is_an_error(vm: Vm) -> None:
    docker(vm, "true", f"printf '#!/bin/bash\\nexit 9\\n' >{vm.place}/bin/nvidia-smi")
    done = vm.install()
    assert done.code == 1
    assert "setup_gpu.sh: nvidia-smi does not see a GPU that works\n" in done.output


def test_a_directory_that_cannot_be_made_is_an_error(vm: Vm) -> None:
    vm.driver.touch()
    done = vm.install()
    assert done.code == 1
    assert done.output.splitlines()[-1] == f"install-gpu: cannot prepare {vm.driver}"
