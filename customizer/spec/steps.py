"""The steps of a specification: what is done on the builder VM, each kind a model of its own."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.script_checks import normalize_script
from cos_customizer.customizer.spec.values import Environment, NonEmpty, ResourceName


def set_by(flag: str) -> dict[str, Any]:
    """The flag that sets a field, for error messages and docs."""
    return {"flag": flag}


class Model(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _with_type(schema: dict[str, Any]) -> None:
    """A step without a type is a script; so the schema of any other kind says that it needs one."""
    schema["required"] = ["type", *schema["required"]]


class RunScript(Model):
    """A step that runs a script on the builder VM, with the build context as its working directory."""

    type: Literal["run-script"] = "run-script"
    script: Annotated[str, AfterValidator(normalize_script)] = Field(
        description="Path of the script in the build context.", json_schema_extra=set_by("-script")
    )
    env: Environment = Field(
        default_factory=dict, description="Environment variables of the script.", json_schema_extra=set_by("-env")
    )

    @property
    def label(self) -> str:
        """What people see."""
        return f"run-script {self.script}"


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


def _script_unless_told(step: Any) -> Any:
    return {"type": "run-script", **step} if isinstance(step, dict) else step


Step = Annotated[RunScript | InstallGpu, Field(discriminator="type"), BeforeValidator(_script_unless_told)]
"""What is done on the builder VM."""


STEP_KINDS: dict[str, type[Model]] = {"run-script": RunScript, "install-gpu": InstallGpu}
"""The models by the `type` of a step."""
