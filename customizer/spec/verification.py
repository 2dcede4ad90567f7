"""How an output image is tried before its release."""

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.spec.base import Model, field
from cos_customizer.customizer.spec.options import OPTIONS
from cos_customizer.customizer.spec.steps.run_script import RunScript


def _script_by_path(step: Any) -> Any:
    return {"script": step} if isinstance(step, str) else step


class Verification(Model):
    """How the output image is tried before it is released. It is if `boot` is set, or there is a script."""

    boot: bool = field(OPTIONS["verify.boot"])
    scripts: list[Annotated[RunScript, BeforeValidator(_script_by_path, json_schema_input_type=str | RunScript)]] = (
        field(OPTIONS["verify.scripts"])
    )
    keep_failed_image: bool = field(OPTIONS["verify.keep_failed_image"])

    @model_validator(mode="after")
    def _goes_together(self) -> "Verification":
        if self.keep_failed_image and not self.asked_for:
            raise ValueError(
                Message("{} needs {} or {}", FieldPath("keep_failed_image"), FieldPath("scripts"), FieldPath("boot"))
            )
        return self

    @property
    def asked_for(self) -> bool:
        """Whether the image is to be verified at all."""
        return self.boot or bool(self.scripts)
