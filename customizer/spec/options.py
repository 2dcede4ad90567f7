"""What the fields of a specification mean, and their defaults: for models, flags and documents (no pydantic here).

Those of a kind of step stand with the checks of that kind.
"""

from cos_customizer.customizer import names
from cos_customizer.customizer.fields import FieldPath, Message, Option, by_path

BUILDER_PROJECT = FieldPath("builder.project")
GPU_TYPE, ZONES = FieldPath("builder.gpu_type"), FieldPath("builder.zones")
SOURCE_NAME, SOURCE_MILESTONE, SOURCE_FAMILY = map(FieldPath, ("source.name", "source.milestone", "source.family"))
OUTPUT_FAMILY, OUTPUT_SUFFIX = FieldPath("output.family"), FieldPath("output.suffix")
OUTPUT_NAME, ON_EXISTING = FieldPath("output.name"), FieldPath("output.on_existing")
SBOM_INPUT, SBOM_OUTPUT = FieldPath("output.sbom_input_path"), FieldPath("output.sbom_output_path")
ATTESTATION_KEY = FieldPath("output.attestation_key")
OUTPUT_LABELS, INHERIT_LABELS = FieldPath("output.labels"), FieldPath("output.inherit_labels")
ON_EXISTING_CHOICES = ("skip", "fail", "replace")
DEPRECATE_OLD_IMAGES = FieldPath("output.deprecate_old_images")
RECORD_CONTENTS = FieldPath("output.record_contents")
DISK_SIZE = FieldPath("builder.disk_size_gb")
OEM_SIZE = FieldPath("builder.oem_size")
VERIFY_SCRIPTS = FieldPath("verify.scripts")
VERIFY_CHANGES, REQUIRE_APPROVAL = FieldPath("verify.changes"), FieldPath("verify.require_approval")
CONFIDENTIAL_VM, SCOPES = FieldPath("builder.confidential_vm"), FieldPath("builder.scopes")
KEEP_ON_FAILURE = FieldPath("builder.keep_on_failure")
MACHINE_TYPE, SPOT = FieldPath("builder.machine_type"), FieldPath("builder.spot")

