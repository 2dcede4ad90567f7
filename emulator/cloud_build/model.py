"""The workflows of Cloud Build, and their steps.

Source: https://cloud.google.com/build/docs/build-config-file-schema.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

LONGEST = 24 * 3600.0
"""Seconds: the longest timeout of a build or a step."""
DEFAULT_TIMEOUT = 3600.0
"""Seconds: the timeout of a build that sets none."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")


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


def _listed(value: object) -> object:
    """One text where a list stands is a list of one, as gcloud takes it."""
    return (value,) if isinstance(value, str) else value


_Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Volume(_Part):
    """A directory that steps share, and that is gone when the build is over.

    Attributes:
        path: where it is in a step's container.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str = Field(pattern=r"^/")


class _SecretVersion(_Part):
    version_name: str
    env: str


class _AvailableSecrets(_Part):
    secret_manager: tuple[_SecretVersion, ...] = ()
    inline: Any = None


class Step(_Part):
    """A step: a container of an image.

    Attributes:
        name: of the image.
        dir: working directory, below the workspace.
        wait_for: ids of earlier steps; empty: all of them; `-`: none.
        entrypoint: program instead of the image's own.
        timeout: in seconds.
        allow_exit_codes: do not fail the build; they win over `allow_failure`.
        script: run instead of the image's own program, by what its first line names, or by sh.
        secret_env: variables whose values are secrets.
        volumes: in its container.
        automap_substitutions: whether all substitutions are variables of its environment, too.
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
    script: str = ""
    secret_env: _Texts = ()
    volumes: tuple[Volume, ...] = ()
    automap_substitutions: bool | None = None
    results: Any = None

    def may_end_with(self, code: int) -> bool:
        """Return whether the build goes on after this exit code."""
        if self.allow_exit_codes:
            return code in (0, *self.allow_exit_codes)
        return code == 0 or self.allow_failure

    def image(self) -> str:
        """Return the image's bare name: `cos-customizer` of `gcr.io/my-project/cos-customizer:latest`."""
        return re.split("[:@]", self.name.rpartition("/")[2], maxsplit=1)[0]


class Options(_Part):
    """The options of a workflow."""

    substitution_option: Literal["MUST_MATCH", "ALLOW_LOOSE"] = "MUST_MATCH"
    dynamic_substitutions: bool = False
    env: _Texts = ()
    secret_env: _Texts = ()
    volumes: tuple[Volume, ...] = ()
    automap_substitutions: bool = False
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
        available_secrets: variables that may be in steps' `secret_env`.
    """

    steps: tuple[Step, ...] = Field(max_length=300)
    timeout: _Duration = DEFAULT_TIMEOUT
    substitutions: dict[str, str] = Field(default_factory=dict)
    options: Options = Options()
    images: _Texts = ()
    artifacts: Any = None
    secrets: Any = None
    available_secrets: _AvailableSecrets = _AvailableSecrets()
    dependencies: Any = None
    # Without effect on this machine.
    queue_ttl: Any = None
    logs_bucket: Any = None
    tags: Any = None
    service_account: Any = None

    def ignored_fields(self) -> list[str]:
        """Return the fields that are set and have no effect here."""
        names = ("images", "artifacts", "dependencies")
        return [to_camel(name) for name in names if getattr(self, name)]

    def secret_versions(self, steps: Iterable[Step]) -> dict[str, str]:
        """Return the versions of Secret Manager that steps need: `projects/…/versions/…` by variable."""
        wanted = {name for step in steps for name in step.secret_env}
        there = {each.env: each.version_name for each in self.available_secrets.secret_manager}
        return {name: there[name] for name in sorted(wanted & there.keys())}
