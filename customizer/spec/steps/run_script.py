"""The step that runs a script."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.base import set_by
from cos_customizer.customizer.spec.script_checks import MASK, mask_environment, near_names, normalize_script
from cos_customizer.customizer.spec.step import StepModel
from cos_customizer.customizer.spec.values import Environment


class RunScript(StepModel):
    """A step that runs a script on the builder VM, with the build context as its working directory."""

    type: Literal["run-script"] = "run-script"
    script: Annotated[str, AfterValidator(normalize_script)] = Field(
        description="Path of the script in the build context.", json_schema_extra=set_by("-script")
    )
    env: Environment = Field(
        default_factory=dict, description="Environment variables of the script.", json_schema_extra=set_by("-env")
    )

    @property
    def label(self) -> str:
        """What people see."""
        return f"run-script {self.script}"

    def settings(self, *, gpu: bool) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """The script's path, then its environment variables."""
        return [("script", self.script), *self.env.items()]

    def check_files(self, files: Collection[str], context: str) -> None:
        """Check that the script is in the build context."""
        if self.script in files:
            return
        near = near_names(self.script, files)
        raise UsageError(
            f"could not find script {self.script} in build context {context}",
            f"did you mean {', '.join(near)}?" if near else "paths are relative to the build context's root.",
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