OPTIONS = by_path(
    Option("source.project", "Project of the source image, the image to customize.", required=True),
    Option(
        SOURCE_NAME.path,
        Message(
            "Name of the source image. One of {}, {} and {} must be given.",
            SOURCE_NAME,
            SOURCE_MILESTONE,
            SOURCE_FAMILY,
        ),
    ),
    Option(
        SOURCE_MILESTONE.path,
        Message(
            "COS milestone of the source image: the newest image on it by build number is taken. Only with {}.",
            FieldPath("source.project", names.COS_PROJECT),
        ),
    ),
    Option(SOURCE_FAMILY.path, "Family of the source image: its newest image that is not deprecated is taken."),
    Option(
        "source.architecture",
        Message("CPU architecture of the image that {} is to find.", SOURCE_MILESTONE),
        "X86_64",
    ),
    Option(
        "context.path",
        "A directory or file, or a gzipped tar archive of one: a file `*.tar.gz` or `*.tgz`, or an object in Cloud "
        "Storage (`gs://bucket/object`).",
        ".",
    ),
    Option("context.sha256", "Digest of the archive's uncompressed tar stream; checked if set."),
    Option(
        "scratch.bucket",
        "Cloud Storage bucket (no gs://) for scratch space: the build context and the serial log travel through it.",
        required=True,
    ),
    Option("scratch.workdir", "Directory in that bucket for scratch space. Builds may share it.", required=True),
    Option(BUILDER_PROJECT.path, "Project to build in: the builder VM lives there.", required=True),
    Option(
        ZONES.path,
        "Zones to build in: when one has no capacity for the builder VM, the next one is tried.",
        required=True,
    ),
    Option(
        MACHINE_TYPE.path,
        Message(
            "Machine type of the builder VM. By default n1-standard-1, or the smallest that holds the GPU of {} or "
            "runs as the Confidential VM of {}, or t2a-standard-1 for an arm64 image.",
            GPU_TYPE,
            CONFIDENTIAL_VM,
        ),
    ),
    Option(
        GPU_TYPE.path,
        "Accelerator to attach to the builder VM; its zone needs quota for it. By default that of install-gpu.",
    ),
    Option(
        "builder.disk_type",
        "Type of the builder VM's disk. By default the cheapest that machines of its family boot from: pd-standard, "
        "pd-balanced or hyperdisk-balanced.",
    ),
    Option(
        DISK_SIZE.path,
        "Size in GB of the builder VM's disk, and so of the output image. 0: the source image's size.",
        0,
    ),
    Option(
        OEM_SIZE.path,
        Message(
            "Size of the output image's OEM partition, 8 of Container-Optimized OS: a number with G, M, K or B (500M), "
            "or of sectors of 512 bytes; at least 16M, as it is. The room comes from a larger {}, and from the root "
            "file system that seal-oem and disable-auto-update make superfluous. With seal-oem it is the size of the "
            "file system, and the partition gets twice that.",
            DISK_SIZE,
        ),
    ),
    Option(
        "builder.network",
        "VPC network of the builder VM: a name, or projects/{project}/global/networks/{network}.",
        "default",
    ),
    Option(
        "builder.subnet",
        "Subnet of the builder VM: a name in the zone's region, or "
        "projects/{project}/regions/{region}/subnetworks/{subnet}.",
    ),
    Option(
        "builder.external_ip",
        "Give the builder VM an external address; without one, its subnet needs Private Google Access to reach Cloud "
        "Storage.",
        True,
    ),
    Option("builder.service_account", "E-mail address of the builder VM's service account.", "default"),
    Option(
        SCOPES.path,
        "OAuth scopes of that service account on the builder VM, as URLs or in short (cloud-platform, storage-ro). By "
        "default devstorage.read_write and cloud-platform. The VM must be able to read Cloud Storage.",
        list,
    ),
    Option(
        "builder.metadata",
        "Metadata of the builder VM beside the build's own, for scripts and agents on the VM. Everybody with access to "
        "the VM can read them.",
        dict,
    ),
    Option("builder.network_tags", "Network tags of the builder VM, for firewall rules.", list),
    Option("builder.labels", "Labels of the builder VM and its disk.", dict),
    Option(
        "builder.shielded_secure_boot",
        "Boot the builder VM with Secure Boot: only signed boot loaders, kernels and drivers.",
        False,
    ),
    Option("builder.shielded_vtpm", "Give the builder VM a virtual TPM.", True),
    Option(
        "builder.shielded_integrity_monitoring",
        "Monitor the integrity of the builder VM's boot. Needs the virtual TPM.",
        True,
    ),
    Option(
        CONFIDENTIAL_VM.path,
        "Run the builder VM as a Confidential VM, by AMD's SEV or SEV_SNP or by Intel's TDX. The source image must "
        "have been made for it.",
    ),
    Option(
        SPOT.path,
        "Take a spot VM, which costs less. Compute Engine may take it back at any time, and the build fails then.",
        False,
    ),
    Option(
        KEEP_ON_FAILURE.path,
        Message(
            "If the build fails on its builder VM, or runs out of time there, leave the VM and its disk to be looked "
            "at, for at least so many seconds, or a duration (2h, 1d). Compute Engine deletes both when {}, this time "
            "and five minutes are over. After a success, and when somebody interrupts the build, nothing is left.",
            FieldPath("timeout"),
        ),
        0,
    ),
    Option("builder.kms_key", "Cloud KMS key that encrypts the builder VM's disk and the output image."),
    Option("output.project", "Project of the output image.", required=True),
    Option(
        OUTPUT_NAME.path,
        Message(
            "Name of the output image. This or {} must be given. If it is there already, nothing is done; {} says "
            "otherwise.",
            OUTPUT_SUFFIX,
            ON_EXISTING,
        ),
    ),
    Option(
        ON_EXISTING.path,
        Message(
            "What to do if an image of another recipe has the name: skip: build nothing, warn, and succeed; fail: "
            "build nothing, and fail; replace: build an image named {}-DATE, and when it is ready deprecate the old "
            "one in favour of it. An image that this recipe has made is a success in any case.",
            OUTPUT_NAME,
        ),
        "skip",
    ),
    Option(OUTPUT_SUFFIX.path, "Name the output image after the source image, with this appended."),
    Option(OUTPUT_FAMILY.path, "Family of the output image."),
    Option(
        "output.description",
        "Description of the output image, before the lines that say what it was made of, and by which build.",
    ),
    Option(OUTPUT_LABELS.path, "Labels of the output image.", dict),
    Option(
        INHERIT_LABELS.path,
        Message(
            "Give the output image the source image's labels too, or those of them whose keys are given; those of {} "
            "win.",
            OUTPUT_LABELS,
        ),
        False,
    ),
    Option(
        "output.licenses",
        "Licences of the output image, each as projects/{project}/global/licenses/{license}.",
        list,
    ),
    Option(
        "output.storage_location",
        "Region or multi-region that keeps the output image. By default the multi-region that is nearest to the disk.",
    ),
    Option(
        "output.guest_os_features",
        "Features of the guest operating system that the output image is to have beside those of the source image, "
        "which Compute Engine hands on by itself.",
        list,
    ),
    Option(
        "output.uefi_platform_key",
        "The platform key (PK) that UEFI firmware of VMs of the output image begins with, instead of Google's: a "
        "certificate in DER form or raw data, a file of the build context.",
    ),
    Option(
        "output.uefi_key_exchange_keys",
        "The key exchange keys (KEK) of that firmware, likewise.",
        list,
    ),
    Option(
        "output.uefi_signature_database",
        "The certificates and signatures that may boot by Secure Boot (db), likewise.",
        list,
    ),
    Option(
        "output.uefi_forbidden_database",
        "The certificates and signatures that may not (dbx), likewise.",
        list,
    ),
    Option(
        RECORD_CONTENTS.path,
        Message(
            "Record what is in the source and in the output image (packages, containers, files, units, kernel line, "
            "partitions), in an object beside the serial log that lives as long as the image. A build that is told to "
            "fails if it cannot. By default, an image with {} is recorded if that succeeds, and no other.",
            OUTPUT_FAMILY,
        ),
    ),
    Option(
        DEPRECATE_OLD_IMAGES.path,
        Message(
            "Deprecate the other images of the output image's family that have no deprecation status. Needs {}.",
            OUTPUT_FAMILY,
        ),
        False,
    ),
    Option(
        "output.old_image_ttl",
        Message(
            "Time to live of the images that {} deprecates, in seconds or as a duration (30d, 1h30m): after it they "
            "count as deleted (Compute Engine itself deletes nothing). 0: no such date is set.",
            DEPRECATE_OLD_IMAGES,
        ),
        0,
    ),
    Option(
        SBOM_INPUT.path,
        Message(
            "A file of the build context, in JSON, that says what the output image's bill of materials is to name: "
            "creators, supplier, packages, and bills of others. Needs {}.",
            SBOM_OUTPUT,
        ),
    ),
    Option(
        SBOM_OUTPUT.path,
        Message(
            "Directory in Cloud Storage (`gs://bucket/directory`) for that bill of materials, in SPDX 2.2. Needs {}.",
            SBOM_INPUT,
        ),
    ),
    Option(
        ATTESTATION_KEY.path,
        Message(
            "Version of a Cloud KMS key that signs the output image's provenance, by its whole name. A build with it "
            "records the image's contents ({}), or fails.",
            RECORD_CONTENTS,
        ),
    ),
    Option(
        "verify.boot",
        Message("Before the image is released, see whether a test VM boots from it; {} implies it.", VERIFY_SCRIPTS),
        False,
    ),
    Option(
        VERIFY_SCRIPTS.path,
        "Before the image is released, boot a test VM from it and run these scripts of the build context there, in "
        "order. Only if all succeed does the image get its family, and are old images deprecated.",
        list,
    ),
    Option(
        "verify.keep_failed_image",
        "Keep an image that fails its verification, in no family and labelled cos-customizer-state=failed, to look at "
        "it. Otherwise it is deleted.",
        False,
    ),
    Option(
        VERIFY_CHANGES.path,
        Message(
            "Release the image only if nothing has changed but what these patterns name. It is compared with the "
            "image that its family gives; the first one of a family, and one without a family, with its source image: "
            "then what the build itself has done is judged. Anything else that has changed is a failed verification. "
            "Needs recorded contents: {}.",
            RECORD_CONTENTS,
        ),
    ),
    Option(
        "verify.changes.paths",
        "Patterns of paths of files. `*` stands for characters within a directory, `**` for any; `/var/lib/app/**` is "
        "the directory and all below it.",
        list,
    ),
    Option("verify.changes.packages", "Patterns of packages' names: `net-misc/curl`, `python3*`, `*`.", list),
    Option(
        "verify.changes.containers",
        "Patterns of container images' references, with their tags: `us-docker.pkg.dev/my-project/app/*`.",
        list,
    ),
    Option("verify.changes.units", "Patterns of names of systemd's units: `app-*.service`.", list),
    Option(
        "verify.changes.kernel_arguments",
        "Patterns of names of kernel arguments, without what follows the equals sign: `console`.",
        list,
    ),
    Option("verify.changes.partitions", "Patterns of partitions' labels: `OEM`, `STATE`.", list),
    Option("verify.changes.verity", "Patterns of names of devices under dm-verity: `vroot`, `oemroot`.", list),
    Option(
        "verify.changes.modules",
        "Patterns of names of kernel modules that are no part of the system: `nvidia`.",
        list,
    ),
    Option("verify.changes.system", "Patterns of names of variables in /etc/os-release: `VERSION*`.", list),
    Option(
        REQUIRE_APPROVAL.path,
        "Release the image only after a person has looked at what has changed: the run pauses in Prefect until "
        "somebody resumes it there, and says whether the image may be released. No VM runs meanwhile. Needs a Prefect "
        "server.",
        False,
    ),
    Option(
        "verify.approval_timeout",
        Message(
            "How long to wait for that, in seconds or as a duration (30d, 1h30m); it does not count against {}. An "
            "image that nobody has approved by then has failed its verification.",
            FieldPath("timeout"),
        ),
        24 * 3600,
    ),
    Option(
        "timeout",
        "Time limit of the build as a Go duration (1h30m, 90s). What the build has made is removed within it. Stay "
        "below the time limit of whatever runs the build (Cloud Build's timeout).",
        "1h0m0s",
    ),
    Option(
        "cloud_logging",
        Message(
            "Send the build's events and the lines of its serial console to Cloud Logging too: log cos-customizer in "
            "the project of {}. It cannot fail a build.",
            BUILDER_PROJECT,
        ),
        False,
    ),
)
