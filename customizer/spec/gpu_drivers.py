"""GPU drivers: their versions, the files that hold them, what an install-gpu step may ask for (no pydantic here).

Sources: https://cloud.google.com/container-optimized-os/docs/how-to/run-gpus (what `cos-extensions install gpu` takes),
https://github.com/GoogleCloudPlatform/cos-gpu-installer (the legacy installer).
"""

import bisect
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, Option, by_path
from cos_customizer.customizer.spelling import did_you_mean

BUCKET = "nvidia-drivers-us-public"
"""Public bucket with NVIDIA's drivers: `tesla/{version}/NVIDIA-Linux-x86_64-{version}….run`."""
PREFIX = "tesla/"
INSTALLERS = ("auto", "cos-extensions", "container")
DEFAULT_INSTALL_DIR = "/var/lib/nvidia"
DEFAULT_GPU_TYPE = "nvidia-tesla-p100"
ONLY_ONCE = "an image has one driver version"
_SECOND_INSTALLER = re.compile(r"/cos-gpu-installer(-v2(:[^/@]*)?|:v?2([.-][^/@]*)?)(@[^/]*)?$")
"""Names of images of the installer's second version, which takes a command and flags, not environment variables.

Source: https://cos.googlesource.com/cos/tools/+/refs/heads/master/src/cmd/cos_gpu_installer/README.md.
"""
DEFAULT_CONTAINER = "gcr.io/cos-cloud/cos-gpu-installer:v20230815"

_VERSION = r"[0-9]+(?:\.[0-9]+)+"
_ALIAS = re.compile(r"latest|default|R[0-9]+")
_DRIVER_FILE = re.compile(rf"NVIDIA-Linux-x86_64-(?P<version>{_VERSION})(-[-A-Za-z0-9_.]*)?\.run")
_OBJECT = re.compile(rf"{PREFIX}(?P<version>{_VERSION})/(?P<file>NVIDIA-Linux-x86_64-(?P=version)[^/]*)")
_OFF_THE_PATH = "390.46"
"""A supported version that the bucket keeps under another path."""

_PERSISTENT = ("/var", "/home")
_EMPTIED = ("/var/cache", "/var/tmp", "/var/log", "/var/run", "/var/lock", "/var/lib/cloud", "/var/lib/systemd")  # noqa: S108

VERSION = FieldPath("steps.install-gpu.version")
MD5SUM = FieldPath("steps.install-gpu.md5sum")
DEPS_DIR = FieldPath("steps.install-gpu.deps_dir")
GPU_TYPE = FieldPath("steps.install-gpu.gpu_type")

OPTIONS = by_path(
    Option(
        VERSION.path,
        Message(
            "Driver to install: a version; or, where the image has cos-extensions, latest, default or a branch such as "
            "R535; or the name of a file in {}.",
            DEPS_DIR,
        ),
        required=True,
    ),
    Option(
        MD5SUM.path,
        "MD5 sum of the driver. It is compared with the published ones before the build, and verified by the legacy "
        "installer.",
        "",
    ),
    Option(
        "steps.install-gpu.install_dir",
        "Directory on the image for the driver and setup_gpu.sh, below /var or /home: those outlive a reboot.",
        DEFAULT_INSTALL_DIR,
    ),
    Option(
        GPU_TYPE.path,
        "Accelerator to try the driver with: the builder VM gets one, and its zone needs quota for it. It has no "
        "impact on the driver. One that the builder VM is given for itself wins.",
        DEFAULT_GPU_TYPE,
    ),
    Option(
        "steps.install-gpu.attach_gpu",
        Message(
            "Give the builder VM a GPU to try the driver with; without one, the driver is downloaded and prepared for "
            "that of {}, which needs an image with cos-extensions.",
            GPU_TYPE,
        ),
        True,
    ),
    Option(
        DEPS_DIR.path,
        Message(
            "Directory in the build context with inputs of the legacy installer: a driver's file that {} names, above "
            "all.",
            VERSION,
        ),
    ),
    Option(
        "steps.install-gpu.installer",
        "What installs the driver: cos-extensions, which comes with COS since milestone 85; container, the legacy "
        "installer; auto, the first of them that can.",
        "auto",
    ),
    Option("steps.install-gpu.installer_container", "Container image of the legacy installer.", DEFAULT_CONTAINER),
)


