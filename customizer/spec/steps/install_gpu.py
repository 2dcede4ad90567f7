"""The step that installs a GPU driver."""

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.base import set_by
from cos_customizer.customizer.spec.step import StepModel
from cos_customizer.customizer.spec.values import NonEmpty, ResourceName


class InstallGpu(StepModel):
    """A step that installs a GPU driver, and a script that sets it up at every boot."""

    only_once: ClassVar[str] = "an image has one driver version"
    repeatable: ClassVar[bool] = True
    """The legacy installer may reset the machine in the middle of its work, and expects to be run again."""

    type: Literal["install-gpu"] = "install-gpu"
    version: Annotated[str, AfterValidator(gpu_drivers.check_version)] = Field(
        description="Driver: a version (535.104.05), latest, default, a branch (R535), or a file's name in deps_dir.",
        json_schema_extra=set_by("-version"),
    )
    md5sum: Annotated[str, AfterValidator(gpu_drivers.check_md5sum)] = Field(
        "", description="MD5 sum of the driver; empty: not checked.", json_schema_extra=set_by("-md5sum")
    )
    install_dir: Annotated[str, AfterValidator(gpu_drivers.check_install_dir)] = Field(
        gpu_drivers.DEFAULT_INSTALL_DIR,
        description="Directory on the image that the driver is installed to, below /var or /home.",
        json_schema_extra=set_by("-install-dir"),
    )
    gpu_type: ResourceName = Field(
        gpu_drivers.DEFAULT_GPU_TYPE,
        description="Accelerator type to try the driver with; the builder VM gets one.",
        json_schema_extra=set_by("-gpu-type"),
    )
    attach_gpu: bool = Field(
        True,
        description="Whether the builder VM gets a GPU; without one the driver is installed and not tried.",
        json_schema_extra=set_by("-no-gpu"),
    )
    deps_dir: Annotated[str, AfterValidator(gpu_drivers.check_deps_dir)] | None = Field(
        None,
        description="Directory in the build context with inputs of the legacy installer, a driver's file above all.",
        json_schema_extra=set_by("-deps-dir"),
    )
    installer: Literal["auto", "cos-extensions", "container"] = Field(
        "auto",
        description="What installs the driver: COS's own cos-extensions, or the legacy installer's container.",
        json_schema_extra=set_by("-installer"),
    )
    installer_container: NonEmpty = Field(
        gpu_drivers.DEFAULT_CONTAINER,
        description="Image of the legacy installer.",
        json_schema_extra=set_by("-installer-container"),
    )

    @model_validator(mode="after")
    def _goes_together(self) -> "InstallGpu":
        gpu_drivers.check_combination(
            version=self.version,
            md5sum=self.md5sum,
            installer=self.installer,
            container=self.installer_container,
            deps_dir=self.deps_dir,
            attach_gpu=self.attach_gpu,
        )
        return self

    @property
    def label(self) -> str:
        """What people see."""
        return f"install-gpu {gpu_drivers.version_number(self.version)}"

    @property
    def gpu_driver(self) -> gpu_drivers.Driver:
        """The driver."""
        return gpu_drivers.Driver(self.version, self.md5sum)

    @property
    def gpu_to_attach(self) -> str | None:
        """The accelerator to try the driver with."""
        return self.gpu_type if self.attach_gpu else None

    def settings(self, *, gpu: bool) -> Sequence[tuple[str, str]]:
        """What to install, by what, to where; `verify` is set if there is a GPU to try the driver with."""
        # The installer names GPUs as Compute Engine does, in capitals: NVIDIA_L4.
        target = "" if gpu else self.gpu_type.upper().replace("-", "_")
        return [
            ("version", self.version),
            ("install_dir", self.install_dir),
            ("installer", self.installer),
            ("container", self.installer_container),
            ("md5sum", self.md5sum),
            ("deps_dir", self.deps_dir or ""),
            ("verify", "1" if gpu else ""),
            ("target_gpu", target),
        ]

    def check_architecture(self, architecture: str) -> None:
        """COS has GPU drivers for x86_64 only."""
        if architecture != "X86_64":
            raise ValueError("install-gpu needs an x86_64 source image: COS has no GPU drivers for others")

    def check_files(self, files: Collection[str], context: str) -> None:  # noqa: ARG002
        """Check that the legacy installer's inputs are in the build context."""
        if self.deps_dir is not None:
            gpu_drivers.check_in_context(self.version, self.deps_dir, files)
