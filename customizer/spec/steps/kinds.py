"""All kinds of step: what a specification may list."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from cos_customizer.customizer.spec.base import Model
from cos_customizer.customizer.spec.steps.install_gpu import InstallGpu
from cos_customizer.customizer.spec.steps.run_script import RunScript


def _script_unless_told(step: Any) -> Any:
    return {"type": "run-script", **step} if isinstance(step, dict) else step


Step = Annotated[RunScript | InstallGpu, Field(discriminator="type"), BeforeValidator(_script_unless_told)]
"""What is done on the builder VM."""


STEP_KINDS: dict[str, type[Model]] = {"run-script": RunScript, "install-gpu": InstallGpu}
"""The models by the `type` of a step."""
