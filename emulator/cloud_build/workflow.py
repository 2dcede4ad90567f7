"""Reads workflows of Cloud Build: checks a `cloudbuild.yaml` and replaces its substitutions.

Source of the rules: https://cloud.google.com/build/docs/build-config-file-schema and
https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values, and where these are silent,
https://github.com/GoogleCloudPlatform/cloud-build-local, which checks workflows as the service does.
"""

import difflib
import graphlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cos_customizer.emulator.errors import EmulatorError

LONGEST = 24 * 3600.0
"""Seconds: the longest timeout of a build or a step."""
DEFAULT_TIMEOUT = 3600.0
"""Seconds: the timeout of a build that sets none."""
TRIGGER_SUBSTITUTIONS = (
    "TRIGGER_NAME",
    "COMMIT_SHA",
    "REVISION_ID",
    "SHORT_SHA",
    "REPO_NAME",
    "REPO_FULL_NAME",
    "BRANCH_NAME",
    "TAG_NAME",
    "REF_NAME",
    "TRIGGER_BUILD_CONFIG_PATH",
)
"""Substitutions that a trigger sets. Without a trigger they are empty unless the user sets them."""

_TEMPLATE = re.compile(r"\$(?:(\$)|\{([A-Z_][A-Z0-9_]*)\}|([A-Z_][A-Z0-9_]*))")
_USER_SUBSTITUTION = re.compile(r"_[A-Z0-9_]+")
_BASH_EXPANSION = re.compile(r"\$\{[A-Z_][A-Z0-9_]*[^A-Z0-9_}][^}]*\}")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")
_FROM_START = "-"


class WorkflowError(EmulatorError):
    """Cloud Build would refuse the workflow, or it needs something that this machine does not have."""


def _seconds(value: object) -> object:
    if isinstance(value, int | float):  # a default of ours
        return value
    if not isinstance(value, str) or not _SECONDS.fullmatch(value):
        raise ValueError(f"{value!r} is no duration: Cloud Build wants seconds with an s, such as '600s'")
    return float(value[:-1])


def _within_limits(seconds: float) -> float:
    if not seconds:
        raise ValueError("no time at all")
    if seconds > LONGEST:
        raise ValueError("longer than a day (86400s)")
    return seconds


_Duration = Annotated[float, BeforeValidator(_seconds), AfterValidator(_within_limits)]
_Texts = tuple[str, ...]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Step(_Part):
    """A step: a container of an image.

    Attributes:
        name: of the image.
        dir: working directory, below the workspace.
        wait_for: ids of earlier steps; empty: all of them; `-`: none.
        entrypoint: program instead of the image's own.
        timeout: in seconds.
        allow_exit_codes: do not fail the build; they win over `allow_failure`.
    """

    name: str = Field(min_length=1)
    args: _Texts = ()
    env: _Texts = ()
    dir: str = ""
    id: str = ""
    wait_for: _Texts = ()
    entrypoint: str = ""
    timeout: _Duration | None = None
    allow_failure: bool = False
    allow_exit_codes: tuple[int, ...] = ()
    script: Any = None
    secret_env: Any = None
    volumes: Any = None
    automap_substitutions: Any = None
    results: Any = None

    def may_end_with(self, code: int) -> bool:
        """Return whether the build goes on after this exit code."""
        if self.allow_exit_codes:
            return code in (0, *self.allow_exit_codes)
        return code == 0 or self.allow_failure

    def image(self) -> str:
        """Return the image's bare name: `cos-customizer` of `gcr.io/my-project/cos-customizer:latest`."""
        return re.split("[:@]", self.name.rpartition("/")[2], maxsplit=1)[0]

    def ignored_fields(self) -> list[str]:
        """Return the fields that are set and have no effect here."""
        names = ("script", "secret_env", "volumes", "results")
        return [to_camel(name) for name in names if getattr(self, name)]


class _Options(_Part):
    substitution_option: Literal["MUST_MATCH", "ALLOW_LOOSE"] = "MUST_MATCH"
    dynamic_substitutions: bool = False
    env: _Texts = ()
    secret_env: Any = None
    volumes: Any = None
    automap_substitutions: Any = None
    # Without effect on this machine.
    source_provenance_hash: Any = None
    requested_verify_option: Any = None
    machine_type: Any = None
    disk_size_gb: Any = None
    log_streaming_option: Any = None
    logging: Any = None
    default_logs_bucket_behavior: Any = None
    pool: Any = None
    worker_pool: Any = None
    pubsub_topic: Any = None
    enable_structured_logging: Any = None


