"""`emulator run-cloudbuild`: a workflow of Cloud Build on this machine, against the emulator."""

import base64
import contextlib
import json
import os
import sys
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import (
    OPTIONAL_VARIABLES,
    USED_STATE_DIR,
    environment_of,
    read_service,
)
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ChoiceFlag, DelimitedMapFlag, DurationFlag, ListFlag, PathFlag
from cos_customizer.cli.flag_values import PathType
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.customizer.durations import parse_duration
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator.errors import EmulatorError

if TYPE_CHECKING:
    from cos_customizer.emulator.cloud_build.model import Step, Workflow
    from cos_customizer.emulator.cloud_build.runner import BuildDirectories, Executor

NO_KMS = "only secrets of Secret Manager can be read here: availableSecrets.secretManager."
IMAGE = "cos-customizer"
"""Steps of images of this name, in whatever registry and of whatever tag, are run; others are left out."""
LEFT_OUT = 3
"""Exit code where all steps that were run have succeeded, but some were left out."""

FLAGS = (
    DelimitedMapFlag(
        "substitutions",
        "Values of substitutions, over those of the workflow. For a value with a comma begin with another delimiter, "
        "as gcloud has it: '^;^_A=1,2;_B=3'.",
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
    ListFlag(
        "image",
        "Images whose steps are run, too, as the workflow names them: for a cos-customizer under another name.",
        value="IMAGE,…",
        example="-image=bazel:cos_customizer",
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
    USED_STATE_DIR,
)


@command(
    "run-cloudbuild", [*FLAGS, click.Argument(["file"], type=PathType(dir_okay=False))], rank=5, kind=ArgumentFirst
)
def run_cloudbuild(file: str, **values: Any) -> int:
    """Run the steps of a cloudbuild.yaml against it.

    They run as Cloud Build would run them. Each step is a process of its own, or with -container-tool a container. All
    share a home directory, which is empty in the beginning, and a copy of the source directory as their workspace; both
    are removed in the end. Steps of other images than cos-customizer are left out, and named.

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
    environment = environment_of(values["state_dir"])
    ours = [step for step in workflow.steps if _is_ours(step, values)]
    if not ours:
        raise UsageError(
            f"{file}: no step is of an image {IMAGE}", "there is nothing to run; -image=IMAGE names others."
        )
    secrets = _values_of(workflow.secret_versions(ours), environment)
    for field in workflow.ignored_fields():
        click.echo(f"{field}: left out")
    with _copied(build_directories(source)) as directories:
        executor = _executor(values, environment, directories, secrets)
        outcome = run_workflow(
            workflow, executor, build_id, lambda step: step in ours, click.echo, _seconds("grace", values)
        )
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
    there = {each.env for each in workflow.available_secrets.secret_manager}
    for step_number, step in enumerate(workflow.steps):
        if not _is_ours(step, values):
            continue
        if step.volumes and not values["container_tool"]:
            raise WorkflowError(
                f"{path}: steps.{step_number}.volumes: a process has none", "-container-tool=TOOL runs containers."
            )
        if unknown := [variable for variable in step.secret_env if variable not in there]:
            raise WorkflowError(
                f"{path}: steps.{step_number}.secretEnv: {unknown[0]} is encrypted by Cloud KMS", NO_KMS
            )
    if timeout := _seconds("timeout", values):
        workflow = workflow.model_copy(update={"timeout": timeout})
    return workflow


def _seconds(flag: str, values: Mapping[str, Any]) -> float:
    """A duration; 0 if it was not given."""
    seconds = parse_duration(values[flag] or "0")
    if seconds < 0:
        raise UsageError(f"-{flag}: {values[flag]} is less than nothing")
    return seconds


def _values_of(versions: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The values of secrets, which the emulator's Secret Manager has.

    Args:
        versions: `projects/…/secrets/…/versions/…` by variable.
        environment: the variables that lead to the emulator.

    Raises:
        CustomizerError: it has not.
    """
    found = {}
    for variable, version in versions.items():
        answer = json.loads(
            read_service(environment[OPTIONAL_VARIABLES[1]], f"/v1/{urllib.parse.quote(version)}:access")
        )
        if "error" in answer:
            raise CustomizerError(
                f"secretEnv: {variable} cannot be read: {answer['error']['message']}",
                "`gcloud secrets create` makes one in the emulator, too.",
            )
        found[variable] = base64.b64decode(answer["payload"]["data"]).decode("utf-8", "replace")
    return found


def _executor(
    values: Mapping[str, Any],
    environment: dict[str, str],
    directories: "BuildDirectories",
    secrets: Mapping[str, str],
) -> "Executor":
    if values["container_tool"]:
        from cos_customizer.emulator.cloud_build.containers import Containers

        return Containers(values["container_tool"], values["container_image"] or "", environment, directories, secrets)
    from cos_customizer.emulator.cloud_build.processes import Processes

    program = Path(sys.executable).with_name(IMAGE)
    path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return Processes([str(program)], {"PATH": path, **environment, **_caches()}, directories, secrets)


def _is_ours(step: "Step", values: Mapping[str, Any]) -> bool:
    return step.image() == IMAGE or not {step.name, step.image()}.isdisjoint(values["image"] or ())


def _caches() -> dict[str, str]:
    """Where Prefect's database is kept ready: a container image brings it along, an empty home does not."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COS_CUSTOMIZER_")}
    return {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"), **kept}
