"""The step that installs a GPU driver."""

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, model_validator

from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.base import field
from cos_customizer.customizer.spec.gpu_drivers import OPTIONS
from cos_customizer.customizer.spec.step import StepModel
from cos_customizer.customizer.spec.values import NonEmpty, ResourceName


class InstallGpu(StepModel):
    """A step that installs a GPU driver, and a script that sets it up at every boot."""

    only_once: ClassVar[str] = gpu_drivers.ONLY_ONCE

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

    @property
    def repeatable(self) -> bool:
        """The legacy installer may reset the machine in the middle of its work, and expects to be run again."""
        return True

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