class Driver(NamedTuple):
    """A GPU driver to install.

    Attributes:
        version: as `check_version` takes it.
        md5sum: of one of its files; may be empty.
    """

    version: str
    md5sum: str


Drivers = Mapping[str, Mapping[str, str]]
"""Version → file in the bucket → its MD5 in hexadecimal; empty where Cloud Storage has none."""


def check_version(text: str) -> str:
    """Return `text` if it can name a driver: a version, `latest`, `default`, a branch (`R535`), or a driver's file.

    Raises:
        ValueError: it cannot.
    """
    if not text:
        raise ValueError("the version of a driver must be set")
    if not (re.fullmatch(_VERSION, text) or _ALIAS.fullmatch(text) or _DRIVER_FILE.fullmatch(text)):
        raise ValueError(
            f"{text!r} is not a driver version: write 535.104.05, latest, default, a branch such as R535, or the name "
            "of a driver's file such as NVIDIA-Linux-x86_64-450.51.06.run"
        )
    return text


def is_alias(version: str) -> bool:
    """Whether the installer has to find out which version this is: `latest`, `default`, `R535`."""
    return bool(_ALIAS.fullmatch(version))


def is_driver_file(version: str) -> bool:
    """Whether this is the name of a driver's file, and not a version."""
    return version.endswith(".run")


def is_looked_up(version: str) -> bool:
    """Whether this is a full version, which has to be in the bucket."""
    return not is_alias(version) and not is_driver_file(version)


def version_number(version: str) -> str:
    """The version that a driver's file holds: 450.51.06 of NVIDIA-Linux-x86_64-450.51.06.run; others as they are."""
    match = _DRIVER_FILE.fullmatch(version)
    return match["version"] if match else version


def check_md5sum(md5sum: str) -> str:
    """Return `md5sum` in lower case if it is one, or empty.

    Raises:
        ValueError: it is not.
    """
    if md5sum and not re.fullmatch("[0-9a-fA-F]{32}", md5sum):
        raise ValueError(f"{md5sum!r} is not an MD5 sum: 32 hexadecimal digits")
    return md5sum.lower()


def check_install_dir(path: str) -> str:
    """Return `path`, normalized, if drivers that are installed there are still there after a reboot.

    Source: https://cloud.google.com/container-optimized-os/docs/concepts/disks-and-filesystem.

    Raises:
        ValueError: they would not be, or the installers cannot take the path.
    """
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    if re.search(r"[:,\x00-\x1f\x7f]", path):  # docker's --volume separates by colons
        raise ValueError(f"{path!r} has a character that the installers cannot take in a path")
    normal = "/" + posixpath.normpath(path).strip("/")
    if not normal.startswith(tuple(f"{place}/" for place in _PERSISTENT)):
        raise ValueError(
            f"{path!r} does not survive a reboot: on COS only directories below /var and /home do "
            f"({DEFAULT_INSTALL_DIR}, say)"
        )
    emptied = next((place for place in _EMPTIED if f"{normal}/".startswith(f"{place}/")), None)
    if emptied:
        raise ValueError(f"{path!r} would not get into the image: {emptied} is emptied before the image is made")
    return normal


def check_deps_dir(path: str) -> str:
    """Return `path` in the build context, normalized; `.` is the context's root.

    Raises:
        ValueError: it leads out of the build context.
    """
    normal = posixpath.normpath(path)
    if normal.startswith(("/", "../")) or normal == "..":
        raise ValueError(f"{path!r} is outside the build context")
    return normal


