"""How an output image is tried before its release."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from cos_customizer.customizer.spec.base import Model, set_by
from cos_customizer.customizer.spec.steps.run_script import RunScript


def _script_by_path(step: Any) -> Any:
    return {"script": step} if isinstance(step, str) else step


class Verification(Model):
    """How the output image is tried before it is released. It is if `boot` is set, or there is a script."""

    boot: bool = Field(
        False,
        description="Whether a test VM must boot from the image, be there scripts or not.",
        json_schema_extra=set_by("-verify-boot"),
    )
    scripts: list[Annotated[RunScript, BeforeValidator(_script_by_path, json_schema_input_type=str | RunScript)]] = (
        Field(
            default_factory=list,
            description="Scripts of the build context to run on the test VM, in order; all must succeed.",
            json_schema_extra=set_by("-verify-script"),
        )
    )
    keep_failed_image: bool = Field(
        False,
        description="Whether an image that fails is kept, labelled cos-customizer-state=failed and in no family.",
        json_schema_extra=set_by("-keep-failed-image"),
    )

    @model_validator(mode="after")
    def _goes_together(self) -> "Verification":
        if self.keep_failed_image and not self.asked_for:
            raise ValueError("-keep-failed-image needs -verify-script or -verify-boot")
        return self

    @property
    def asked_for(self) -> bool:
        """Whether the image is to be verified at all."""
        return self.boot or bool(self.scripts)
