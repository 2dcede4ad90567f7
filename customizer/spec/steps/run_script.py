"""The step that runs a script."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cos_customizer.customizer.spec.base import Model, set_by
from cos_customizer.customizer.spec.script_checks import normalize_script
from cos_customizer.customizer.spec.values import Environment


class RunScript(Model):
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