def check_combination(
    *, version: str, md5sum: str, installer: str, container: str, deps_dir: str | None, attach_gpu: bool
) -> None:
    """Check that what an install-gpu step asks for goes together.

    Args:
        version: as `check_version` takes it.
        md5sum: of the driver; may be empty.
        installer: one of `INSTALLERS`.
        container: image of the legacy installer.
        deps_dir: directory in the build context with the installer's inputs.
        attach_gpu: whether the builder VM gets a GPU.

    Raises:
        ValueError: it does not; the message names the fields, relative to the step.
    """
    given, dependencies = FieldPath("version", version), FieldPath("deps_dir")
    asked_for = FieldPath("installer", installer)
    if is_driver_file(version) and deps_dir is None:
        raise ValueError(Message("{} must be set when {} names a driver's file", dependencies, FieldPath("version")))
    if is_alias(version) and md5sum:
        raise ValueError(
            Message("{} needs a full version: {} can be another driver tomorrow", FieldPath("md5sum"), given)
        )
    if installer == "cos-extensions":
        if deps_dir is not None:
            raise ValueError(
                Message("{} cannot be used with {}, which takes drivers from Google only", dependencies, asked_for)
            )
        if container != DEFAULT_CONTAINER:
            raise ValueError(Message("{} cannot be used with {}", FieldPath("installer_container"), asked_for))
        return
    if (installer == "container" or deps_dir is not None) and _SECOND_INSTALLER.search(container):
        raise ValueError(
            Message(
                "{} is version 2 of the installer, which is called in another way than version 1; {} runs version 2",
                FieldPath("installer_container", container),
                FieldPath("installer", "cos-extensions"),
            )
        )
    for legacy, field in ((installer == "container", asked_for), (deps_dir is not None, dependencies)):
        if legacy and is_alias(version):
            raise ValueError(
                Message("{} cannot be used with {}: the legacy installer takes full versions only", given, field)
            )
        if legacy and not attach_gpu:
            raise ValueError(
                Message(
                    "{} cannot be used with {}: the legacy installer tries the driver, and needs a GPU for that",
                    FieldPath("attach_gpu", False),
                    field,
                )
            )


def check_architecture(architecture: str) -> None:
    """Check that there are GPU drivers for a source image.

    Source: https://cloud.google.com/container-optimized-os/docs/how-to/run-gpus#requirements.

    Args:
        architecture: of the source image, `X86_64` or `ARM64`.

    Raises:
        UsageError: there are none.
    """
    if architecture != "X86_64":
        raise UsageError(
            f"install-gpu needs an x86_64 source image, not {architecture.lower()}",
            "Container-Optimized OS has GPU drivers for x86_64 only.",
        )


def check_in_context(version: str, deps_dir: str, files: Collection[str]) -> None:
    """Check that the installer's inputs are in the build context.

    Args:
        version: as `check_version` takes it.
        deps_dir: directory in the build context, normalized.
        files: all files of the build context.

    Raises:
        UsageError: they are not.
    """
    prefix = "" if deps_dir == "." else f"{deps_dir}/"
    there = [name.removeprefix(prefix) for name in files if name.startswith(prefix)]
    hint = "the build context is as start-image-build archived it: have the files there before that step."
    if not there:
        raise UsageError(Message("{}: there are no files in {!r} in the build context", DEPS_DIR, deps_dir), hint)
    if is_driver_file(version) and version not in there:
        raise UsageError(
            Message("{}: there is no {!r} in {} {!r} in the build context", VERSION, version, DEPS_DIR, deps_dir),
            did_you_mean(version, there) or hint,
        )


def drivers_in(objects: Iterable[tuple[str, str]]) -> Drivers:
    """The drivers among a bucket's objects, newest first.

    Args:
        objects: name and MD5 (hexadecimal, or empty) of each.
    """
    found: dict[str, dict[str, str]] = {}
    for name, md5sum in objects:
        if match := _OBJECT.fullmatch(name):
            found.setdefault(match["version"], {})[match["file"]] = md5sum
    installable = {version: files for version, files in found.items() if any(map(is_driver_file, files))}
    installable.setdefault(_OFF_THE_PATH, {})
    return {version: installable[version] for version in sorted(installable, key=_order, reverse=True)}


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def check_published(version: str, md5sum: str, drivers: Drivers) -> None:
    """Check that a driver is there to be installed.

    Args:
        version: a full version.
        md5sum: of one of its files; may be empty.
        drivers: the ones that there are.

    Raises:
        UsageError: there is no such version (the nearest ones are named), or none of its files has that sum.
    """
    if version not in drivers:
        known = sorted(drivers, key=_order)
        at = bisect.bisect(known, _order(version), key=_order)
        near = known[max(0, at - 2) : at + 2]
        raise UsageError(
            Message("{}: there is no driver {} in gs://{}", VERSION, version, BUCKET),
            f"the nearest are {', '.join(near)}.",
        )
    files = drivers[version]
    if md5sum and files and all(files.values()) and md5sum not in files.values():
        shown = ", ".join(f"{name} has {known}" for name, known in sorted(files.items()) if is_driver_file(name))
        raise UsageError(
            Message("{}: {} is the sum of no file of driver {}", MD5SUM, md5sum, version), f"in gs://{BUCKET}, {shown}."
        )
