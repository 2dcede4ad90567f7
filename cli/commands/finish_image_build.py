"""`finish-image-build`: turn what the steps have said into a specification, and build it."""

import time
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.go_flags import Flag, GoCommand, spec_fields
from cos_customizer.cli.output_file import OUTPUT_FILE_FLAG, OutputFile
from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import UsageError

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

FLAGS = (
    Flag(
        "project",
        "Project to build in: the builder VM lives there. Required.",
        value="PROJECT",
        example="-project=my-project",
        field="builder.project",
    ),
    Flag(
        "zone",
        "Zone to build in. Required. Several may be given, separated by commas: when one has no capacity for the "
        "builder VM, the next one is tried.",
        kind="list",
        value="ZONE,…",
        example="-zone=us-west1-b,us-west1-a",
        field="builder.zones",
    ),
    Flag(
        "image-project",
        "Project of the output image. By default that of -project.",
        value="PROJECT",
        example="-image-project=my-images",
        field="output.project",
    ),
    Flag(
        "image-name",
        "Name of the output image. This or -image-suffix must be given. If it is there already, nothing is done.",
        value="NAME",
        example="-image-name=my-custom-image",
        field="output.name",
    ),
    Flag(
        "image-suffix",
        "Name the output image after the source image, with this appended.",
        value="SUFFIX",
        example="-image-suffix=-custom",
        field="output.suffix",
    ),
    Flag(
        "image-family",
        "Family of the output image.",
        value="FAMILY",
        example="-image-family=my-family",
        field="output.family",
    ),
    Flag(
        "deprecate-old-images",
        "Deprecate the other images of the output image's family that have no deprecation status. Needs -image-family.",
        kind="bool",
        field="output.deprecate_old_images",
    ),
    Flag(
        "old-image-ttl",
        "Time to live of the images that -deprecate-old-images deprecates: after so many seconds they count as deleted "
        "(Compute Engine itself deletes nothing). 0: no such date is set.",
        kind="int",
        value="SECONDS",
        default=0,
        example="-old-image-ttl=86400",
        field="output.old_image_ttl",
    ),
    Flag(
        "labels",
        "Labels of the output image. May be repeated.",
        kind="map",
        value="KEY=VALUE,…",
        example="-labels=cos_image=true,milestone=65",
        field="output.labels",
    ),
    Flag(
        "inherit-labels",
        "Give the output image the source image's labels too; those of -labels win.",
        kind="bool",
        field="output.inherit_labels",
    ),
    Flag(
        "licenses",
        "Licences of the output image, each as projects/{project}/global/licenses/{license}. May be repeated.",
        kind="list",
        value="LICENSE,…",
        example="-licenses=projects/cos-cloud/global/licenses/cos",
        field="output.licenses",
    ),
    Flag(
        "storage-location",
        "Region or multi-region that keeps the output image. By default the multi-region that is nearest to the disk.",
        value="LOCATION",
        example="-storage-location=europe-west4",
        field="output.storage_location",
    ),
    Flag(
        "kms-key",
        "Cloud KMS key that encrypts the builder VM's disk and the output image.",
        value="KEY",
        example="-kms-key=projects/my-project/locations/global/keyRings/my-ring/cryptoKeys/my-key",
        field="builder.kms_key",
    ),
    Flag(
        "disk-size-gb",
        "Size in GB of the builder VM's disk, and so of the output image. 0: the source image's size.",
        kind="int",
        value="GB",
        default=0,
        example="-disk-size-gb=50",
        field="builder.disk_size_gb",
    ),
    Flag(
        "disk-type",
        "Type of the builder VM's disk. By default pd-standard, or what the GPU's machine family takes.",
        value="TYPE",
        example="-disk-type=pd-ssd",
        field="builder.disk_type",
    ),
    Flag(
        "machine-type",
        "Machine type of the builder VM. By default n1-standard-1, or the smallest that holds the GPU of -gpu-type, or "
        "t2a-standard-1 for an arm64 image.",
        value="TYPE",
        example="-machine-type=n1-standard-4",
        field="builder.machine_type",
    ),
    Flag(
        "gpu-type",
        "Accelerator to attach to the builder VM; its zone needs quota for it. By default that of install-gpu.",
        value="TYPE",
        example="-gpu-type=nvidia-tesla-t4",
        field="builder.gpu_type",
    ),
    Flag(
        "network",
        "VPC network of the builder VM: a name, or projects/{project}/global/networks/{network}.",
        value="NETWORK",
        default="default",
        example="-network=my-network",
        field="builder.network",
    ),
    Flag(
        "subnet",
        "Subnet of the builder VM: a name in the zone's region, or "
        "projects/{project}/regions/{region}/subnetworks/{subnet}.",
        value="SUBNET",
        example="-subnet=my-subnet",
        field="builder.subnet",
    ),
    Flag(
        "no-external-ip",
        "Give the builder VM no external address. Its subnet then needs Private Google Access to reach Cloud Storage.",
        kind="bool",
        field="builder.external_ip",
        negated=True,
    ),
    Flag(
        "network-tags",
        "Network tags of the builder VM, for firewall rules. May be repeated.",
        kind="list",
        value="TAG,…",
        example="-network-tags=allow-egress",
        field="builder.network_tags",
    ),
    Flag(
        "service-account",
        "E-mail address of the builder VM's service account.",
        value="EMAIL",
        default="default",
        example="-service-account=builder@my-project.iam.gserviceaccount.com",
        field="builder.service_account",
    ),
    Flag(
        "builder-labels",
        "Labels of the builder VM and its disk. May be repeated.",
        kind="map",
        value="KEY=VALUE,…",
        example="-builder-labels=team=images",
        field="builder.labels",
    ),
    Flag(
        "verify-script",
        "Before the image is released, boot a test VM from it and run this script of the build context there. Only if "
        "it succeeds does the image get its family, and are old images deprecated. May be repeated.",
        kind="list",
        value="PATH,…",
        example="-verify-script=smoke_test.sh",
        field="verify.scripts",
    ),
    Flag(
        "verify-boot",
        "Before the image is released, see whether a test VM boots from it; -verify-script implies it.",
        kind="bool",
        field="verify.boot",
    ),
    Flag(
        "keep-failed-image",
        "Keep an image that fails its verification, in no family and labelled cos-customizer-state=failed, to look at "
        "it. Otherwise it is deleted.",
        kind="bool",
        field="verify.keep_failed_image",
    ),
    Flag(
        "timeout",
        "Time limit of this command, from its start to its end, as a Go duration. What the build has made is removed "
        "within it. Stay below the time limit of whatever runs this command (Cloud Build's timeout).",
        kind="duration",
        default="1h0m0s",
        example="-timeout=1h30m",
        field="timeout",
    ),
    Flag(
        "cloud-logging",
        "Send the build's events and the lines of its serial console to Cloud Logging too: log cos-customizer in the "
        "project of -project. It cannot fail a build.",
        kind="bool",
        field="cloud_logging",
    ),
    OUTPUT_FILE_FLAG,
    Flag(
        "dry-run",
        "Build nothing: print the specification and every request that would be sent, as YAML. Local state is kept.",
        kind="bool",
    ),
    WORKDIR_FLAG,
)


