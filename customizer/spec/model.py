"""The specification: everything about a build in one frozen model.

It is the state that the build steps fill in, the parameter of the flow, the form in the Prefect UI and the recipe file:
one schema, four uses.
"""

import operator
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from cos_customizer.customizer import names
from cos_customizer.customizer.durations import parse_duration
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, joined
from cos_customizer.customizer.spec import confidential_vms
from cos_customizer.customizer.spec.base import Model, field
from cos_customizer.customizer.spec.disk_layout import DiskLayout, disk_layout
from cos_customizer.customizer.spec.faults import explain
from cos_customizer.customizer.spec.gpu_drivers import Driver
from cos_customizer.customizer.spec.gpu_types import KNOWN_GPU_TYPES, machine_fit
from cos_customizer.customizer.spec.machine_families import family_of
from cos_customizer.customizer.spec.options import (
    CONFIDENTIAL_VM,
    GPU_TYPE,
    OPTIONS,
    OUTPUT_LABELS,
    OUTPUT_SUFFIX,
    RECORD_CONTENTS,
    SCOPES,
    VERIFY_CHANGES,
)
from cos_customizer.customizer.spec.scopes import CLOUD_PLATFORM
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS, Step
from cos_customizer.customizer.spec.uefi_keys import KeyFile, key_files
from cos_customizer.customizer.spec.values import (
    MOST_LABELS,
    Bucket,
    BuilderLabels,
    ContextFile,
    ContextPath,
    Description,
    GuestOsFeatures,
    ImageLabels,
    InheritedLabels,
    InstanceMetadata,
    KmsKey,
    Licenses,
    NonEmpty,
    OemSize,
    Project,
    ResourceName,
    Scopes,
    Seconds,
    ServiceAccount,
    SigningKey,
    StorageDirectory,
    StorageLocation,
    Timeout,
    Workdir,
    Zones,
)
from cos_customizer.customizer.spec.verification import Verification

_LONGEST_KEEPING = 30 * 24 * 3600
_CENTURY = 100 * 365 * 24 * 3600


class SourceImage(Model):
    """The image to customize. Exactly one of name, milestone and family."""

    project: Project = field(OPTIONS["source.project"])
    name: ResourceName | None = field(OPTIONS["source.name"])
    milestone: int | None = field(OPTIONS["source.milestone"], gt=0)
    family: ResourceName | None = field(OPTIONS["source.family"])
    architecture: Literal["X86_64", "ARM64"] = field(OPTIONS["source.architecture"])

    @model_validator(mode="after")
    def _one_way_to_name_it(self) -> "SourceImage":
        given = [value for value in (self.name, self.milestone, self.family) if value is not None]
        if len(given) != 1:
            raise ValueError(
                Message("exactly one of {}, {} and {} must be set", *map(FieldPath, ("name", "milestone", "family")))
            )
        if self.milestone is not None and self.project != names.COS_PROJECT:
            cos = FieldPath("project", names.COS_PROJECT)
            raise ValueError(Message("{} needs {}, not {!r}", FieldPath("milestone"), cos, self.project))
        return self


class BuildContext(Model):
    """The files that scripts run among."""

    path: ContextPath = field(OPTIONS["context.path"])
    sha256: str | None = field(OPTIONS["context.sha256"], pattern="^[0-9a-f]{64}$")


class Scratch(Model):
    """Where in Cloud Storage the build keeps its objects."""

    bucket: Bucket = field(OPTIONS["scratch.bucket"])
    workdir: Workdir = field(OPTIONS["scratch.workdir"])