class Workflow(_Part):
    """A workflow.

    Attributes:
        timeout: of the whole build, in seconds.
        substitutions: the user's own, with default values.
    """

    steps: tuple[Step, ...] = Field(max_length=300)
    timeout: _Duration = DEFAULT_TIMEOUT
    substitutions: dict[str, str] = Field(default_factory=dict)
    options: _Options = _Options()
    images: _Texts = ()
    artifacts: Any = None
    secrets: Any = None
    available_secrets: Any = None
    dependencies: Any = None
    # Without effect on this machine.
    queue_ttl: Any = None
    logs_bucket: Any = None
    tags: Any = None
    service_account: Any = None

    def ignored_fields(self) -> list[str]:
        """Return the fields that are set and have no effect here."""
        names = ("images", "artifacts", "secrets", "available_secrets", "dependencies")
        fields = [to_camel(name) for name in names if getattr(self, name)]
        return fields + [
            f"options.{to_camel(name)}" for name in ("secret_env", "volumes") if getattr(self.options, name)
        ]


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
    workflow = _substituted(workflow, data, name, given, built_in)
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
    fields = {"steps": Step.model_fields, "options": _Options.model_fields}
    known = fields.get(str(parents[0]) if parents else "", Workflow.model_fields)
    near = difflib.get_close_matches(str(last), map(to_camel, known), n=1)
    hint = f"did you mean {near[0]}?" if near else "https://cloud.google.com/build/docs/build-config-file-schema"
    return WorkflowError(f"{name}: {where}: unknown field{more}", hint)


def _substituted(
    workflow: Workflow, data: Mapping[str, Any], name: str, given: Mapping[str, str], built_in: Mapping[str, str]
) -> Workflow:
    own = {**workflow.substitutions, **given}
    for key in own:
        if not _USER_SUBSTITUTION.fullmatch(key) and key not in TRIGGER_SUBSTITUTIONS:
            raise WorkflowError(
                f"{name}: substitution {key} cannot be set",
                "names of your own begin with _ and have capitals, digits and _; of the built-in ones, a trigger's can "
                f"be set: {', '.join(TRIGGER_SUBSTITUTIONS)}.",
            )
    options = workflow.options
    values = {**dict.fromkeys(TRIGGER_SUBSTITUTIONS, ""), **built_in, **own}
    template = {field: part for field, part in data.items() if field != "substitutions"}
    texts = list(_texts(template))
    if options.dynamic_substitutions:
        texts += own.values()
        for text in texts:
            if found := _BASH_EXPANSION.search(text):
                message = f"{name}: {found[0]}: bash's expansions are not known here"
                raise WorkflowError(message, "give the whole value.")
    used = {match[2] or match[3] for text in texts for match in _TEMPLATE.finditer(text)} - {None}
    for key in sorted(used - values.keys()):
        if not _USER_SUBSTITUTION.fullmatch(key):
            raise WorkflowError(
                f"{name}: ${key} is not a substitution that is built in", f"a dollar sign is written $$: $${key}."
            )
        if options.substitution_option == "MUST_MATCH":
            raise WorkflowError(f"{name}: substitution {key} has no value", f"-substitutions={key}=…")
    for key in sorted(own.keys() - used):
        if options.substitution_option == "MUST_MATCH":
            raise WorkflowError(
                f"{name}: substitution {key} is given, but not used",
                "leave it out, or set options.substitutionOption to ALLOW_LOOSE.",
            )
    if options.dynamic_substitutions:
        values = _resolved(values, own, name)

    def replaced(texts: Sequence[str]) -> _Texts:
        return tuple(_replaced(text, values) for text in texts)

    steps = [
        step.model_copy(
            update={
                "name": _replaced(step.name, values),
                "args": replaced(step.args),
                "env": replaced((*options.env, *step.env)),
                "dir": _replaced(step.dir, values),
                "entrypoint": _replaced(step.entrypoint, values),
            }
        )
        for step in workflow.steps
    ]
    return workflow.model_copy(
        update={"steps": tuple(steps), "substitutions": own, "images": replaced(workflow.images)}
    )


def _replaced(text: str, values: Mapping[str, str]) -> str:
    return _TEMPLATE.sub(lambda match: match[1] or values.get(match[2] or match[3], ""), text)


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _texts(value)
    elif isinstance(part, Sequence):
        for value in part:
            yield from _texts(value)


def _resolved(values: Mapping[str, str], own: Mapping[str, str], name: str) -> dict[str, str]:
    """Replace the substitutions in values of substitutions (`dynamicSubstitutions`)."""
    resolved = dict(values)
    graph = {key: {match[2] or match[3] for match in _TEMPLATE.finditer(own[key])} - {None} for key in own}
    try:
        for key in graphlib.TopologicalSorter(graph).static_order():
            if key in own:
                resolved[key] = _replaced(own[key], resolved)
    except graphlib.CycleError as error:
        circle = " → ".join(error.args[1])
        raise WorkflowError(f"{name}: substitutions name each other in a circle: {circle}") from None
    return resolved
