"""The step that runs a script."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from cos_customizer.customizer.spec.base import Model, field
from cos_customizer.customizer.spec.script_checks import OPTIONS, normalize_script
from cos_customizer.customizer.spec.values import Environment


class RunScript(Model):
    """A step that runs a script on the builder VM, with the build context as its working directory."""

    type: Literal["run-script"] = "run-script"
    script: Annotated[str, AfterValidator(normalize_script)] = field(OPTIONS["steps.run-script.script"])
    env: Environment = field(OPTIONS["steps.run-script.env"])

    @property
    def label(self) -> str:
        """What people see."""
        return f"run-script {self.script}"
