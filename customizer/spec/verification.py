"""How an output image is tried before its release, and what of it may have changed."""

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from cos_customizer.customizer.contents.allowed_changes import AllowedChanges
from cos_customizer.customizer.contents.difference import AREAS
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.spec.base import Model, field
from cos_customizer.customizer.spec.options import OPTIONS
from cos_customizer.customizer.spec.steps.run_script import RunScript
from cos_customizer.customizer.spec.values import NonEmpty, PathPattern, Seconds

_LONGEST_APPROVAL = 30 * 24 * 3600


def _script_by_path(step: Any) -> Any:
    return {"script": step} if isinstance(step, str) else step


class ExpectedChanges(Model):
    """What may have changed. What no pattern names may not."""

    paths: list[PathPattern] = field(OPTIONS["verify.changes.paths"])
    packages: list[NonEmpty] = field(OPTIONS["verify.changes.packages"])
    containers: list[NonEmpty] = field(OPTIONS["verify.changes.containers"])
    units: list[NonEmpty] = field(OPTIONS["verify.changes.units"])
    kernel_arguments: list[NonEmpty] = field(OPTIONS["verify.changes.kernel_arguments"])
    partitions: list[NonEmpty] = field(OPTIONS["verify.changes.partitions"])
    verity: list[NonEmpty] = field(OPTIONS["verify.changes.verity"])
    modules: list[NonEmpty] = field(OPTIONS["verify.changes.modules"])
    system: list[NonEmpty] = field(OPTIONS["verify.changes.system"])

    @property
    def allowed(self) -> AllowedChanges:
        """As what judges a difference takes it."""
        return AllowedChanges(self.paths, {area: getattr(self, area) for area in AREAS})


class Verification(Model):
    """How the output image is tried before it is released. It is if `boot` is set, or there is a script."""

    boot: bool = field(OPTIONS["verify.boot"])
    scripts: list[Annotated[RunScript, BeforeValidator(_script_by_path, json_schema_input_type=str | RunScript)]] = (
        field(OPTIONS["verify.scripts"])
    )
    changes: ExpectedChanges | None = field(OPTIONS["verify.changes"])
    require_approval: bool = field(OPTIONS["verify.require_approval"])
    approval_timeout: Seconds = field(OPTIONS["verify.approval_timeout"], gt=0, le=_LONGEST_APPROVAL)
    keep_failed_image: bool = field(OPTIONS["verify.keep_failed_image"])

    @model_validator(mode="after")
    def _goes_together(self) -> "Verification":
        if self.keep_failed_image and not (self.asked_for or self.changes is not None or self.require_approval):
            ways = map(FieldPath, ("scripts", "boot", "changes", "require_approval"))
            raise ValueError(Message("{} needs {}, {}, {} or {}", FieldPath("keep_failed_image"), *ways))
        return self

    @property
    def asked_for(self) -> bool:
        """Whether the image is to be tried on a test VM."""
        return self.boot or bool(self.scripts)

    @property
    def patience(self) -> int:
        """Seconds that the image may wait for a person, beyond the build's time limit."""
        return self.approval_timeout if self.require_approval else 0
