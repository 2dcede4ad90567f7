"""The specification: everything about a build in one frozen model.

It is the state that the build steps fill in, the parameter of the flow, the form in the Prefect UI and the recipe file:
one schema, four uses.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from cos_customizer.customizer import names
from cos_customizer.customizer.durations import parse_duration
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.base import Model, set_by
from cos_customizer.customizer.spec.gpu_drivers import Driver
from cos_customizer.customizer.spec.gpu_types import KNOWN_GPU_TYPES, holder_of
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS, Step
from cos_customizer.customizer.spec.values import (
    MOST_LABELS,
    Bucket,
    BuilderLabels,
    ContextPath,
    ImageLabels,
    KmsKey,
    Licenses,
    NonEmpty,
    Project,
    ResourceName,
    ServiceAccount,
    Timeout,
    Workdir,
    Zones,
)
from cos_customizer.customizer.spec.verification import Verification

_CENTURY = 100 * 365 * 24 * 3600


class SourceImage(Model):
    """The image to customize. Exactly one of name, milestone and family."""

    project: Project = Field(description="Project of the source image.", json_schema_extra=set_by("-image-project"))
    name: ResourceName | None = Field(
        None, description="Name of the source image.", json_schema_extra=set_by("-image-name")
    )
    milestone: int | None = Field(
        None,
        gt=0,
        description="COS milestone: the newest image on it is taken. Only in project cos-cloud.",
        json_schema_extra=set_by("-image-milestone"),
    )
    family: ResourceName | None = Field(
        None,
        description="Image family: its newest image that is not deprecated is taken.",
        json_schema_extra=set_by("-image-family"),
    )
    architecture: Literal["X86_64", "ARM64"] = Field(
        "X86_64", description="CPU architecture of the image.", json_schema_extra=set_by("-image-architecture")
    )

    @model_validator(mode="after")
    def _one_way_to_name_it(self) -> "SourceImage":
        given = [value for value in (self.name, self.milestone, self.family) if value is not None]
        if len(given) != 1:
            raise ValueError("exactly one of -image-name, -image-milestone and -image-family must be set")
        if self.milestone is not None and self.project != names.COS_PROJECT:
            raise ValueError(f"-image-milestone needs -image-project={names.COS_PROJECT}, not {self.project!r}")
        return self


class BuildContext(Model):
    """The files that scripts run among."""

    path: ContextPath = Field(
        ".",
        description="A directory or file, or a gzipped tar archive of one: a file `*.tar.gz` or `*.tgz`, or an object "
        "in Cloud Storage (`gs://bucket/object`).",
        json_schema_extra=set_by("-build-context"),
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Digest of the archive's uncompressed tar stream; checked if set.",
    )


class Scratch(Model):
    """Where in Cloud Storage the build keeps its objects."""

    bucket: Bucket = Field(description="Cloud Storage bucket (no gs://).", json_schema_extra=set_by("-gcs-bucket"))
    workdir: Workdir = Field(
        description="Directory in the bucket; several builds may share it.", json_schema_extra=set_by("-gcs-workdir")
    )


class BuilderVm(Model):
    """The VM that the steps run on."""

    project: Project = Field(description="Project to build in.", json_schema_extra=set_by("-project"))
    zones: Zones = Field(
        min_length=1,
        description="Zones to build in; on a stock-out the next one is tried.",
        json_schema_extra=set_by("-zone"),
    )
    machine_type: ResourceName | None = Field(
        None,
        description="Machine type; by default n1-standard-1, or the smallest that holds the GPU.",
        json_schema_extra=set_by("-machine-type"),
    )
    gpu_type: ResourceName | None = Field(
        None, description="Accelerator type to attach.", json_schema_extra=set_by("-gpu-type")
    )
    disk_type: ResourceName | None = Field(
        None,
        description="Type of the boot disk; by default pd-standard, or what the GPU's machine family takes.",
        json_schema_extra=set_by("-disk-type"),
    )
    disk_size_gb: int = Field(
        0,
        ge=0,
        le=65536,
        description="Size of the boot disk, and so of the output image, in GB; 0: the source image's.",
        json_schema_extra=set_by("-disk-size-gb"),
    )
    network: NonEmpty = Field(
        "default",
        description="VPC network: a name, or projects/{project}/global/networks/{network}.",
        json_schema_extra=set_by("-network"),
    )
    subnet: NonEmpty | None = Field(
        None,
        description="Subnet: a name in the zone's region, or projects/{project}/regions/{region}/subnetworks/{subnet}.",
        json_schema_extra=set_by("-subnet"),
    )
    external_ip: bool = Field(
        True,
        description="Whether the VM gets an external address.",
        json_schema_extra=set_by("-no-external-ip"),
    )
    service_account: ServiceAccount = Field(
        "default", description="E-mail of the VM's service account.", json_schema_extra=set_by("-service-account")
    )
    network_tags: list[ResourceName] = Field(
        default_factory=list, description="Network tags of the VM.", json_schema_extra=set_by("-network-tags")
    )
    labels: BuilderLabels = Field(
        default_factory=dict, description="Labels of the VM and its disk.", json_schema_extra=set_by("-builder-labels")
    )
    kms_key: KmsKey | None = Field(
        None,
        description="Cloud KMS key that encrypts the boot disk and the output image.",
        json_schema_extra=set_by("-kms-key"),
    )


class OutputImage(Model):
    """The image to make. Exactly one of name and suffix."""

    project: Project = Field(description="Project of the output image.", json_schema_extra=set_by("-image-project"))
    name: ResourceName | None = Field(
        None, description="Name of the output image.", json_schema_extra=set_by("-image-name")
    )
    suffix: NonEmpty | None = Field(
        None,
        description="Appended to the source image's name to make the output image's.",
        json_schema_extra=set_by("-image-suffix"),
    )
    family: ResourceName | None = Field(
        None, description="Family of the output image.", json_schema_extra=set_by("-image-family")
    )
    labels: ImageLabels = Field(
        default_factory=dict, description="Labels of the output image.", json_schema_extra=set_by("-labels")
    )
    inherit_labels: bool = Field(
        False,
        description="Whether the source image's labels are taken over (`labels` win).",
        json_schema_extra=set_by("-inherit-labels"),
    )
    licenses: Licenses = Field(
        default_factory=list,
        description="Licences: projects/{project}/global/licenses/{license}.",
        json_schema_extra=set_by("-licenses"),
    )
    storage_location: NonEmpty | None = Field(
        None,
        description="Cloud Storage location that keeps the image: a region or multi-region.",
        json_schema_extra=set_by("-storage-location"),
    )
    deprecate_old_images: bool = Field(
        False,
        description="Whether the family's older images are deprecated.",
        json_schema_extra=set_by("-deprecate-old-images"),
    )
    old_image_ttl: int = Field(
        0,
        ge=0,
        le=_CENTURY,
        description="Seconds after which images that are deprecated now count as deleted; 0: never.",
        json_schema_extra=set_by("-old-image-ttl"),
    )

    @model_validator(mode="after")
    def _goes_together(self) -> "OutputImage":
        if (self.name is None) == (self.suffix is None):
            raise ValueError("exactly one of -image-name and -image-suffix must be set")
        if self.deprecate_old_images and self.family is None:
            raise ValueError("-deprecate-old-images needs -image-family")
        if self.old_image_ttl and not self.deprecate_old_images:
            raise ValueError("-old-image-ttl needs -deprecate-old-images")
        return self

    def name_for(self, source_name: str) -> str:
        """The output image's name, given the source image's.

        Raises:
            ValueError: the suffix makes a name that Compute Engine would refuse.
        """
        return self.name if self.name is not None else names.check_resource_name(f"{source_name}{self.suffix}")


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
    timeout: Timeout = Field(
        "1h0m0s",
        description="The build's time limit as a Go duration (1h30m, 90s).",
        json_schema_extra=set_by("-timeout"),
    )
    cloud_logging: bool = Field(
        False,
        description="Whether the build's events and serial lines go to Cloud Logging too, in the builder's project.",
        json_schema_extra=set_by("-cloud-logging"),
    )

    @model_validator(mode="after")
    def _has_steps_that_fit(self) -> "BuildSpec":
        given = [step.type for step in self.steps]
        for name, kind in STEP_KINDS.items():
            if kind.only_once and given.count(name) > 1:
                raise ValueError(f"{name} can be given once: {kind.only_once}")
        for step in self.steps:
            step.check_architecture(self.source.architecture)
        return self

    @model_validator(mode="after")
    def _fits_the_gpu(self) -> "BuildSpec":
        gpu_type, machine_type = self.gpu_type, self.builder.machine_type
        family = holder_of(gpu_type).family if gpu_type in KNOWN_GPU_TYPES else None
        if self.verify.asked_for and len(self.output.labels) > MOST_LABELS - 3:
            raise ValueError(f"-labels: an image that is verified has room for {MOST_LABELS - 3} until it is released")
        if family and machine_type and not machine_type.startswith(f"{family}-"):
            raise ValueError(f"-machine-type={machine_type} cannot hold -gpu-type={gpu_type}: {family} can")
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
    def timeout_seconds(self) -> float:
        """The build's time limit in seconds."""
        return parse_duration(self.timeout)

    def masked(self) -> "BuildSpec":
        """The specification as it may be printed: values of environment variables are hidden."""
        steps = [step.masked() for step in self.steps]
        verify = self.verify.model_copy(update={"scripts": [script.masked() for script in self.verify.scripts]})
        return self.model_copy(update={"steps": steps, "verify": verify})


