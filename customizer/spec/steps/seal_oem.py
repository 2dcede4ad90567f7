"""The step that seals the OEM partition."""

from typing import ClassVar, Literal

from cos_customizer.customizer.spec.disk_layout import SEALED_ONCE
from cos_customizer.customizer.spec.kernel_arguments import NO_UPDATES
from cos_customizer.customizer.spec.step import StepModel


class SealOem(StepModel):
    """A step that seals the OEM partition: dm-verity checks each block that is read, and nothing can be written.

    An update would bring a boot loader's file that knows nothing of it: so there are none in the image.
    """

    only_once: ClassVar[str] = SEALED_ONCE
    reclaims_root: ClassVar[bool] = True
    seals_oem: ClassVar[bool] = True
    kernel_arguments: ClassVar[tuple[str, ...]] = (NO_UPDATES, "systemd.mask=usr-share-oem.mount")

    type: Literal["seal-oem"] = "seal-oem"

    @property
    def repeatable(self) -> bool:
        """The hash tree is made anew, and the boot loader's file is whole at every moment."""
        return True