class BuilderVm(Model):
    """The VM that the steps run on."""

    project: Project = field(OPTIONS["builder.project"])
    zones: Zones = field(OPTIONS["builder.zones"], min_length=1)
    machine_type: ResourceName | None = field(OPTIONS["builder.machine_type"])
    gpu_type: ResourceName | None = field(OPTIONS["builder.gpu_type"])
    disk_type: ResourceName | None = field(OPTIONS["builder.disk_type"])
    disk_size_gb: int = field(OPTIONS["builder.disk_size_gb"], ge=0, le=65536)
    # Left out where there is none, so that the fingerprints of recipes that do without stay what they are.
    oem_size: OemSize | None = field(OPTIONS["builder.oem_size"], exclude_if=operator.not_)
    network: NonEmpty = field(OPTIONS["builder.network"])
    subnet: NonEmpty | None = field(OPTIONS["builder.subnet"])
    external_ip: bool = field(OPTIONS["builder.external_ip"])
    service_account: ServiceAccount = field(OPTIONS["builder.service_account"])
    scopes: Scopes = field(OPTIONS["builder.scopes"])
    metadata: InstanceMetadata = field(OPTIONS["builder.metadata"])
    network_tags: list[ResourceName] = field(OPTIONS["builder.network_tags"])
    labels: BuilderLabels = field(OPTIONS["builder.labels"])
    shielded_secure_boot: bool = field(OPTIONS["builder.shielded_secure_boot"])
    shielded_vtpm: bool = field(OPTIONS["builder.shielded_vtpm"])
    shielded_integrity_monitoring: bool = field(OPTIONS["builder.shielded_integrity_monitoring"])
    confidential_vm: Literal["SEV", "SEV_SNP", "TDX"] | None = field(OPTIONS["builder.confidential_vm"])
    spot: bool = field(OPTIONS["builder.spot"])
    kms_key: KmsKey | None = field(OPTIONS["builder.kms_key"])
    keep_on_failure: Seconds = field(OPTIONS["builder.keep_on_failure"], ge=0, le=_LONGEST_KEEPING)

    @model_validator(mode="after")
    def _goes_together(self) -> "BuilderVm":
        if self.shielded_integrity_monitoring and not self.shielded_vtpm:
            monitoring, vtpm = FieldPath("shielded_integrity_monitoring"), FieldPath("shielded_vtpm", False)
            raise ValueError(Message("{} needs the virtual TPM: with {}, it must be off too", monitoring, vtpm))
        family = family_of(self.machine_type) if self.machine_type else None
        if family and self.disk_type in family.refused:
            machine, disk = FieldPath("machine_type", self.machine_type), FieldPath("disk_type", self.disk_type)
            raise ValueError(Message("{} does not boot from {}: it does from {}", machine, disk, family.disk_type))
        technology = self.confidential_vm
        if technology and self.machine_type and confidential_vms.is_refused(self.machine_type, technology):
            machine, wanted = FieldPath("machine_type", self.machine_type), FieldPath("confidential_vm", technology)
            known = confidential_vms.families(technology)
            raise ValueError(Message("{} does not run as {}: machines of {} do", machine, wanted, known))
        return self


