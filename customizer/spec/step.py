"""What every kind of step can be asked. The kinds themselves are in `steps/`, one file each."""

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from cos_customizer.customizer.spec.base import Model
from cos_customizer.customizer.spec.gpu_drivers import Driver

DEFAULT_KIND = "run-script"
"""What a step is that has no `type`."""


def _go_by_type(schema: dict[str, Any], kind: type["StepModel"]) -> None:
    schema["title"] = kind.name()
    if kind.name() != DEFAULT_KIND:
        schema["required"] = ["type", *schema.get("required", [])]


class StepModel(Model):
    """A step on the builder VM.

    Attributes:
        only_once: why a build can have one step of this kind; empty: it can have any number.
        reclaims_root: whether the root file system that is not booted gives its room to OEM and STATE, because the
            image is never updated in place.
        seals_oem: whether it seals the OEM partition.
        kernel_arguments: what it adds to the kernel's command line, for good.
        type: the name of the kind.
    """

    model_config = ConfigDict(json_schema_extra=_go_by_type)

    only_once: ClassVar[str] = ""
    reclaims_root: ClassVar[bool] = False
    seals_oem: ClassVar[bool] = False
    kernel_arguments: ClassVar[tuple[str, ...]] = ()

    type: str

    @classmethod
    def name(cls) -> str:
        """The name of the kind, as `type` has it: `run-script`."""
        return str(cls.model_fields["type"].default)

    @property
    def label(self) -> str:
        """What people see: the kind, and what sets this step apart from others, if anything does."""
        return self.name()

    def settings(self, *, gpu: bool) -> Sequence[tuple[str, str]]:  # noqa: ARG002 (a kind may have nothing to set)
        """Names and values that the kind's function in the guest is called with, in order.

        Args:
            gpu: whether the VM has a GPU.
        """
        return ()

    @property
    def repeatable(self) -> bool:
        """Whether the step is run again when a reboot has interrupted it; one that is not fails the build."""
        return False

    @property
    def secrets(self) -> Sequence[tuple[str, str]]:
        """Names of environment variables, and the versions of secrets that the guest reads for them."""
        return ()

    @property
    def scripts(self) -> Sequence[str]:
        """Paths in the build context of what bash runs on the VM."""
        return ()

    @property
    def gpu_driver(self) -> Driver | None:
        """The GPU driver that the step installs."""
        return None

    @property
    def gpu_to_attach(self) -> str | None:
        """The accelerator type that the step needs on the builder VM."""
        return None

    def removes_argument(self, argument: str) -> bool:  # noqa: ARG002 (of this kind, none does)
        """Whether the step removes an argument from the kernel's command line.

        Args:
            argument: as the kernel sees it: `name=value`.
        """
        return False

    def check_architecture(self, architecture: str) -> None:
        """Check that the step works on a source image.

        Args:
            architecture: of the image, `X86_64` or `ARM64`.

        Raises:
            ValueError: it does not.
        """

    def check_files(self, files: Collection[str], context: str) -> None:
        """Check that the build context has the files that the step needs.

        Args:
            files: paths of all files of the build context.
            context: its path, for people.

        Raises:
            UsageError: one is missing.
        """

    def masked(self) -> Self:
        """The step as it may be printed: what may be secret is hidden."""
        return self

    def masked_fields(self) -> list[tuple[str, ...]]:
        """The paths, below the step, of values that `masked` has hidden."""
        return []

    @classmethod
    def refine_schema(cls, schema: dict[str, Any]) -> None:
        """Add rules to the kind's part of the schema of recipes, beyond those of the model.

        Args:
            schema: that part; it is changed.
        """
