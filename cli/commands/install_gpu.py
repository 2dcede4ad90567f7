"""`install-gpu`: write down a GPU driver to install, or list the drivers that there are."""

import os
from pathlib import Path
from typing import Any

import click

from cos_customizer.cli.go_flags import Flag, GoCommand, spec_fields
from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec import gpu_drivers

FLAGS = (
    Flag(
        "version",
        "Driver to install: a version; or, where the image has cos-extensions, latest, default or a branch such as "
        "R535; or the name of a file in -deps-dir. Required.",
        value="VERSION",
        example="-version=396.26",
        field="version",
    ),
    Flag(
        "md5sum",
        "MD5 sum of the driver. It is compared with the published ones before the build, and verified by the "
        "legacy installer.",
        value="MD5",
        example="-md5sum=f2c1a1e1e8a7c2a7a6cf1c3c5b4d3e2f",
        field="md5sum",
    ),
    Flag(
        "install-dir",
        "Directory on the image for the driver and setup_gpu.sh, below /var or /home: those outlive a reboot.",
        value="DIRECTORY",
        default=gpu_drivers.DEFAULT_INSTALL_DIR,
        example="-install-dir=/home/nvidia",
        field="install_dir",
    ),
    Flag(
        "gpu-type",
        "Accelerator to try the driver with: the builder VM gets one, and its zone needs quota for it. It has no "
        "impact on the driver. That of finish-image-build wins.",
        value="TYPE",
        default=gpu_drivers.DEFAULT_GPU_TYPE,
        example="-gpu-type=nvidia-tesla-t4",
        field="gpu_type",
    ),
    Flag(
        "no-gpu",
        "Build without a GPU: the driver is downloaded and prepared for that of -gpu-type, and not tried. Needs an "
        "image with cos-extensions.",
        kind="bool",
        field="attach_gpu",
        negated=True,
    ),
    Flag(
        "deps-dir",
        "Directory, relative to the working directory and inside the build context, with inputs of the legacy "
        "installer: a driver's file that -version names, above all.",
        value="DIRECTORY",
        completer=click.Path(),
        example="-deps-dir=gpu",
    ),
    Flag(
        "installer",
        "What installs the driver: cos-extensions, which comes with COS since milestone 85; container, the legacy "
        "installer; auto, the first of them that can.",
        kind="choice",
        value="INSTALLER",
        choices=gpu_drivers.INSTALLERS,
        default="auto",
        example="-installer=cos-extensions",
        field="installer",
    ),
    Flag(
        "installer-container",
        "Container image of the legacy installer.",
        value="IMAGE",
        default=gpu_drivers.DEFAULT_CONTAINER,
        example="-installer-container=gcr.io/my-project/cos-gpu-installer:v1",
        field="installer_container",
    ),
    Flag(
        "get-driver-version",
        "Print the driver versions that there are, newest first, and exit. Needs no build, and no credentials.",
        kind="bool",
    ),
    Flag("get-valid-drivers", "The same as -get-driver-version.", kind="bool"),
    WORKDIR_FLAG,
)


@click.command(
    "install-gpu", cls=GoCommand, params=list(FLAGS), short_help="Install a GPU driver, and a script that sets it up."
)
@click.pass_context
def install_gpu(ctx: click.Context, /, **values: Any) -> int:
    """Install an NVIDIA GPU driver, and setup_gpu.sh beside it, which must run at every boot.

    The driver is only written down here; finish-image-build installs it, in the order of the steps, on a builder VM
    that has a GPU to try it with. It can be given once in an image build.
    """
    if values["get_driver_version"] or values["get_valid_drivers"]:
        for version in _published():
            click.echo(version)
        return 0
    step = _checked(values)
    state = StateDirectory.named(workdir_of(ctx, values))
    known = state.read()
    if any(other["type"] == "install-gpu" for other in known.spec.get("steps", [])):
        raise UsageError(
            "install-gpu can be given once in an image build: an image has one driver version",
            "start over (start-image-build -force) to choose another.",
        )
    if values["deps_dir"]:
        step["deps_dir"] = _in_context(values["deps_dir"], known)
        gpu_drivers.check_in_context(step["version"], step["deps_dir"], known.scripts)
        _check_file(Path(values["deps_dir"], step["version"]), step.get("md5sum", ""))
    if known.spec["source"].get("architecture"):
        gpu_drivers.check_architecture(known.spec["source"]["architecture"])
    if gpu_drivers.is_looked_up(step["version"]):
        gpu_drivers.check_published(step["version"], step.get("md5sum", ""), _published())
    number = state.add_step({"type": "install-gpu", **step})
    tried = "not tried: no GPU" if values["no_gpu"] else f"tried with {values['gpu_type']}"
    topic = f"step {number}"
    click.echo(f"{topic:<14}install-gpu {gpu_drivers.version_number(step['version'])} ({tried})")
    return 0


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """The step as its flags say it, after all checks that need no state and no cloud."""
    from cos_customizer.customizer.names import check_resource_name

    step = spec_fields(FLAGS, values)
    for name, check in (
        ("version", gpu_drivers.check_version),
        ("md5sum", gpu_drivers.check_md5sum),
        ("install_dir", gpu_drivers.check_install_dir),
        ("gpu_type", check_resource_name),
    ):
        try:
            value = check(step.get(name, ""))
        except ValueError as error:
            text = str(error)
            flag = "-" + name.replace("_", "-")
            raise UsageError(text if text.startswith("-") else f"{flag}: {text}") from None
        if value:
            step[name] = value
    try:
        gpu_drivers.check_combination(
            version=step["version"],
            md5sum=step.get("md5sum", ""),
            installer=values["installer"],
            container=values["installer_container"],
            deps_dir=values["deps_dir"] or None,
            attach_gpu=not values["no_gpu"],
        )
    except ValueError as error:
        raise UsageError(str(error), "see: cos-customizer help install-gpu.") from None
    return step


def _published() -> gpu_drivers.Drivers:
    from cos_customizer.gcp.endpoints import Endpoints
    from cos_customizer.gcp.gpu_drivers import published_drivers

    return published_drivers(Endpoints.from_environment(os.environ))


def _in_context(directory: str, state: BuildState) -> str:
    """Where a directory on this machine is in the build context."""
    path, root = Path(directory).resolve(), Path(state.build_context).resolve()
    if not path.is_dir():
        raise UsageError(
            f"-deps-dir: {directory!r} is not a directory",
            f"paths are relative to the working directory, {str(Path.cwd())!r}.",
        )
    if not path.is_relative_to(root):
        raise UsageError(
            f"-deps-dir: {directory!r} is outside the build context {state.build_context!r}",
            "move it there before start-image-build, which archives it, or give that step a wider -build-context.",
        )
    return path.relative_to(root).as_posix()


def _check_file(file: Path, md5sum: str) -> None:
    """Compare the MD5 sum of a driver's file that we hold."""
    if not md5sum or not file.is_file():
        return
    import hashlib

    with file.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5sum:
        raise UsageError(f"-md5sum: {str(file)!r} has {found}, not {md5sum}", "is it the file that you mean?")
