"""`emulator run-cloudbuild`: a workflow of Cloud Build on this machine, against the emulator."""

import contextlib
import http.client
import os
import sys
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.flags import ChoiceFlag, DurationFlag, Flag, MapFlag, PathFlag, PathType
from cos_customizer.cli.go_flags import GoCommand
from cos_customizer.customizer.durations import parse_duration
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator import background
from cos_customizer.emulator.errors import EmulatorError

if TYPE_CHECKING:
    from cos_customizer.emulator.cloud_build.runner import BuildDirectories, Executor
    from cos_customizer.emulator.cloud_build.workflow import Step, Workflow

IMAGE = "cos-customizer"
"""Steps of images of this name, in whatever registry and of whatever tag, are run; others are left out."""
LEFT_OUT = 3
"""Exit code where all steps that were run have succeeded, but some were left out."""
_VARIABLES = ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "STORAGE_EMULATOR_HOST")
_OPTIONAL_VARIABLES = ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER")

FLAGS = (
    MapFlag(
        "substitutions",
        "Values of substitutions, over those of the workflow. A value cannot hold a comma.",
        value="_NAME=VALUE,…",
        example="-substitutions=_ZONE=us-west1-b",
    ),
    Flag("project", "Project that $PROJECT_ID stands for.", default="my-project", value="PROJECT"),
    PathFlag(
        "source",
        "Directory whose contents, but for .git, are copied to the workspace. Default: that of FILE.",
        value="DIR",
        only="directory",
        example="-source=.",
    ),
    DurationFlag("timeout", "Time limit of the build, over the workflow's own.", example="-timeout=20m"),
    DurationFlag(
        "grace",
        "Let steps that are ended before they are done (by a timeout, another step, or Ctrl-C) have SIGTERM and this "
        "long to clean up. By default they are killed at once, as Cloud Build does it.",
        example="-grace=30s",
    ),
    ChoiceFlag(
        "container-tool",
        "Run each step as a container of its image, by this tool. By default a step is a process of this installation.",
        choices=("docker", "podman", "buildah"),
        value="TOOL",
        example="-container-tool=docker",
    ),
    Flag(
        "container-image",
        "Image for all steps, instead of those that the workflow names. Needs -container-tool.",
        value="IMAGE",
        example="-container-image=cos-customizer:latest",
    ),
    PathFlag(
        "state-dir",
        "State directory of the emulator to use. By default the one that the environment variables point to, or else "
        "the one that runs on the default directory.",
        value="DIR",
        only="directory",
        example="-state-dir=/tmp/cloud",
    ),
)


class _FileFirst(GoCommand):
    """Takes its flags after the file, too: Go's parser would stop there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the file last."""
        if args and not args[0].startswith("-") and not ctx.resilient_parsing:
            args = [*args[1:], args[0]]
        return super().parse_args(ctx, args)


@click.command(
    "run-cloudbuild",
    cls=_FileFirst,
    params=[*FLAGS, click.Argument(["file"], type=PathType(dir_okay=False))],
    short_help="Run the steps of a cloudbuild.yaml against it.",
)
def run_cloudbuild(file: str, **values: Any) -> int:
    """Run the steps of a cloudbuild.yaml against the emulator, as Cloud Build would.

    Each step is a process of its own, or with -container-tool a container. All share a home directory, which is empty
    in the beginning, and a copy of the source directory as their workspace; both are removed in the end. Steps of other
    images than cos-customizer are left out, and named.

    Exit codes: 0 all steps have succeeded; 1 a step has failed, or time was up; 2 Cloud Build would refuse the
    workflow, and nothing was run; 3 what was run has succeeded, but steps were left out.
    """
    from cos_customizer.emulator.cloud_build.runner import build_directories, run_workflow
    from cos_customizer.emulator.cloud_build.workflow import WorkflowError

    if values["container_image"] and not values["container_tool"]:
        raise UsageError("-container-image needs -container-tool", "docker, podman or buildah.")
    path = Path(file)
    build_id = str(uuid.uuid4())
    try:
        workflow = _read(path, values, build_id)
    except WorkflowError as error:
        raise UsageError(str(error), error.hint) from None
    source = Path(values["source"] or path.parent)
    if not source.is_dir():
        raise UsageError(f"-source: {source} is not a directory")
    environment = _emulator_environment(values["state_dir"])
    if not any(map(_is_ours, workflow.steps)):
        raise UsageError(f"{file}: no step is of an image {IMAGE}", "there is nothing to run.")
    for field in workflow.ignored_fields():
        click.echo(f"{field}: left out")
    with _copied(build_directories(source)) as directories:
        executor = _executor(values, environment, directories)
        outcome = run_workflow(workflow, executor, build_id, _is_ours, click.echo, _seconds("grace", values))
    click.echo(outcome.status)
    if outcome.status != "SUCCESS":
        raise CustomizerError(outcome.detail)
    if outcome.left_out:
        numbers = ", ".join(f"#{number}" for number in outcome.left_out)
        click.echo(f"cos-customizer: steps of other images were left out: {numbers}", err=True)
        return LEFT_OUT
    return 0


