"""install-gpu: what it writes down, what it prints, what it refuses."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run
from support.dry_runs import INSTANCES, read_dry_run

from cos_customizer.cli.state import StateDirectory
from cos_customizer.customizer.spec.gpu_drivers import DEFAULT_CONTAINER
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.customizer.spec.steps.install_gpu import InstallGpu
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.emulator.server import Emulator

FILE = "NVIDIA-Linux-x86_64-450.51.06.run"
MD5 = hashlib.md5(b"driver\n").hexdigest()
START = (
    *("start-image-build", "-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud"),
    *("-gcs-bucket=my-project_cloudbuild", "-gcs-workdir=work"),
)
FINISH = ("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=my-image")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory; the build context, with a driver's file in gpu/, is the working directory."""
    home, context = tmp_path / "home", tmp_path / "workspace"
    home.mkdir()
    (context / "gpu").mkdir(parents=True)
    (context / "preload.sh").write_text("true\n")
    (context / "gpu" / FILE).write_text("driver\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(context)
    return home


@pytest.fixture
def started(home: Path, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    """The state that start-image-build leaves; no cloud is there to be asked."""
    for variable in ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(variable, raising=False)
    directory = StateDirectory(home / ".cos-customizer-workdir")
    spec = {
        "source": {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0", "architecture": "X86_64"},
        "context": {"sha256": "0" * 64},
        "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
    }
    with directory.new() as draft:
        draft.archive.write_bytes(b"archive")
        draft.commit(spec, (f"gpu/{FILE}", "preload.sh"), str(Path.cwd()))
    return directory


def installation(directory: StateDirectory) -> Step:
    """The step as it was written down, read back into the specification."""
    state = directory.read()
    builder = {"project": "my-project", "zones": ["us-west1-b"]}
    spec = parse_spec({**state.spec, "builder": builder, "output": {"project": "my-project", "name": "my-image"}})
    (step,) = spec.steps
    return step


def test_the_readme_s_step_takes_the_original_s_defaults(home: Path, emulator: Emulator) -> None:
    assert run(*START).code == 0
    ran = run("install-gpu", "-version=396.26")
    assert (ran.err, ran.code) == ("", 0)
    assert ran.out == "step 1        install-gpu 396.26 (tried with nvidia-tesla-p100)\n"
    assert installation(StateDirectory(home / ".cos-customizer-workdir")) == InstallGpu(
        version="396.26",
        md5sum="",
        install_dir="/var/lib/nvidia",
        gpu_type="nvidia-tesla-p100",
        attach_gpu=True,
        deps_dir=None,
        installer="auto",
        installer_container=DEFAULT_CONTAINER,
    )


@pytest.mark.parametrize("flag", ["-get-driver-version", "-get-valid-drivers", "--get-driver-version=true"])
def test_versions_are_printed_newest_first_without_a_build_and_without_credentials(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing"))
    ran = run("install-gpu", flag)
    assert (ran.err, ran.code) == ("", 0)
    versions = ran.out.splitlines()
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(numbers, reverse=True)
    assert {"396.26", "396.37", "396.44", "418.67", "450.51.06", "535.104.05", "390.46"} <= set(versions)


GIVEN: list[tuple[list[str], dict[str, Any]]] = [
    (["-version=latest"], {"version": "latest"}),
    (["-version=default", "-installer=cos-extensions"], {"version": "default", "installer": "cos-extensions"}),
    (["-version=R535", "-no-gpu", "-gpu-type=nvidia-l4"], {"attach_gpu": False, "gpu_type": "nvidia-l4"}),
    (["-version=latest", "-no-gpu=false"], {"attach_gpu": True}),
    (["-version=latest", "-install-dir=/home/nvidia/"], {"install_dir": "/home/nvidia"}),
    (["-version=latest", "-gpu-type=nvidia-of-tomorrow"], {"gpu_type": "nvidia-of-tomorrow"}),
    ([f"-version={FILE}", "-deps-dir=gpu"], {"version": FILE, "deps_dir": "gpu"}),
    ([f"-version={FILE}", "-deps-dir=./gpu/"], {"deps_dir": "gpu"}),
    ([f"-version={FILE}", "-deps-dir=gpu", "-installer-container=x/y:z"], {"installer_container": "x/y:z"}),
    (
        [f"-version={FILE}", "-deps-dir=gpu", f"-md5sum={MD5.upper()}"],
        {"md5sum": MD5},
    ),
]


@pytest.mark.parametrize(("flags", "expected"), GIVEN, ids=lambda value: " ".join(value))
def test_a_flag_sets_its_field_and_nothing_is_looked_up(
    started: StateDirectory, flags: list[str], expected: dict[str, Any]
) -> None:
    ran = run("install-gpu", *flags)
    assert (ran.err, ran.code) == ("", 0)
    step = installation(started).model_dump()
    assert {name: step[name] for name in expected} == expected


REFUSED: list[tuple[list[str], str]] = [
    ([], "-version must be set"),
    (["-version="], "-version must be set"),
    (["-version=newest"], "-version: 'newest' is not a driver version"),
    (["-version=latest", "-md5sum=abc"], "-md5sum: 'abc' is not an MD5 sum"),
    (["-version=latest", f"-md5sum={'0' * 32}"], "-md5sum needs a full version"),
    (["-version=latest", "-install-dir=nvidia"], "-install-dir: 'nvidia' is not an absolute path"),
    (["-version=latest", "-install-dir=/opt/nvidia"], "-install-dir: '/opt/nvidia' does not survive a reboot"),
    (["-version=latest", "-install-dir=/var/tmp/x"], "-install-dir: '/var/tmp/x' would not get into the image"),
    (["-version=latest", "-gpu-type=Tesla K80"], "-gpu-type: 'Tesla K80' is not a valid name"),
    (["-version=latest", "-installer=docker"], "-installer: 'docker' is not one of auto, cos-extensions, container"),
    (["-version=latest", "-installer=container"], "-version=latest cannot be used with -installer=container"),
    (["-version=396.26", "-no-gpu", "-installer=container"], "-no-gpu cannot be used with -installer=container"),
    ([f"-version={FILE}"], "-deps-dir must be set when -version names a driver's file"),
    ([f"-version={FILE}", "-deps-dir=gpu", "-no-gpu"], "-no-gpu cannot be used with -deps-dir"),
    ([f"-version={FILE}", "-deps-dir=nowhere"], "-deps-dir: 'nowhere' is not a directory"),
    ([f"-version={FILE}", "-deps-dir=/tmp"], "-deps-dir: '/tmp' is outside the build context"),
    ([f"-version={FILE}", "-deps-dir=empty"], "-deps-dir: there are no files in 'empty' in the build context"),
    (
        ["-version=NVIDIA-Linux-x86_64-450.51.05.run", "-deps-dir=gpu"],
        "-version: there is no 'NVIDIA-Linux-x86_64-450.51.05.run' in -deps-dir 'gpu'",
    ),
    ([f"-version={FILE}", "-deps-dir=gpu", f"-md5sum={'0' * 32}"], f"-md5sum: 'gpu/{FILE}' has "),
    (["-version=latest", "-no-gpu", "stray"], "install-gpu takes flags only"),
    (["-version=latest", "-md5"], "unknown flag -md5"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=lambda value: str(value)[:80])
def test_wrong_usage_is_refused_and_the_state_kept(started: StateDirectory, flags: list[str], message: str) -> None:
    Path("empty").mkdir()
    before = started.read()
    refused = run("install-gpu", *flags)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err
    assert started.read() == before


def test_a_second_driver_is_refused(started: StateDirectory) -> None:
    assert run("install-gpu", "-version=latest").code == 0
    refused = run("install-gpu", "-version=default")
    assert refused.code == 2
    assert "install-gpu can be given once in an image build" in refused.err
    assert installation(started).model_dump()["version"] == "latest"


def test_it_needs_a_build_to_belong_to(home: Path) -> None:
    refused = run("install-gpu", "-version=latest")
    assert refused.code == 2
    assert "no image build has been started" in refused.err


def test_an_unknown_version_is_refused_with_the_nearest_ones(home: Path, emulator: Emulator) -> None:
    assert run(*START).code == 0
    refused = run("install-gpu", "-version=396.27")
    assert refused.code == 2
    assert "there is no driver 396.27 in gs://nvidia-drivers-us-public" in refused.err
    assert "396.26, 396.37" in refused.err
    assert "-get-driver-version lists all" in refused.err


def test_an_md5_sum_that_is_not_the_published_driver_s_is_refused(home: Path, emulator: Emulator) -> None:
    assert run(*START).code == 0
    refused = run("install-gpu", "-version=396.26", f"-md5sum={'0' * 32}")
    assert refused.code == 2
    assert f"-md5sum: {'0' * 32} is the sum of no file of driver 396.26" in refused.err


def test_an_arm64_image_is_refused(home: Path, emulator: Emulator) -> None:
    arm = [
        "-image-name=cos-arm64-stable-125-19216-104-25" if flag.startswith("-image-name") else flag for flag in START
    ]
    assert run(*arm).code == 0
    refused = run("install-gpu", "-version=latest")
    assert refused.code == 2
    assert "install-gpu needs an x86_64 source image, not arm64" in refused.err


def test_a_local_compute_engine_that_does_not_run_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "http://127.0.0.1:9/")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    failed = run("install-gpu", "-get-driver-version")
    assert failed.code == 1
    assert "nothing answers at http://127.0.0.1:9" in failed.err


def dry_run(*flags: str) -> tuple[BuildSpec, dict[str, Any]]:
    """The specification and the builder VM that a dry run prints."""
    ran = run(*FINISH, *flags, "-dry-run-full")
    assert (ran.err, ran.code) == ("", 0)
    printed = read_dry_run(ran.out)
    return BuildSpec.model_validate(printed.recipe), printed.bodies(f"POST {INSTANCES}")[0]


@pytest.mark.parametrize(
    ("install", "finish", "gpu", "machine"),
    [
        ([], [], "nvidia-tesla-p100", "n1-standard-1"),
        (["-gpu-type=nvidia-l4"], [], None, "g2-standard-4"),  # which has one by itself
        (["-gpu-type=nvidia-l4"], ["-gpu-type=nvidia-tesla-t4"], "nvidia-tesla-t4", "n1-standard-1"),
        ([], ["-machine-type=n1-standard-8"], "nvidia-tesla-p100", "n1-standard-8"),
        (["-no-gpu"], [], None, "n1-standard-1"),
        (["-no-gpu"], ["-gpu-type=nvidia-tesla-t4"], "nvidia-tesla-t4", "n1-standard-1"),
    ],
)
def test_the_builder_vm_gets_one_gpu_and_a_machine_that_holds_it(
    home: Path, emulator: Emulator, install: list[str], finish: list[str], gpu: str | None, machine: str
) -> None:
    assert run(*START).code == 0
    assert run("install-gpu", "-version=latest", *install).code == 0
    _, vm = dry_run(*finish)
    accelerators = [{"acceleratorType": f"zones/us-west1-b/acceleratorTypes/{gpu}", "acceleratorCount": 1}]
    assert vm.get("guestAccelerators") == (accelerators if gpu else None)
    assert vm["machineType"].endswith(f"/{machine}")
    gpu_vm = gpu is not None or machine.startswith("g2")
    assert vm["scheduling"].get("onHostMaintenance") == ("TERMINATE" if gpu_vm else None)
    plan = next(item["value"] for item in vm["metadata"]["items"] if item["key"] == "user-data")
    assert ("verify=1" in plan) == gpu_vm
    assert ("target_gpu=NVIDIA_TESLA_P100" in plan) == (not gpu_vm)


def test_a_machine_type_that_cannot_hold_the_gpu_is_refused(home: Path, emulator: Emulator) -> None:
    assert run(*START).code == 0
    assert run("install-gpu", "-version=latest").code == 0
    refused = run(*FINISH, "-machine-type=e2-medium")
    assert refused.code == 2
    assert "-machine-type=e2-medium cannot hold -gpu-type=nvidia-tesla-p100: n1 can" in refused.err


def test_a_dry_run_refuses_a_zone_without_the_gpu_and_names_those_with_it(home: Path, emulator: Emulator) -> None:
    assert run(*START).code == 0
    assert run("install-gpu", "-version=latest", "-gpu-type=nvidia-tesla-k80").code == 0
    gone = run(*FINISH, "-dry-run")
    assert gone.code == 2
    assert "-gpu-type: no zone has nvidia-tesla-k80" in gone.err
    elsewhere = run(*FINISH, "-zone=us-west1-c", "-gpu-type=nvidia-tesla-p100", "-dry-run")
    assert elsewhere.code == 0, "one of the two zones has it"
    lacking = run(*FINISH[:1], "-zone=us-west1-c", *FINISH[2:], "-gpu-type=nvidia-tesla-p100", "-dry-run")
    assert lacking.code == 2
    assert "-zone: us-west1-c has no nvidia-tesla-p100" in lacking.err
    assert "zones that have it: us-west1-a, us-west1-b, " in lacking.err
