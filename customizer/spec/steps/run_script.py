"""The step that runs a script."""

import operator
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.base import field
from cos_customizer.customizer.spec.script_checks import (
    MASK,
    OPTIONS,
    REPEAT_AFTER_REBOOT,
    check_given_once,
    mask_environment,
    normalize_script,
)
from cos_customizer.customizer.spec.step import StepModel
from cos_customizer.customizer.spec.values import Environment, EnvironmentSecrets
from cos_customizer.customizer.spelling import did_you_mean


class RunScript(StepModel):
    """A step that runs a script on the builder VM, with the build context as its working directory."""

    type: Literal["run-script"] = "run-script"
    script: Annotated[str, AfterValidator(normalize_script)] = field(OPTIONS["steps.run-script.script"])
    env: Environment = field(OPTIONS["steps.run-script.env"])
    # Left out where they are not used, so that the fingerprints of recipes that do without stay what they are.
    env_secrets: EnvironmentSecrets = field(OPTIONS["steps.run-script.env_secrets"], exclude_if=operator.not_)
    repeat_after_reboot: bool = field(OPTIONS[REPEAT_AFTER_REBOOT.path], exclude_if=operator.not_)

    @model_validator(mode="after")
    def _has_one_value_for_each_name(self) -> "RunScript":
        check_given_once(self.env, self.env_secrets)
        return self

    @property
    def label(self) -> str:
        """What people see."""
        return f"run-script {self.script}"

    def settings(self, *, gpu: bool) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """The script's path, then its environment variables."""
        return [("script", self.script), *self.env.items()]

    @property
    def repeatable(self) -> bool:
        """Only where that is asked for: a script may not bear it."""
        return self.repeat_after_reboot

    @property
    def secrets(self) -> Sequence[tuple[str, str]]:
        """The environment variables that are secrets."""
        return [*self.env_secrets.items()]

    @property
    def scripts(self) -> Sequence[str]:
        """The script."""
        return (self.script,)

    def check_files(self, files: Collection[str], context: str) -> None:
        """Check that the script is in the build context."""
        if self.script in files:
            return
        raise UsageError(
            f"could not find script {self.script} in build context {context}",
            did_you_mean(self.script, files) or "paths are relative to the build context's root.",
        )

    def masked(self) -> Self:
        """The step without the values of its environment variables."""
        return self.model_copy(update={"env": mask_environment(self.env)})

    def masked_fields(self) -> list[tuple[str, ...]]:
        """The environment variables whose values are hidden."""
        return [("env", name) for name, value in self.env.items() if value == MASK]

    @classmethod
    def refine_schema(cls, schema: dict[str, Any]) -> None:
        """A recipe with hidden values is refused."""
        schema["properties"]["env"]["additionalProperties"] |= {"not": {"const": MASK}}
