"""GPU drivers: which there are, which are refused and how, what goes together."""

import pytest

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec import gpu_drivers

MD5 = "0123456789abcdef0123456789abcdef"
OBJECTS = [
    ("tesla/", ""),
    ("tesla/396.26/NVIDIA-Linux-x86_64-396.26-diagnostic.run", MD5),
    ("tesla/396.26/NVIDIA-Linux-x86_64-396.26_69-10895-0-0.cos", "f" * 32),
    ("tesla/535.104.05/NVIDIA-Linux-x86_64-535.104.05.run", ""),
    ("tesla/535.104.05/aarch64/NVIDIA-Linux-aarch64-535.104.05.run", MD5),
    ("tesla/450.51.06/NVIDIA-Linux-x86_64-450.51.06.run", MD5),
    ("tesla/450.119.04/NVIDIA-Linux-x86_64-450.119.04.run", MD5),
    ("tesla/418.67/NVIDIA-Linux-x86_64-418.67_77-12371-0-0.cos", MD5),  # precompiled only
    ("tesla/fabricmanager_linux_x86/fabricmanager-450.run", MD5),
    ("tesla/9.9/NVIDIA-Linux-x86_64-396.26.run", MD5),  # another version's
]
DRIVERS = gpu_drivers.drivers_in(OBJECTS)


def test_drivers_are_those_with_an_installer_for_x86_64_newest_first() -> None:
    assert list(DRIVERS) == ["535.104.05", "450.119.04", "450.51.06", "396.26", "390.46"]


@pytest.mark.parametrize(
    "version",
    [
        "396.26",
        "535.104.05",
        "latest",
        "default",
        "R535",
        "NVIDIA-Linux-x86_64-450.51.06.run",
        "NVIDIA-Linux-x86_64-396.26-diagnostic.run",
    ],
)
def test_a_driver_is_named_by_version_alias_branch_or_file(version: str) -> None:
    assert gpu_drivers.check_version(version) == version


@pytest.mark.parametrize(
    "version",
    ["396", "v396.26", "396.26 ", "newest", "r535", "../NVIDIA-Linux-x86_64-1.2.run", "a.run", "396.26;reboot"],
)
def test_what_names_no_driver_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="is not a driver version: write 535"):
        gpu_drivers.check_version(version)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("396.26", "396.26"),
        ("latest", "latest"),
        ("NVIDIA-Linux-x86_64-450.51.06.run", "450.51.06"),
        ("NVIDIA-Linux-x86_64-396.26-diagnostic.run", "396.26"),
    ],
)
def test_a_driver_file_s_name_tells_its_version(version: str, number: str) -> None:
    assert gpu_drivers.version_number(version) == number


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/var/lib/nvidia", "/var/lib/nvidia"), ("/home//x/../nvidia/", "/home/nvidia"), ("//var/a b", "/var/a b")],
)
def test_an_install_dir_may_be_anywhere_below_var_and_home(path: str, kept: str) -> None:
    assert gpu_drivers.check_install_dir(path) == kept


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "is not an absolute path"),
        ("var/lib/nvidia", "is not an absolute path"),
        ("/usr/local/nvidia", "does not survive a reboot"),
        ("/etc/nvidia", "does not survive a reboot"),
        ("/var/../etc", "does not survive a reboot"),
        ("/var", "does not survive a reboot"),
        ("/home/", "does not survive a reboot"),
        ("/variable/x", "does not survive a reboot"),
        ("/var/tmp/nvidia", "/var/tmp is emptied before the image is made"),
        ("/var/cache", "/var/cache is emptied before the image is made"),
        ("/var/run/nvidia", "/var/run is emptied"),
        ("/var/lib/a:b", "a character that the installers cannot take"),
        ("/var/lib/a\nb", "a character that the installers cannot take"),
    ],
)
def test_an_install_dir_that_would_not_be_there_after_a_reboot_is_refused(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        gpu_drivers.check_install_dir(path)


STEP = {
    "version": "535.104.05",
    "md5sum": "",
    "installer": "auto",
    "container": gpu_drivers.DEFAULT_CONTAINER,
    "deps_dir": None,
    "attach_gpu": True,
}
FILE = "NVIDIA-Linux-x86_64-450.51.06.run"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": "latest"},
        {"version": "R535", "installer": "cos-extensions"},
        {"md5sum": MD5},
        {"attach_gpu": False},
        {"attach_gpu": False, "installer": "cos-extensions"},
        {"version": FILE, "deps_dir": "gpu", "md5sum": MD5},
        {"deps_dir": "gpu", "installer": "container"},
        {"container": "gcr.io/mine/installer", "installer": "container"},
    ],
    ids=str,
)
def test_what_goes_together(changes: dict[str, object]) -> None:
    gpu_drivers.check_combination(**{**STEP, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": FILE}, "deps_dir must be set when version names a driver's file"),
        ({"version": "latest", "md5sum": MD5}, "md5sum needs a full version"),
        ({"installer": "cos-extensions", "deps_dir": "gpu"}, "deps_dir cannot be used with installer: cos-extensions"),
        ({"installer": "cos-extensions", "container": "x"}, "installer_container cannot be used with"),
        ({"version": "default", "installer": "container"}, "version: default cannot be used with installer: container"),
        ({"version": "R535", "deps_dir": "gpu"}, "version: R535 cannot be used with deps_dir"),
        ({"attach_gpu": False, "installer": "container"}, "attach_gpu: false cannot be used with installer: container"),
        ({"attach_gpu": False, "deps_dir": "gpu"}, "attach_gpu: false cannot be used with deps_dir"),
    ],
)
def test_what_does_not_go_together_is_refused_by_field(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        gpu_drivers.check_combination(**{**STEP, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "is_second"),
    [
        ("gcr.io/cos-cloud/cos-gpu-installer:v2", True),
        ("gcr.io/cos-cloud/cos-gpu-installer:v2.4.8", True),
        ("gcr.io/cos-cloud/cos-gpu-installer:2.1.0", True),
        ("gcr.io/cos-cloud/cos-gpu-installer:v2-rc1", True),
        ("gcr.io/cos-cloud/cos-gpu-installer-v2", True),
        ("europe.example/mirror/cos-gpu-installer-v2:latest", True),
        (f"gcr.io/cos-cloud/cos-gpu-installer:v2.4.8@sha256:{'0' * 64}", True),
        ("gcr.io/cos-cloud/cos-gpu-installer:v20200921", False),
        (gpu_drivers.DEFAULT_CONTAINER, False),
        ("gcr.io/cos-cloud/cos-gpu-installer:latest", False),
        ("gcr.io/our-project/our-installer:v2", False),
    ],
)
def test_the_installer_s_second_version_is_refused_as_a_container(container: str, is_second: bool) -> None:
    for changes in ({"installer": "container"}, {"deps_dir": "gpu"}):
        step = {**STEP, **changes, "container": container}
        if is_second:
            with pytest.raises(ValueError, match=r"installer: cos-extensions runs version 2"):
                gpu_drivers.check_combination(**step)  # type: ignore[arg-type]
        else:
            gpu_drivers.check_combination(**step)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "near"),
    [
        ("450.80", "450.51.06, 450.119.04"),
        ("396.27", "390.46, 396.26, 450.51.06, 450.119.04"),
        ("999.1", "450.119.04, 535.104.05."),
        ("1.0", "nearest are 390.46, 396.26."),
    ],
)
def test_an_unknown_version_is_refused_with_the_nearest_ones(version: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"there is no driver {version}") as caught:
        gpu_drivers.check_published(version, "", DRIVERS)
    assert near in caught.value.hint