@click.command(
    "finish-image-build",
    cls=GoCommand,
    params=list(FLAGS),
    short_help="Build the image: boot a builder VM, run the steps on it, make an image of its disk.",
)
@click.pass_context
def finish_image_build(ctx: click.Context, /, **values: Any) -> int:
    """Build the image: boot a builder VM, run the steps on it, make an image of its disk.

    The builder VM, its disk and the build context in Cloud Storage are removed at the end, whatever happens; the VM's
    serial log is kept there. The local state is removed too, but kept when the flags are wrong. An output image that is
    there already is a success.
    """
    started = ctx.obj if isinstance(ctx.obj, float) else time.monotonic()
    directory = StateDirectory.named(workdir_of(ctx, values))
    state = directory.read()
    spec = specification(state, values)
    if values["dry_run"]:
        from cos_customizer.cli.dry_run import dry_run

        return dry_run(spec, state.build_context)  # the archive in the local state lasts no longer than the build
    output_file = OutputFile.checked(values["output_file"])
    from cos_customizer.cli.run_build import run_build

    result = run_build(spec, started, output_file, forget=lambda: directory.remove(state))
    return 0 if result.outcome in ("built", "exists") else 1


def specification(state: BuildState, values: dict[str, Any]) -> "BuildSpec":
    """The build's specification.

    Args:
        state: what the steps before have said.
        values: this command's flags, by parameter name.

    Raises:
        UsageError: it is not complete, or something cannot be right.
    """
    from cos_customizer.customizer.spec.model import parse_spec

    said = spec_fields(FLAGS, values)
    output = said.setdefault("output", {})
    builder = said.setdefault("builder", {})
    if "project" in builder:
        output.setdefault("project", builder["project"])
    try:
        spec = parse_spec({**state.spec, **said})
        assert spec.source.name is not None  # start-image-build has found out
        spec.output.name_for(spec.source.name)
        for script in spec.verify.scripts:
            state.check_script("-verify-script", script.script)
    except UsageError as error:
        hint = error.hint or "see: cos-customizer help finish-image-build."
        raise UsageError(error.message, hint) from None
    except ValueError as error:
        raise UsageError(f"-image-suffix: {error}") from None
    return spec
