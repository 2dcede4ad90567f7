"""`finish-image-build`: turn what the steps have written down into a specification, and build it."""

import time
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.changes_flag import ChangesFlag
from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.dry_run import FULL_FLAG
from cos_customizer.cli.flag import Flag, spec_fields
from cos_customizer.cli.flag_kinds import (
    ChoiceFlag,
    DecidingFlag,
    DelimitedMapFlag,
    DurationFlag,
    IntegerFlag,
    ListFlag,
    MapFlag,
    NegatingFlag,
    SecondsFlag,
    SwitchFlag,
    SwitchOrListFlag,
)
from cos_customizer.cli.go_flags import see_help
from cos_customizer.cli.output_file import OUTPUT_FILE_FLAG, OutputFile
from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec import confidential_vms
from cos_customizer.customizer.spec.options import ON_EXISTING_CHOICES, OPTIONS

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

FLAGS = (
    Flag("project", OPTIONS["builder.project"], value="PROJECT", example="-project=my-project"),
    ListFlag("zone", OPTIONS["builder.zones"], value="ZONE,…", example="-zone=us-west1-b,us-west1-a"),
    Flag(
        "image-project",
        OPTIONS["output.project"].text,
        also="By default that of -project.",
        value="PROJECT",
        example="-image-project=my-images",
        field="output.project",
    ),
    Flag("image-name", OPTIONS["output.name"], value="NAME", example="-image-name=my-custom-image"),
    ChoiceFlag(
        "on-existing", OPTIONS["output.on_existing"], choices=ON_EXISTING_CHOICES, example="-on-existing=replace"
    ),
    Flag("image-suffix", OPTIONS["output.suffix"], value="SUFFIX", example="-image-suffix=-custom"),
    Flag("image-family", OPTIONS["output.family"], value="FAMILY", example="-image-family=my-family"),
    DecidingFlag("record-contents", OPTIONS["output.record_contents"]),
    SwitchFlag("deprecate-old-images", OPTIONS["output.deprecate_old_images"]),
    SecondsFlag("old-image-ttl", OPTIONS["output.old_image_ttl"], value="SECONDS", example="-old-image-ttl=30d"),
    Flag("description", OPTIONS["output.description"], value="TEXT", example="-description='Web servers of the shop'"),
    MapFlag("labels", OPTIONS["output.labels"], value="KEY=VALUE,…", example="-labels=cos_image=true,milestone=65"),
    SwitchOrListFlag(
        "inherit-labels", OPTIONS["output.inherit_labels"], value="KEY,…", example="-inherit-labels=team,cost-centre"
    ),
    ListFlag(
        "licenses",
        OPTIONS["output.licenses"],
        value="LICENSE,…",
        example="-licenses=projects/cos-cloud/global/licenses/cos",
    ),
    Flag(
        "storage-location",
        OPTIONS["output.storage_location"],
        value="LOCATION",
        example="-storage-location=europe-west4",
    ),
    ListFlag(
        "guest-os-features",
        OPTIONS["output.guest_os_features"],
        value="FEATURE,…",
        example="-guest-os-features=SEV_CAPABLE,GVNIC",
    ),
    Flag(
        "platform-key-file",
        OPTIONS["output.uefi_platform_key"],
        value="PATH",
        example="-platform-key-file=keys/pk.der",
    ),
    ListFlag(
        "key-exchange-key-file",
        OPTIONS["output.uefi_key_exchange_keys"],
        value="PATH,…",
        example="-key-exchange-key-file=keys/kek.der",
    ),
    ListFlag(
        "signature-database-file",
        OPTIONS["output.uefi_signature_database"],
        value="PATH,…",
        example="-signature-database-file=keys/db.der,keys/db2.der",
    ),
    ListFlag(
        "forbidden-database-file",
        OPTIONS["output.uefi_forbidden_database"],
        value="PATH,…",
        example="-forbidden-database-file=keys/dbx.bin",
    ),
    Flag(
        "kms-key",
        OPTIONS["builder.kms_key"],
        value="KEY",
        example="-kms-key=projects/my-project/locations/global/keyRings/my-ring/cryptoKeys/my-key",
    ),
    IntegerFlag("disk-size-gb", OPTIONS["builder.disk_size_gb"], value="GB", example="-disk-size-gb=50"),
    Flag("oem-size", OPTIONS["builder.oem_size"], value="SIZE", example="-oem-size=500M"),
    Flag("disk-type", OPTIONS["builder.disk_type"], value="TYPE", example="-disk-type=pd-ssd"),
    Flag("machine-type", OPTIONS["builder.machine_type"], value="TYPE", example="-machine-type=n1-standard-4"),
    Flag("gpu-type", OPTIONS["builder.gpu_type"], value="TYPE", example="-gpu-type=nvidia-tesla-t4"),
    SwitchFlag("shielded-secure-boot", OPTIONS["builder.shielded_secure_boot"]),
    NegatingFlag("no-shielded-vtpm", OPTIONS["builder.shielded_vtpm"]),
    NegatingFlag("no-shielded-integrity-monitoring", OPTIONS["builder.shielded_integrity_monitoring"]),
    ChoiceFlag(
        "confidential-vm",
        OPTIONS["builder.confidential_vm"],
        choices=confidential_vms.TECHNOLOGIES,
        value="TECHNOLOGY",
        example="-confidential-vm=SEV",
    ),
    SwitchFlag("spot", OPTIONS["builder.spot"]),
    SecondsFlag("keep-builder-on-failure", OPTIONS["builder.keep_on_failure"], example="-keep-builder-on-failure=2h"),
    Flag("network", OPTIONS["builder.network"], value="NETWORK", example="-network=my-network"),
    Flag("subnet", OPTIONS["builder.subnet"], value="SUBNET", example="-subnet=my-subnet"),
    NegatingFlag("no-external-ip", OPTIONS["builder.external_ip"]),
    ListFlag("network-tags", OPTIONS["builder.network_tags"], value="TAG,…", example="-network-tags=allow-egress"),
    Flag(
        "service-account",
        OPTIONS["builder.service_account"],
        value="EMAIL",
        example="-service-account=builder@my-project.iam.gserviceaccount.com",
    ),
    ListFlag("scopes", OPTIONS["builder.scopes"], value="SCOPE,…", example="-scopes=storage-ro,logging-write"),
    DelimitedMapFlag(
        "metadata",
        OPTIONS["builder.metadata"],
        also="For a value with a comma choose another delimiter: -metadata='^;^KEY=a,b'.",
        value="KEY=VALUE,…",
        example="-metadata=enable-guest-attributes=TRUE",
    ),
    MapFlag("builder-labels", OPTIONS["builder.labels"], value="KEY=VALUE,…", example="-builder-labels=team=images"),
    Flag("sbom-input-path", OPTIONS["output.sbom_input_path"], value="PATH", example="-sbom-input-path=sbom.json"),
    Flag(
        "sbom-output-path",
        OPTIONS["output.sbom_output_path"],
        value="URL",
        example="-sbom-output-path=gs://my-bucket/sboms",
    ),
    Flag(
        "attestation-key",
        OPTIONS["output.attestation_key"],
        value="KEY",
        example="-attestation-key=projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
    ),
    ListFlag("verify-script", OPTIONS["verify.scripts"], value="PATH,…", example="-verify-script=smoke_test.sh"),
    SwitchFlag("verify-boot", OPTIONS["verify.boot"]),
    ChangesFlag(
        "verify-changes",
        OPTIONS["verify.changes"],
        also="Each is written as KIND:PATTERN with the kind paths, packages, containers, units, kernel_arguments, "
        "partitions, verity, modules or system; a path needs no kind; none: nothing may have changed.",
        value="PATTERN,…",
        example="-verify-changes='/var/lib/app/**,units:app.service'",
    ),
    SwitchFlag("require-approval", OPTIONS["verify.require_approval"]),
    SecondsFlag(
        "approval-timeout", OPTIONS["verify.approval_timeout"], value="DURATION", example="-approval-timeout=3d"
    ),
    SwitchFlag("keep-failed-image", OPTIONS["verify.keep_failed_image"]),
    DurationFlag(
        "timeout",
        OPTIONS["timeout"],
        also="It counts from the start of this command to its end.",
        example="-timeout=1h30m",
    ),
    SwitchFlag("cloud-logging", OPTIONS["cloud_logging"]),
    OUTPUT_FILE_FLAG,
    SwitchFlag(
        "enable-cleanup",
        "Before the build, delete VMs and disks that other builds have left behind in the zones of -zone: what sweep "
        "would delete there. It cannot fail a build.",
    ),
    SwitchFlag(
        "dry-run",
        "Build nothing: print the specification and every request that would be sent, as YAML. Local state is kept.",
    ),
    FULL_FLAG,
    WORKDIR_FLAG,
)


