"""`install-gpu`: write down a GPU driver to install, or list the drivers that there are."""

import os
from pathlib import Path
from typing import Any

import click

from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.flag import Flag, spec_fields
from cos_customizer.cli.flag_kinds import ChoiceFlag, NegatingFlag, PathFlag, SwitchFlag
from cos_customizer.cli.go_flags import see_help
from cos_customizer.cli.noted_step import check_only_one, note_step
from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, message_of, placed
from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.gpu_drivers import OPTIONS

_STEP = FieldPath("steps.install-gpu")

FLAGS = (
    Flag("version", OPTIONS["steps.install-gpu.version"], value="VERSION", example="-version=396.26"),
    Flag(
        "md5sum", OPTIONS["steps.install-gpu.md5sum"], value="MD5", example="-md5sum=f2c1a1e1e8a7c2a7a6cf1c3c5b4d3e2f"
    ),
    Flag(
        "install-dir", OPTIONS["steps.install-gpu.install_dir"], value="DIRECTORY", example="-install-dir=/home/nvidia"
    ),
    Flag("gpu-type", OPTIONS["steps.install-gpu.gpu_type"], value="TYPE", example="-gpu-type=nvidia-tesla-t4"),
    NegatingFlag("no-gpu", OPTIONS["steps.install-gpu.attach_gpu"]),
    PathFlag(
        "deps-dir",
        "Directory, relative to the working directory and inside the build context, with inputs of the legacy "
        "installer: a driver's file that -version names, above all.",
        value="DIRECTORY",
        only="directory",
        example="-deps-dir=gpu",
        field="steps.install-gpu.deps_dir",
    ),
    ChoiceFlag(
        "installer",
        OPTIONS["steps.install-gpu.installer"],
        value="INSTALLER",
        choices=gpu_drivers.INSTALLERS,
        example="-installer=cos-extensions",
    ),
    Flag(
        "installer-container",
        OPTIONS["steps.install-gpu.installer_container"],
        value="IMAGE",
        example="-installer-container=gcr.io/my-project/cos-gpu-installer:v1",
    ),
    SwitchFlag(
        "get-driver-version",
        "Print the driver versions that there are, newest first, and exit. Needs no build, and no credentials.",
    ),
    SwitchFlag("get-valid-drivers", "The same as -get-driver-version."),
    WORKDIR_FLAG,
)


@command("install-gpu", FLAGS, section=BUILD_STEPS, rank=3)
@click.pass_context
def install_gpu(ctx: click.Context, /, **values: Any) -> int:
    """Install a GPU driver, and a script that sets it up.

    The driver is NVIDIA's; the script, setup_gpu.sh, lies beside it, and must run at every boot. The driver is only
    written down here; finish-image-build installs it, in the order of the steps, on a builder VM that has a GPU to try
    it with. It can be given once in an image build.
    """
    if values["get_driver_version"] or values["get_valid_drivers"]:
        for version in _published():
            click.echo(version)
        return 0
    step = _checked(values)
    state = StateDirectory.named(workdir_of(ctx, values["local_state_workdir"]))
    known = state.read()
    check_only_one(known, "install-gpu", gpu_drivers.ONLY_ONCE)
    if values["deps_dir"]:
        step["deps_dir"] = _in_context(values["deps_dir"], known)
        gpu_drivers.check_in_context(step["version"], step["deps_dir"], known.files)
        _check_file(Path(values["deps_dir"], step["version"]), step.get("md5sum", ""))
    if architecture := known.spec.get("source", {}).get("architecture"):
        gpu_drivers.check_architecture(architecture)
    if gpu_drivers.is_looked_up(step["version"]):
        _check_published(step["version"], step.get("md5sum", ""))
    tried = "not tried: no GPU" if values["no_gpu"] else f"tried with {values['gpu_type']}"
    label = f"install-gpu {gpu_drivers.version_number(step['version'])} ({tried})"
    return note_step(state, {"type": "install-gpu", **step}, label)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """The step as its flags say it, after all checks that need no state and no cloud."""
    from cos_customizer.customizer.names import check_resource_name

    if not values["version"]:
        raise UsageError("-version must be set", see_help("install-gpu"))
    step = spec_fields(FLAGS, values, "steps.install-gpu.")
    for name, check in (
        ("version", gpu_drivers.check_version),
        ("md5sum", gpu_drivers.check_md5sum),
        ("install_dir", gpu_drivers.check_install_dir),
        ("gpu_type", check_resource_name),
    ):
        try:
            value = check(step.get(name, ""))
        except ValueError as error:
            raise UsageError(Message("{}: {}", FieldPath(name).below(_STEP), error)) from None
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
        raise UsageError(placed(message_of(error), _STEP), see_help("install-gpu")) from None
    return step


def _check_published(version: str, md5sum: str) -> None:
    drivers = _published()
    try:
        gpu_drivers.check_published(version, md5sum, drivers)
    except UsageError as error:
        if version not in drivers:
            error.hint += " -get-driver-version lists all."
        raise


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
