"""Reads workflows of Cloud Build: checks a `cloudbuild.yaml` and replaces its substitutions.

Source of the rules: https://cloud.google.com/build/docs/build-config-file-schema and
https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values, and where these are silent,
https://github.com/GoogleCloudPlatform/cloud-build-local, which checks workflows as the service does.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from cos_customizer.emulator.cloud_build.model import Options, Step, Workflow
from cos_customizer.emulator.cloud_build.substitutions import (
    ACCOUNT_SUBSTITUTIONS,
    PULL_REQUEST_SUBSTITUTIONS,
    TRIGGER_SUBSTITUTIONS,
    SubstitutionError,
    Substitutions,
)
from cos_customizer.emulator.errors import EmulatorError

_USER_SUBSTITUTION = re.compile(r"_[A-Z0-9_]+")
_FROM_START = "-"


class WorkflowError(EmulatorError):
    """Cloud Build would refuse the workflow, or it needs something that this machine does not have."""


def parse_workflow(
    text: str,
    name: str,
    given: Mapping[str, str],
    built_in: Mapping[str, str],
    loader: type[yaml.SafeLoader] = yaml.SafeLoader,
) -> Workflow:
    """Read a workflow and replace its substitutions.

    Args:
        text: YAML, or JSON, which is YAML.
        name: of the file, for errors.
        given: the user's substitutions, which win over the workflow's own.
        built_in: those of Cloud Build: `PROJECT_ID`, `BUILD_ID` and the like. Those of triggers need not be there.
        loader: reads the text.

    Raises:
        WorkflowError: it is not a workflow, or a substitution is unknown or not used.
    """
    try:
        data = yaml.load(text, loader)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise WorkflowError(f"{name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not data.get("steps"):
        raise WorkflowError(f"{name} is no workflow", "a workflow is a mapping with the field steps, and some in it.")
    try:
        workflow = Workflow.model_validate(data)
    except ValidationError as error:
        raise _error_in(name, error) from None
    for number, step in enumerate(workflow.steps):
        _check_step(step, f"{name}: steps.{number}", workflow.timeout)
    try:
        workflow = _substituted(workflow, data, name, given, built_in)
    except SubstitutionError as error:
        raise WorkflowError(f"{name}: {error}", error.hint) from None
    for number, step in enumerate(workflow.steps):
        _check_secrets(workflow, step, f"{name}: steps.{number}")
        _check_volumes(step, f"{name}: steps.{number}")
    wait_graph(workflow.steps, name)
    return workflow


def wait_graph(steps: Sequence[Step], name: str = "workflow") -> dict[int, set[int]]:
    """Return the steps as a graph for `graphlib.TopologicalSorter`: each number with the numbers that it waits for.

    Raises:
        WorkflowError: a step waits for one that is not before it, or an id is not unique.
    """
    known: dict[str, int] = {}
    graph: dict[int, set[int]] = {}
    for number, step in enumerate(steps):
        for wanted in step.wait_for:
            if wanted != _FROM_START and wanted not in known:
                raise WorkflowError(
                    f"{name}: steps.{number}.waitFor: no step before this one has the id {wanted!r}",
                    f"ids before it: {', '.join(known) or 'none'}.",
                )
        if step.id in known or step.id == _FROM_START:
            raise WorkflowError(f"{name}: steps.{number}.id: {step.id!r} is taken", "an id is unique, and never '-'.")
        if step.id:
            known[step.id] = number
        earlier = {known[wanted] for wanted in step.wait_for if wanted != _FROM_START}
        graph[number] = earlier if step.wait_for else set(range(number))
    return graph


def _check_step(step: Step, where: str, longest: float) -> None:
    if step.timeout and step.timeout > longest:
        raise WorkflowError(f"{where}.timeout: longer than the build's own, {longest:g}s")
    for item in step.env:
        if "=" not in item:
            raise WorkflowError(f"{where}.env: {item!r} is not of the form NAME=VALUE")
    if ".." in step.dir.split("/"):
        raise WorkflowError(f"{where}.dir: {step.dir!r} leads out of the workspace")
    if step.script and (step.args or step.entrypoint):
        raise WorkflowError(f"{where}: a step with a script has neither args nor an entrypoint")


def _check_secrets(workflow: Workflow, step: Step, where: str) -> None:
    there = {each.env for each in workflow.available_secrets.secret_manager}
    for variable in step.secret_env:
        if variable not in there and not (workflow.secrets or workflow.available_secrets.inline):
            known = ", ".join(sorted(there)) or "none"
            raise WorkflowError(
                f"{where}.secretEnv: there is no secret for {variable}", f"availableSecrets has: {known}."
            )
        if any(item.partition("=")[0] == variable for item in step.env):
            raise WorkflowError(f"{where}: {variable} is in env and in secretEnv")


def _check_volumes(step: Step, where: str) -> None:
    for what in ("name", "path"):
        values = [getattr(volume, what) for volume in step.volumes]
        if twice := {value for value in values if values.count(value) > 1}:
            raise WorkflowError(f"{where}.volumes: two have the {what} {min(twice)!r}")
    for volume in step.volumes:
        if volume.path.rstrip("/") in ("", "/workspace", "/builder/home"):
            raise WorkflowError(f"{where}.volumes: {volume.path!r} is taken")


def _error_in(name: str, error: ValidationError) -> WorkflowError:
    faults = error.errors(include_url=False)
    fault = faults[0]
    *parents, last = fault["loc"] or ("",)
    where = ".".join(str(part) for part in (*parents, last))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if fault["type"] == "string_type":
        return WorkflowError(f"{name}: {where}: {fault['input']!r} is no text{more}", "put it in quotes.")
    if fault["type"] != "extra_forbidden":
        return WorkflowError(f"{name}: {where}: {fault['msg'].removeprefix('Value error, ')}{more}")
    fields = {"steps": Step.model_fields, "options": Options.model_fields}
    known = fields.get(str(parents[0]) if parents else "", Workflow.model_fields)
    near = difflib.get_close_matches(str(last), map(to_camel, known), n=1)
    hint = f"did you mean {near[0]}?" if near else "https://cloud.google.com/build/docs/build-config-file-schema"
    return WorkflowError(f"{name}: {where}: unknown field{more}", hint)


def _substituted(
    workflow: Workflow, data: Mapping[str, Any], name: str, given: Mapping[str, str], built_in: Mapping[str, str]
) -> Workflow:
    own = {**workflow.substitutions, **given}
    settable = (*TRIGGER_SUBSTITUTIONS, *ACCOUNT_SUBSTITUTIONS)
    for key in own:
        if not _USER_SUBSTITUTION.fullmatch(key) and key not in settable:
            raise WorkflowError(
                f"{name}: substitution {key} cannot be set",
                "names of your own begin with _ and have capitals, digits and _; of the built-in ones can be set "
                f"{', '.join(settable)}.",
            )
    options = workflow.options
    without = dict.fromkeys((*TRIGGER_SUBSTITUTIONS, *PULL_REQUEST_SUBSTITUTIONS), "")
    found = Substitutions({**without, **built_in, **own}, options.dynamic_substitutions)
    _check_used(workflow, data, name, own, found)
    if options.dynamic_substitutions:
        found = found.resolved(own)

    def replaced(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(found.replaced, texts))

    steps = []
    for step in workflow.steps:
        mapped = _is_mapped(workflow, step)
        env = [f"{key}={value}" for key, value in sorted(found.values.items())] if mapped else []
        own_volumes = {volume.name for volume in step.volumes}
        shared = [volume for volume in options.volumes if volume.name not in own_volumes]
        changed = {
            **{field: found.replaced(getattr(step, field)) for field in ("name", "dir", "entrypoint")},
            "args": replaced(step.args),
            "env": (*env, *replaced((*options.env, *step.env))),
            "secret_env": tuple(dict.fromkeys((*options.secret_env, *step.secret_env))),
            "volumes": (*shared, *step.volumes),
        }
        steps.append(step.model_copy(update=changed))
    secrets = [
        each.model_copy(update={"version_name": found.replaced(each.version_name)})
        for each in workflow.available_secrets.secret_manager
    ]
    return workflow.model_copy(
        update={
            "steps": tuple(steps),
            "substitutions": own,
            "images": replaced(workflow.images),
            "available_secrets": workflow.available_secrets.model_copy(update={"secret_manager": tuple(secrets)}),
        }
    )


def _is_mapped(workflow: Workflow, step: Step) -> bool:
    """Whether a step has all substitutions in its environment."""
    if step.automap_substitutions is not None:
        return step.automap_substitutions
    return workflow.options.automap_substitutions


def _check_used(
    workflow: Workflow, data: Mapping[str, Any], name: str, own: Mapping[str, str], found: Substitutions
) -> None:
    """Refuse substitutions that are not known, and those of the user's that nothing uses."""
    template = {field: part for field, part in data.items() if field != "substitutions"}
    texts = [*_texts(template), *(own.values() if found.expands else ())]
    used = {key for text in texts for key in found.names_in(text)}
    must_match = workflow.options.substitution_option == "MUST_MATCH"
    for key in sorted(used - found.values.keys()):
        if not _USER_SUBSTITUTION.fullmatch(key):
            raise WorkflowError(
                f"{name}: ${key} is not a substitution that is built in", f"a dollar sign is written $$: $${key}."
            )
        if must_match:
            raise WorkflowError(f"{name}: substitution {key} has no value", f"-substitutions={key}=…")
    if must_match and not any(_is_mapped(workflow, step) for step in workflow.steps):
        for key in sorted(own.keys() - used):
            raise WorkflowError(
                f"{name}: substitution {key} is given, but not used",
                "leave it out, or set options.substitutionOption to ALLOW_LOOSE.",
            )


def _texts(part: object) -> Iterator[str]:
    """All texts in a part of a workflow, but for scripts: nothing is replaced in them."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            if key != "script":
                yield from _texts(value)
    elif isinstance(part, Sequence):
        for value in part:
            yield from _texts(value)