@contextlib.contextmanager
def _copied(copying: "contextlib.AbstractContextManager[BuildDirectories]") -> Iterator["BuildDirectories"]:
    """The directories of a run; a source that cannot be copied is a mistake of its flag."""
    with contextlib.ExitStack() as stack:
        try:
            directories = stack.enter_context(copying)
        except EmulatorError as error:
            raise UsageError(f"-source: {error}", error.hint) from None
        yield directories


def _read(path: Path, values: Mapping[str, Any], build_id: str) -> "Workflow":
    from cos_customizer.customizer.bounded_yaml import LONGEST, BoundedLoader
    from cos_customizer.emulator.cloud_build.workflow import WorkflowError, parse_workflow
    from cos_customizer.emulator.projects import project_number

    try:
        with path.open(encoding="utf-8") as workflow_file:
            text = workflow_file.read(LONGEST + 1)  # some files never end
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path} cannot be read: {why}") from None
    project = values["project"]
    number = project_number(project)
    account = f"{number}@cloudbuild.gserviceaccount.com"
    built_in = {
        "PROJECT_ID": project,
        "PROJECT_NUMBER": str(number),
        "BUILD_ID": build_id,
        "LOCATION": "global",
        "SERVICE_ACCOUNT_EMAIL": account,
        "SERVICE_ACCOUNT": f"projects/{project}/serviceAccounts/{account}",
    }
    workflow = parse_workflow(text, str(path), values["substitutions"], built_in, BoundedLoader)
    for step_number, step in enumerate(workflow.steps):
        if _is_ours(step) and (fields := step.ignored_fields()):
            raise WorkflowError(f"{path}: steps.{step_number}.{fields[0]}: not known here", "args and entrypoint are.")
    if timeout := _seconds("timeout", values):
        workflow = workflow.model_copy(update={"timeout": timeout})
    return workflow


def _seconds(flag: str, values: Mapping[str, Any]) -> float:
    """A duration; 0 if it was not given."""
    seconds = parse_duration(values[flag] or "0")
    if seconds < 0:
        raise UsageError(f"-{flag}: {values[flag]} is less than nothing")
    return seconds


def _executor(values: Mapping[str, Any], environment: dict[str, str], directories: "BuildDirectories") -> "Executor":
    if values["container_tool"]:
        from cos_customizer.emulator.cloud_build.containers import Containers

        return Containers(values["container_tool"], values["container_image"] or "", environment, directories)
    from cos_customizer.emulator.cloud_build.processes import Processes

    program = Path(sys.executable).with_name(IMAGE)
    path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return Processes([str(program)], {"PATH": path, **environment, **_caches()}, directories)


def _is_ours(step: "Step") -> bool:
    return step.image() == IMAGE


def _caches() -> dict[str, str]:
    """Where Prefect's database is kept ready: a container image brings it along, an empty home does not."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COS_CUSTOMIZER_")}
    return {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"), **kept}


def _emulator_environment(state_dir: str | None) -> dict[str, str]:
    """The variables that lead to an emulator that answers."""
    start = 'start it: eval "$(cos-customizer emulator start)".'
    given = {name: os.environ[name] for name in (*_VARIABLES, *_OPTIONAL_VARIABLES) if os.environ.get(name)}
    if state_dir is None and given.keys() >= set(_VARIABLES):
        for name, address in given.items():
            if not _answers(address):
                raise CustomizerError(f"no emulator answers at {address} ({name})", start)
        return given
    running = background.find(Path(state_dir).absolute() if state_dir else background.default_state_dir())
    if running is None:
        where = f" on {Path(state_dir).absolute()}" if state_dir else ""
        raise CustomizerError(f"the emulator does not run{where}", start)
    return running.environment


def _answers(address: str) -> bool:
    url = urllib.parse.urlsplit(address)
    if url.scheme != "http" or url.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise CustomizerError(f"{address} is not this machine", "run-cloudbuild is for the emulator only.")
    try:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=5)
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True