Place = tuple[str | int, ...]
"""Where something is in a specification: field names, keys of mappings, numbers of items from 0."""


def parse_spec(data: Any) -> BuildSpec:
    """Check and read a specification.

    Args:
        data: JSON-like data of the shape of `BuildSpec`.

    Raises:
        UsageError: it is not one; every fault is named by its field and flag.
    """
    try:
        return BuildSpec.model_validate(data)
    except ValidationError as error:
        faults = [describe_fault(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()]
        raise UsageError("; ".join(faults)) from None


def describe_fault(where: Place, kind: str, message: str) -> str:
    """One fault of a specification, named by field and flag."""
    field = ".".join(map(str, without_kinds(where)))
    flag = _flag_of(where)
    name = f"{flag} ({field})" if flag else field or "the specification of a build"
    text = message.removeprefix("Value error, ").rstrip(".")
    if kind == "union_tag_invalid":
        return f"{field}.type must be one of {', '.join(STEP_KINDS)}"
    if kind == "missing":
        return f"{name} must be set"
    if kind == "extra_forbidden":
        return f"{field} is not a field of a build's specification"
    if kind == "model_type":
        return f"{name} must be a mapping of field names to values"
    return f"{name}: {text}" if flag or kind != "value_error" else text


def without_kinds(place: Place) -> Place:
    """A place without the parts that only say of which kind a step is: `steps.0.run-script.env` is `steps.0.env`."""
    return tuple(
        part
        for before, part in zip(("", *place), place, strict=False)
        if not (isinstance(before, int) and part in STEP_KINDS)
    )


def _flag_of(where: Place) -> str:
    model: Any = BuildSpec
    for part in where:
        if isinstance(part, int):
            continue
        if model is None:
            model = STEP_KINDS.get(part)
            continue
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            break
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "flag" in extra:
            return str(extra["flag"])  # which sets all that is in the field
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return ""