class OutputImage(Model):
    """The image to make. Exactly one of name and suffix."""

    project: Project = field(OPTIONS["output.project"])
    name: ResourceName | None = field(OPTIONS["output.name"])
    suffix: NonEmpty | None = field(OPTIONS["output.suffix"])
    on_existing: Literal["skip", "fail", "replace"] = field(OPTIONS["output.on_existing"])
    family: ResourceName | None = field(OPTIONS["output.family"])
    description: Description | None = field(OPTIONS["output.description"])
    labels: ImageLabels = field(OPTIONS["output.labels"])
    inherit_labels: InheritedLabels = field(OPTIONS["output.inherit_labels"])
    licenses: Licenses = field(OPTIONS["output.licenses"])
    storage_location: StorageLocation | None = field(OPTIONS["output.storage_location"])
    guest_os_features: GuestOsFeatures = field(OPTIONS["output.guest_os_features"])
    uefi_platform_key: ContextFile | None = field(OPTIONS["output.uefi_platform_key"])
    uefi_key_exchange_keys: list[ContextFile] = field(OPTIONS["output.uefi_key_exchange_keys"])
    uefi_signature_database: list[ContextFile] = field(OPTIONS["output.uefi_signature_database"])
    uefi_forbidden_database: list[ContextFile] = field(OPTIONS["output.uefi_forbidden_database"])
    record_contents: bool | None = field(OPTIONS["output.record_contents"])
    deprecate_old_images: bool = field(OPTIONS["output.deprecate_old_images"])
    old_image_ttl: Seconds = field(OPTIONS["output.old_image_ttl"], ge=0, le=_CENTURY)
    sbom_input_path: ContextFile | None = field(OPTIONS["output.sbom_input_path"])
    sbom_output_path: StorageDirectory | None = field(OPTIONS["output.sbom_output_path"])
    attestation_key: SigningKey | None = field(OPTIONS["output.attestation_key"])

    @model_validator(mode="after")
    def _goes_together(self) -> "OutputImage":
        if (self.name is None) == (self.suffix is None):
            raise ValueError(Message("exactly one of {} and {} must be set", FieldPath("name"), FieldPath("suffix")))
        deprecation = FieldPath("deprecate_old_images")
        if self.deprecate_old_images and self.family is None:
            raise ValueError(Message("{} needs {}", deprecation, FieldPath("family")))
        if self.old_image_ttl and not self.deprecate_old_images:
            raise ValueError(Message("{} needs {}", FieldPath("old_image_ttl"), deprecation))
        if (self.sbom_input_path is None) != (self.sbom_output_path is None):
            both = FieldPath("sbom_input_path"), FieldPath("sbom_output_path")
            raise ValueError(Message("{} and {} must both be set, or neither", *both))
        if self.attestation_key is not None and self.record_contents is False:
            recording = FieldPath("record_contents", False)
            raise ValueError(Message("{} signs what {} leaves out", FieldPath("attestation_key"), recording))
        return self

    @property
    def records_contents(self) -> bool:
        """Whether the build records what is in the image: as it is told to, else if the image has a family."""
        if self.record_contents is None:
            return self.family is not None or self.attestation_key is not None
        return self.record_contents

    @property
    def must_record_contents(self) -> bool:
        """Whether a build that cannot record them fails: it was told to, or has to sign what they are."""
        return bool(self.record_contents) or self.attestation_key is not None

    @property
    def uefi_keys(self) -> list[KeyFile]:
        """The files of keys that firmware of VMs of it begins with."""
        return key_files(
            self.uefi_platform_key,
            self.uefi_key_exchange_keys,
            self.uefi_signature_database,
            self.uefi_forbidden_database,
        )

    def name_for(self, source_name: str) -> str:
        """The output image's name, given the source image's.

        Raises:
            UsageError: the suffix makes a name that Compute Engine would refuse.
        """
        if self.name is not None:
            return self.name
        try:
            return names.check_resource_name(f"{source_name}{self.suffix}")
        except ValueError as error:
            raise UsageError(Message("{}: {}", OUTPUT_SUFFIX, error)) from None