@command("finish-image-build", FLAGS, section=BUILD_STEPS, rank=9)
@click.pass_context
def finish_image_build(ctx: click.Context, /, **values: Any) -> int:
    """Build the image: boot a builder VM, run the steps on it, make an image of its disk.

    The builder VM, its disk and the build context in Cloud Storage are removed at the end, whatever happens, unless
    -keep-builder-on-failure says otherwise; the VM's serial log is kept there. The local state is removed too, but for
    a line on how the build ended, unless no VM was made: then the command can be given again. An output image that is
    there already is a success: see -on-existing.
    """
    started = ctx.obj if isinstance(ctx.obj, float) else time.monotonic()
    directory = StateDirectory.named(workdir_of(ctx, values["local_state_workdir"]))
    if values["dry_run"] or values["dry_run_full"]:
        from cos_customizer.cli.dry_run import dry_run

        state = directory.read()
        # The archive in the local state lasts no longer than the build.
        return dry_run(specification(state, values), state.build_context, values["dry_run_full"])
    with directory.finishing() as state:
        spec = specification(state, values)
        output_file = OutputFile.checked(values["output_file"])
        if values["enable_cleanup"]:
            from cos_customizer.cli.clean_up import clean_up

            with deadline.until(started + spec.timeout_seconds / 2):  # the rest is the build's
                clean_up(spec.builder.project, spec.builder.zones)
        from cos_customizer.cli.run_build import ending, run_build

        run_build(spec, started, output_file, on_ended=lambda result: directory.remove(state, ending(result)))
    return 0


def specification(state: BuildState, values: dict[str, Any]) -> "BuildSpec":
    """The build's specification.

    Args:
        state: what the steps before have written down.
        values: this command's flags, by parameter name.

    Raises:
        UsageError: it is not complete, or something cannot be right.
    """
    from cos_customizer.customizer.spec.model import parse_spec

    given = spec_fields(FLAGS, values)
    output = given.setdefault("output", {})
    builder = given.setdefault("builder", {})
    if "project" in builder:
        output.setdefault("project", builder["project"])
    try:
        spec = parse_spec({**state.spec, **given})
        assert spec.source.name is not None  # start-image-build has found out
        spec.output.name_for(spec.source.name)
        for script in spec.verify.scripts:
            state.check_script("-verify-script", script.script)
        if spec.output.sbom_input_path is not None:
            state.check_script("-sbom-input-path", spec.output.sbom_input_path)
    except UsageError as error:
        raise UsageError(error.message, error.hint or see_help("finish-image-build")) from None
    return spec
