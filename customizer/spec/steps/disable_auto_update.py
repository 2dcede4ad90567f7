"""The step that makes updates in place impossible."""

from typing import ClassVar, Literal

from cos_customizer.customizer.spec.kernel_arguments import NO_UPDATES
from cos_customizer.customizer.spec.step import StepModel


class DisableAutoUpdate(StepModel):
    """A step that keeps the image from being updated in place; the second root file system gives its room to STATE."""

    reclaims_root: ClassVar[bool] = True
    kernel_arguments: ClassVar[tuple[str, ...]] = (NO_UPDATES,)

    type: Literal["disable-auto-update"] = "disable-auto-update"

    @property
    def repeatable(self) -> bool:
        """Nothing is done twice, and the boot loader's file is whole at every moment."""
        return True
