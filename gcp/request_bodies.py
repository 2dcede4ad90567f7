"""The request bodies that make a build's VMs, as pure functions, in the API's own JSON form.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, message_of
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec import confidential_vms, scopes
from cos_customizer.customizer.spec.disk_layout import DiskLayout
from cos_customizer.customizer.spec.gpu_types import (
    DEFAULT_ARM_MACHINE_TYPE,
    DEFAULT_MACHINE_TYPE,
    machine_fit,
)
from cos_customizer.customizer.spec.machine_families import family_of
from cos_customizer.customizer.spec.model import BuilderVm, BuildSpec
from cos_customizer.customizer.spec.options import CONFIDENTIAL_VM, DISK_SIZE
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.guest.user_data import (
    CONTENTS_ADDRESS,
    SECRETS_ENDPOINT,
    ContextObject,
    GuestStep,
    render_user_data,
)

SHORTEST_LIFE, LONGEST_LIFE = 30, 120 * 24 * 3600
"""Seconds: Compute Engine takes no shorter and no longer maxRunDuration.

Source: https://cloud.google.com/compute/docs/instances/limit-vm-runtime.
"""
_LIFE_BEYOND_TIMEOUT = 300
_EXPIRY_BEYOND_LIFE = 3600


def life_of_builder_vm(timeout: float) -> int:
    """Seconds after which Compute Engine deletes the builder VM by itself: a little more than the build may take.

    Args:
        timeout: the build's time limit in seconds.
    """
    return min(max(SHORTEST_LIFE, round(timeout) + _LIFE_BEYOND_TIMEOUT), LONGEST_LIFE)


def expiry(timeout: float, now: float) -> float:
    """Unix time after which nothing temporary of a build is still needed.

    Args:
        timeout: the build's time limit in seconds.
        now: Unix time of the build's start.
    """
    return now + life_of_builder_vm(timeout) + _EXPIRY_BEYOND_LIFE


def machine_type_of(spec: BuildSpec, architecture: str) -> str:
    """The machine type: the one asked for, or the smallest that holds the GPU, is confidential, or fits the source.

    Args:
        spec: the build's specification.
        architecture: of the source image, `X86_64` or `ARM64`.
    """
    if spec.builder.machine_type:
        return spec.builder.machine_type
    if spec.gpu_type:
        return machine_fit(spec.gpu_type).default
    if spec.builder.confidential_vm:
        return confidential_vms.DEFAULT_MACHINE_TYPES[spec.builder.confidential_vm]
    return DEFAULT_ARM_MACHINE_TYPE if architecture == "ARM64" else DEFAULT_MACHINE_TYPE


def disk_type_of(spec: BuildSpec, architecture: str) -> str | None:
    """The boot disk's type: the one asked for, or one that the machine boots from; None: Compute Engine's choice.

    Args:
        spec: the build's specification.
        architecture: of the source image, `X86_64` or `ARM64`.
    """
    family = family_of(machine_type_of(spec, architecture))
    return spec.builder.disk_type or (family.disk_type if family else None)


def check_source(spec: BuildSpec, source: ResolvedImage) -> None:
    """Find out before anything is made whether the builder VM can have the source image on its disk, and run it.

    Args:
        spec: the build's specification.
        source: the source image.

    Raises:
        UsageError: it cannot.
    """
    size = spec.builder.disk_size_gb
    if 0 < size < source.disk_size_gb:
        raise UsageError(
            Message(
                "{}: the source image {} needs {} GB", FieldPath(DISK_SIZE.path, size), source.name, source.disk_size_gb
            ),
            Message("leave {} out: a disk of the source image's size is made then.", DISK_SIZE),
        )
    layout_of(spec, source)
    machine_type = machine_type_of(spec, source.architecture)
    family = family_of(machine_type)
    technology = spec.builder.confidential_vm
    if technology and source.architecture == "ARM64":
        wanted = FieldPath(CONFIDENTIAL_VM.path, technology)
        raise UsageError(Message("{}: the source image {} is one for arm64, which has none", wanted, source.name))
    if family and family.architecture != source.architecture:
        raise UsageError(
            Message(
                "{}: it runs {} images, and the source image {} is one for {}",
                FieldPath("builder.machine_type", machine_type),
                family.architecture.lower(),
                source.name,
                source.architecture.lower(),
            ),
            Message("without {}, one that fits the image is taken.", FieldPath("builder.machine_type")),
        )


def layout_of(spec: BuildSpec, source: ResolvedImage) -> DiskLayout | None:
    """How the builder VM lays out its boot disk anew, or None: it does not.

    Args:
        spec: the build's specification.
        source: the source image.

    Raises:
        UsageError: the disk is too small for that.
    """
    try:
        return spec.disk_layout(source.disk_size_gb)
    except ValueError as error:
        raise UsageError(message_of(error)) from None


def user_data(spec: BuildSpec, build: BuildNames, sha256: str, source: ResolvedImage) -> str:
    """The cloud-config that carries the plan of a build.

    Args:
        spec: the build's specification.
        build: the build's names.
        sha256: digest of the build context's uncompressed tar stream.
        source: the source image.

    Raises:
        UsageError: it does not fit into instance metadata.
    """
    steps = [_guest_step(step, gpu=spec.gpu_type is not None) for step in spec.steps]
    archive = _archive(spec, build, sha256)
    layout = layout_of(spec, source)
    return _fitting(
        "steps.run-script.env",
        lambda: render_user_data(
            steps,
            archive,
            build.nonce,
            layout=layout,
            records_contents=spec.output.records_contents,
            architecture=source.architecture,
        ),
    )


def test_user_data(spec: BuildSpec, build: BuildNames, sha256: str) -> str:
    """As `user_data`, for the test VM: its plan has the scripts that verify the image."""
    steps = [_guest_step(step, gpu=False) for step in spec.verify.scripts]
    archive = _archive(spec, build, sha256)
    return _fitting("verify.scripts", lambda: render_user_data(steps, archive, build.test_nonce, makes_image=False))


def _archive(spec: BuildSpec, build: BuildNames, sha256: str) -> ContextObject:
    return ContextObject(spec.scratch.bucket, build.context_archive(spec.scratch.workdir), sha256)


def _fitting(named: str, render: Callable[[], str]) -> str:
    """What `render` returns, unless it is too long: then the error names the field that may be shortened."""
    try:
        return render()
    except ValueError as error:
        raise UsageError(Message("{}: {}", FieldPath(named), error)) from None


def _guest_step(step: Step, *, gpu: bool) -> GuestStep:
    return GuestStep(step.type, step.label, step.settings(gpu=gpu), step.repeatable, step.secrets)


@dataclass(frozen=True)
class VmRequest:
    """A VM of a build to ask for, wherever it finds room.

    Attributes:
        spec: The build's specification.
        build: The build's names.
        image: `projects/{project}/global/images/{image}` to boot from.
        architecture: Of the image, `X86_64` or `ARM64`.
        user_data: The cloud-config with its plan.
        secret_manager: Where the VM finds Secret Manager; None: where it is unless one says otherwise.
        grows_later: Whether the boot disk gets the size that is asked for when it is laid out anew.
        contents_address: Where the VM sends what is in the image; None: nowhere.
    """

    spec: BuildSpec
    build: BuildNames
    image: str
    architecture: str
    user_data: str
    secret_manager: str | None = None
    grows_later: bool = False
    contents_address: str | None = None


def test_vm(request: VmRequest, zone: str, now: float) -> dict[str, Any]:
    """The body of `instances.insert` for the test VM: as the builder VM, of the output image.

    Args:
        request: What to ask for.
        zone: To test in.
        now: Unix time of the test's start.
    """
    build = request.build
    body = builder_vm(request, zone, now)
    body |= {"name": build.test_vm, "description": f"Test VM of cos-customizer build {build.id}"}
    parameters = body["disks"][0]["initializeParams"]
    parameters["diskName"] = build.test_vm
    parameters.pop("diskSizeGb", None)  # the image has it
    return body


def builder_vm(request: VmRequest, zone: str, now: float) -> dict[str, Any]:
    """The body of `instances.insert` for the builder VM.

    Args:
        request: What to ask for.
        zone: To build in.
        now: Unix time of the build's start.
    """
    spec, build = request.spec, request.build
    builder = spec.builder
    labels = {**builder.labels, **build.labels(expiry(spec.timeout_seconds, now))}
    disk: dict[str, Any] = {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "diskName": build.builder_vm,
            "sourceImage": request.image,
            "labels": labels,
        },
    }
    if disk_type := disk_type_of(spec, request.architecture):
        disk["initializeParams"]["diskType"] = f"zones/{zone}/diskTypes/{disk_type}"
    if builder.disk_size_gb and not request.grows_later:
        disk["initializeParams"]["diskSizeGb"] = str(builder.disk_size_gb)
    if builder.kms_key:
        disk["diskEncryptionKey"] = {"kmsKeyName": builder.kms_key}
    body: dict[str, Any] = {
        "name": build.builder_vm,
        "description": f"Builder VM of cos-customizer build {build.id}",
        "machineType": f"zones/{zone}/machineTypes/{machine_type_of(spec, request.architecture)}",
        "labels": labels,
        "disks": [disk],
        "networkInterfaces": [_network_interface(builder, zone)],
        "serviceAccounts": [{"email": builder.service_account, "scopes": list(builder.scopes or scopes.DEFAULT)}],
        "metadata": {
            "items": [
                {"key": "block-project-ssh-keys", "value": "TRUE"},
                {"key": "cos-update-strategy", "value": "update_disabled"},
                {"key": "user-data", "value": request.user_data},
                *({"key": key, "value": value} for key, value in builder.metadata.items()),
            ]
        },
        "scheduling": _scheduling(spec),
    }
    if request.secret_manager:
        body["metadata"]["items"].append({"key": SECRETS_ENDPOINT, "value": request.secret_manager})
    if request.contents_address:
        body["metadata"]["items"].append({"key": CONTENTS_ADDRESS, "value": request.contents_address})
    if shielded := _shielded(builder):
        body["shieldedInstanceConfig"] = shielded
    if builder.network_tags:
        body["tags"] = {"items": list(builder.network_tags)}
    if technology := builder.confidential_vm:
        body["confidentialInstanceConfig"] = {"confidentialInstanceType": technology}
        if technology in confidential_vms.CPU_PLATFORMS:
            body["minCpuPlatform"] = confidential_vms.CPU_PLATFORMS[technology]
    if spec.gpu_type and not machine_fit(spec.gpu_type).brings_gpus:
        accelerator = f"zones/{zone}/acceleratorTypes/{spec.gpu_type}"
        body["guestAccelerators"] = [{"acceleratorType": accelerator, "acceleratorCount": 1}]
    return body


def _scheduling(spec: BuildSpec) -> dict[str, Any]:
    """How long the VM runs, and what may end it before.

    Source: https://cloud.google.com/compute/docs/instances/create-use-spot: what happens at host maintenance cannot be
    chosen for a spot VM.
    """
    scheduling: dict[str, Any] = {
        "maxRunDuration": {"seconds": str(life_of_builder_vm(spec.timeout_seconds))},
        "instanceTerminationAction": "DELETE",
    }
    if spec.builder.spot:
        scheduling["provisioningModel"] = "SPOT"
    elif spec.gpu_type or spec.builder.confidential_vm:
        scheduling["onHostMaintenance"] = "TERMINATE"
    return scheduling


def _shielded(builder: BuilderVm) -> dict[str, bool]:
    """Shielded VM options; none where all are as Compute Engine has them without being asked.

    Source: https://cloud.google.com/compute/shielded-vm/docs/shielded-vm.
    """
    wanted = {
        "enableSecureBoot": builder.shielded_secure_boot,
        "enableVtpm": builder.shielded_vtpm,
        "enableIntegrityMonitoring": builder.shielded_integrity_monitoring,
    }
    return wanted if list(wanted.values()) != [False, True, True] else {}


def _network_interface(builder: BuilderVm, zone: str) -> dict[str, Any]:
    interface: dict[str, Any] = {}
    region = zone.rpartition("-")[0]
    if builder.subnet:
        subnet = builder.subnet
        interface["subnetwork"] = subnet if "/" in subnet else f"regions/{region}/subnetworks/{subnet}"
    if not builder.subnet or builder.network != "default":
        # With a subnet alone, Compute Engine infers the network, also one of a shared VPC's host project.
        network = builder.network
        interface["network"] = network if "/" in network else f"global/networks/{network}"
    if builder.external_ip:
        interface["accessConfigs"] = [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]
    return interface