class BuildSpec(Model):
    """Everything about a build."""

    source: SourceImage = Field(description="The image to customize.")
    context: BuildContext = Field(default_factory=BuildContext, description="The files that scripts run among.")
    scratch: Scratch = Field(description="Where in Cloud Storage the build keeps its objects.")
    steps: list[Step] = Field(default_factory=list, description="What to do on the builder VM, in order.")
    builder: BuilderVm = Field(description="The VM that the steps run on.")
    output: OutputImage = Field(description="The image to make.")
    verify: Verification = Field(
        default_factory=Verification, description="How the image is tried before it is released to its family."
    )
    timeout: Timeout = field(OPTIONS["timeout"])
    cloud_logging: bool = field(OPTIONS["cloud_logging"])

    @model_validator(mode="after")
    def _has_steps_that_fit(self) -> "BuildSpec":
        given = [step.type for step in self.steps]
        for name, kind in STEP_KINDS.items():
            if kind.only_once and given.count(name) > 1:
                raise ValueError(f"{name} can be given once: {kind.only_once}")
        for step in self.steps:
            step.check_architecture(self.source.architecture)
        for number, step in enumerate(self.steps, start=1):
            for before, earlier in enumerate(self.steps[: number - 1], start=1):
                for argument in filter(step.removes_argument, earlier.kernel_arguments):
                    raise ValueError(
                        f"step {number} ({step.label}) would remove {argument} again, which step {before} "
                        f"({earlier.label}) has added"
                    )
        return self

    @model_validator(mode="after")
    def _fits_the_gpu(self) -> "BuildSpec":
        gpu_type, machine_type = self.gpu_type, self.builder.machine_type
        family = machine_fit(gpu_type).family if gpu_type in KNOWN_GPU_TYPES else None
        if self.verify.asked_for and len(self.output.labels) > MOST_LABELS - 3:
            raise ValueError(
                Message(
                    "{}: an image that is verified has room for {} until it is released", OUTPUT_LABELS, MOST_LABELS - 3
                )
            )
        if family and machine_type and not machine_type.startswith(f"{family}-"):
            machine, gpu = FieldPath("builder.machine_type", machine_type), FieldPath(GPU_TYPE.path, gpu_type)
            raise ValueError(Message("{} cannot hold {}: {} can", machine, gpu, family))
        return self

    @model_validator(mode="after")
    def _fits_the_vm(self) -> "BuildSpec":
        technology, scopes = self.builder.confidential_vm, self.builder.scopes
        if technology and self.gpu_type and not self.builder.machine_type:
            machine = machine_fit(self.gpu_type).default
            if confidential_vms.is_refused(machine, technology):
                wanted, gpu = FieldPath(CONFIDENTIAL_VM.path, technology), FieldPath(GPU_TYPE.path, self.gpu_type)
                raise ValueError(Message("{}: no machine that holds {} runs so", wanted, gpu))
        if self.has_secrets and scopes and CLOUD_PLATFORM not in scopes:
            raise ValueError(Message("{}: a VM that reads secrets needs cloud-platform", SCOPES))
        return self

    @model_validator(mode="after")
    def _records_what_it_compares(self) -> "BuildSpec":
        if self.verify.changes is not None and not self.output.records_contents:
            needed = FieldPath(RECORD_CONTENTS.path, True)
            raise ValueError(
                Message("{} needs {}: without recorded contents nothing can be compared", VERIFY_CHANGES, needed)
            )
        return self

    @property
    def gpu_driver(self) -> Driver | None:
        """The GPU driver that a step installs, if one does."""
        return next((step.gpu_driver for step in self.steps if step.gpu_driver), None)

    @property
    def gpu_type(self) -> str | None:
        """The accelerator that the builder VM gets: the builder's own, or the one to try the driver with."""
        wanted = [self.builder.gpu_type, *(step.gpu_to_attach for step in self.steps)]
        return next(filter(None, wanted), None)

    @property
    def lays_out_disk(self) -> bool:
        """Whether the builder VM lays out its boot disk anew."""
        return self.builder.oem_size is not None or any(step.reclaims_root for step in self.steps)

    def disk_layout(self, source_size_gb: int) -> DiskLayout | None:
        """How the builder VM lays out its boot disk anew, or None: it does not.

        Args:
            source_size_gb: of the source image.

        Raises:
            ValueError: the disk is too small for that.
        """
        return disk_layout(
            self.builder.oem_size,
            seals=any(step.seals_oem for step in self.steps),
            reclaims_root=any(step.reclaims_root for step in self.steps),
            disk_size_gb=self.builder.disk_size_gb,
            source_size_gb=source_size_gb,
        )

    @property
    def has_secrets(self) -> bool:
        """Whether a VM of the build reads secrets."""
        return any(step.secrets for step in (*self.steps, *self.verify.scripts))

    @property
    def timeout_seconds(self) -> float:
        """The build's time limit in seconds."""
        return parse_duration(self.timeout)

    @property
    def longest_seconds(self) -> float:
        """Seconds within which the build is over, the wait for a person included."""
        return self.timeout_seconds + self.verify.patience

    def masked(self) -> "BuildSpec":
        """The specification as it may be printed: values of environment variables are hidden."""
        steps = [step.masked() for step in self.steps]
        verify = self.verify.model_copy(update={"scripts": [script.masked() for script in self.verify.scripts]})
        return self.model_copy(update={"steps": steps, "verify": verify})


def parse_spec(data: Any) -> BuildSpec:
    """Check and read a specification.

    Args:
        data: JSON-like data of the shape of `BuildSpec`.

    Raises:
        UsageError: it is not one; every fault is named by its field.
    """
    try:
        return BuildSpec.model_validate(data)
    except ValidationError as error:
        raise UsageError(joined("; ", [explain(fault) for fault in error.errors()])) from None
