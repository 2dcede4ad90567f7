"""The step that installs a GPU driver."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, model_validator

from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.base import Model, field
from cos_customizer.customizer.spec.gpu_drivers import OPTIONS
from cos_customizer.customizer.spec.values import NonEmpty, ResourceName


def _with_type(schema: dict[str, Any]) -> None:
    """A step without a type is a script; so the schema of any other kind says that it needs one."""
    schema["required"] = ["type", *schema["required"]]


class InstallGpu(Model):
    """A step that installs a GPU driver, and a script that sets it up at every boot."""

    model_config = ConfigDict(json_schema_extra=_with_type)

    type: Literal["install-gpu"] = "install-gpu"
    version: Annotated[str, AfterValidator(gpu_drivers.check_version)] = field(OPTIONS["steps.install-gpu.version"])
    md5sum: Annotated[str, AfterValidator(gpu_drivers.check_md5sum)] = field(OPTIONS["steps.install-gpu.md5sum"])
    install_dir: Annotated[str, AfterValidator(gpu_drivers.check_install_dir)] = field(
        OPTIONS["steps.install-gpu.install_dir"]
    )
    gpu_type: ResourceName = field(OPTIONS["steps.install-gpu.gpu_type"])
    attach_gpu: bool = field(OPTIONS["steps.install-gpu.attach_gpu"])
    deps_dir: Annotated[str, AfterValidator(gpu_drivers.check_deps_dir)] | None = field(
        OPTIONS["steps.install-gpu.deps_dir"]
    )
    installer: Literal["auto", "cos-extensions", "container"] = field(OPTIONS["steps.install-gpu.installer"])
    installer_container: NonEmpty = field(OPTIONS["steps.install-gpu.installer_container"])

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
