"""All kinds of step: one for each other module of this folder, found by looking there."""

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Field

from cos_customizer.customizer.spec.step import DEFAULT_KIND, StepModel


def _kinds() -> dict[str, type[StepModel]]:
    package, _, itself = __name__.rpartition(".")
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name != itself:
            importlib.import_module(f"{package}.{module.name}")
    kinds = {kind.name(): kind for kind in StepModel.__subclasses__()}
    return {name: kinds[name] for name in sorted(kinds, key=lambda name: (name != DEFAULT_KIND, name))}


STEP_KINDS = _kinds()
"""The models by the `type` of a step; the default kind is the first."""


def _with_type(step: Any) -> Any:
    return {"type": DEFAULT_KIND, **step} if isinstance(step, dict) else step


if TYPE_CHECKING:
    Step = StepModel
else:
    Step = Annotated[Union[*STEP_KINDS.values()], Field(discriminator="type"), BeforeValidator(_with_type)]
"""What is done on the builder VM: a step of any kind."""
