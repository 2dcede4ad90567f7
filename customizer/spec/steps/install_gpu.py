"""The step that installs a GPU driver."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.base import Model, set_by
from cos_customizer.customizer.spec.values import NonEmpty, ResourceName


def _with_type(schema: dict[str, Any]) -> None:
    """A step without a type is a script; so the schema of any other kind says that it needs one."""
    schema["required"] = ["type", *schema["required"]]


class InstallGpu(Model):
    """A step that installs a GPU driver, and a script that sets it up at every boot."""

    model_config = ConfigDict(json_schema_extra=_with_type)

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
