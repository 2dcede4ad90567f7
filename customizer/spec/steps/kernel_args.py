"""The step that changes the kernel's command line."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from cos_customizer.customizer.spec import kernel_arguments
from cos_customizer.customizer.spec.base import field
from cos_customizer.customizer.spec.kernel_arguments import OPTIONS
from cos_customizer.customizer.spec.step import StepModel


class KernelArgs(StepModel):
    """A step that changes arguments on the kernel's command line, for every boot from then on."""

    type: Literal["kernel-args"] = "kernel-args"
    append: Annotated[str, AfterValidator(kernel_arguments.CHECKS["append"])] = field(
        OPTIONS["steps.kernel-args.append"]
    )
    remove: Annotated[str, AfterValidator(kernel_arguments.CHECKS["remove"])] = field(
        OPTIONS["steps.kernel-args.remove"]
    )
    replace: Annotated[str, AfterValidator(kernel_arguments.CHECKS["replace"])] = field(
        OPTIONS["steps.kernel-args.replace"]
    )
    reboot: bool = field(OPTIONS["steps.kernel-args.reboot"])

    @model_validator(mode="after")
    def _goes_together(self) -> "KernelArgs":
        kernel_arguments.check_together(self.append, self.remove, self.replace)
        return self

    @property
    def label(self) -> str:
        """What is changed, and whether the builder VM reboots."""
        return kernel_arguments.label(self.append, self.remove, self.replace, reboot=self.reboot)

    @property
    def repeatable(self) -> bool:
        """Nothing is done twice, and the boot loader's file is whole at every moment."""
        return True

    def settings(self, *, gpu: bool) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """The changes, and whether to reboot."""
        return [
            ("append", self.append),
            ("remove", self.remove),
            ("replace", self.replace),
            ("reboot", "1" if self.reboot else ""),
        ]

    def removes_argument(self, argument: str) -> bool:
        """Whether the step removes an argument, or puts another in its place."""
        return kernel_arguments.removes(self.remove, self.replace, argument)

    @classmethod
    def refine_schema(cls, schema: dict[str, Any]) -> None:
        """There must be something to do."""
        fields = ("append", "remove", "replace")
        schema["anyOf"] = [{"required": [field], "properties": {field: {"minLength": 1}}} for field in fields]