@pytest.mark.parametrize(
    ("version", "md5sum"),
    [("396.26", MD5), ("396.26", "f" * 32), ("396.26", ""), ("535.104.05", MD5), ("390.46", MD5)],
)
def test_an_md5_sum_may_be_that_of_any_file_of_the_driver_or_unknown(version: str, md5sum: str) -> None:
    gpu_drivers.check_published(version, md5sum, DRIVERS)


def test_an_md5_sum_of_no_file_of_the_driver_is_refused() -> None:
    with pytest.raises(UsageError, match=r"md5sum: 0{32} is the sum of no file of driver 396\.26") as caught:
        gpu_drivers.check_published("396.26", "0" * 32, DRIVERS)
    assert f"NVIDIA-Linux-x86_64-396.26-diagnostic.run has {MD5}" in caught.value.hint


@pytest.mark.parametrize(("md5sum", "kept"), [("", ""), (MD5.upper(), MD5)])
def test_an_md5_sum_is_32_digits(md5sum: str, kept: str) -> None:
    assert gpu_drivers.check_md5sum(md5sum) == kept
    with pytest.raises(ValueError, match="is not an MD5 sum"):
        gpu_drivers.check_md5sum("abc")


@pytest.mark.parametrize(
    ("version", "directory", "files"),
    [
        ("535.104.05", "gpu", ["gpu/kernel_info"]),
        (FILE, "gpu", [f"gpu/{FILE}"]),
        (FILE, ".", [FILE]),
        (FILE, "a/b", ["first.sh", f"a/b/{FILE}"]),
    ],
)
def test_dependencies_that_are_in_the_build_context(version: str, directory: str, files: list[str]) -> None:
    gpu_drivers.check_in_context(version, directory, files)


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ([], "there are no files in 'gpu'", "as start-image-build archived it"),
        (["gpux/a"], "there are no files in 'gpu'", "as start-image-build archived it"),
        (
            ["gpu/other"],
            f"there is no '{FILE}' in steps.install-gpu.deps_dir",
            "as start-image-build archived it",
        ),
        ([f"gpu/x/{FILE}"], f"there is no '{FILE}' in steps.install-gpu.deps_dir", f"did you mean x/{FILE}"),
    ],
)
def test_dependencies_that_are_missing_from_the_build_context(files: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        gpu_drivers.check_in_context(FILE, "gpu", files)
    assert hint in caught.value.hint
