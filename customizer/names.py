"""Names: what Compute Engine allows, how COS names its images, and what a build calls its own resources.

Sources: https://cloud.google.com/compute/docs/naming-resources,
https://cloud.google.com/compute/docs/labeling-resources#requirements,
https://cloud.google.com/container-optimized-os/docs/concepts/versioning.
"""

import re
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

BUILD_LABEL = "cos-customizer-build"
EXPIRY_LABEL = "cos-customizer-expires"
"""Labels of everything temporary: the build's id, and the Unix time after which `sweep` may delete it."""
STATE_LABEL = "cos-customizer-state"
"""Label of an image that is not to be used: `UNRELEASED` or `FAILED`. An image without it is what it seems."""
TEMPORARY_LABELS = (BUILD_LABEL, EXPIRY_LABEL, STATE_LABEL)
"""What an image that is to be verified bears beside the labels that were asked for."""
IMAGE_KEY = "cos-customizer-image"
"""Of an object's metadata: `project/name` of the image that it tells of, and as long as which it stays."""
UNRELEASED, FAILED = "unreleased", "failed"
"""An image before it is verified, which `sweep` deletes past its expiry; one that has failed and is kept by choice."""

COS_PROJECT = "cos-cloud"

RESOURCE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z0-9]([-a-z0-9]*[a-z0-9])?")
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_VERSION = re.compile(
    rf"projects/{PROJECT.pattern}/secrets/[A-Za-z0-9_-]{{1,255}}"
    r"/versions/([1-9][0-9]{0,18}|[A-Za-z][A-Za-z0-9_-]{0,62})"
)
"""What the whole of such a name matches, for checks and for schemas."""
_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+")
_REGIONAL_SECRET = re.compile(r"projects/[^/]+/locations/[^/]+/secrets/.+")
_COS_IMAGE = re.compile(
    r"cos-(?P<arm64>arm64-)?((?P<channel>stable|beta|dev|rc)-)?(?P<milestone>[0-9]+)(?P<build>(-[0-9]+){3})"
)
_CHANNEL_RANK = {None: 4, "stable": 3, "rc": 2, "beta": 1, "dev": 0}
_BUILD_ID = re.compile(r"[0-9a-f]{10}")
_NONCE_BYTES = 8
_NAMESPACE = uuid.UUID("6f7ad64a-6c1a-5d5e-9d7f-2c5a0e4c1c5b")


def check_resource_name(name: str) -> str:
    """Return `name` if Compute Engine takes it as a resource's name.

    Raises:
        ValueError: it does not; the message says why.
    """
    if not RESOURCE_NAME.fullmatch(name):
        other = re.search("[^-a-z0-9]", name)
        if not name:
            why = "it is empty"
        elif other:
            why = f"it has {other[0]!r}"
        elif len(name) > 63:
            why = f"it has {len(name)} characters"
        else:
            why = f"it {'ends with a hyphen' if name[0].isalpha() else f'starts with {name[0]!r}'}"
        raise ValueError(
            f"{name!r} is not a valid name: at most 63 lower-case letters, digits and hyphens, "
            f"starting with a letter and not ending with a hyphen ({why})"
        )
    return name


def check_project(project: str) -> str:
    """Return `project` if it can be the id of a project, be it of an organization's domain: `example.com:my-project`.

    Raises:
        ValueError: it cannot.
    """
    if not PROJECT.fullmatch(project):
        raise ValueError(f"{project!r} is not a project's id: lower-case letters, digits and hyphens")
    return project


def check_bucket(bucket: str) -> str:
    """Return `bucket` if Cloud Storage takes it as a bucket's name.

    Source: https://cloud.google.com/storage/docs/buckets#naming.

    Raises:
        ValueError: it does not.
    """
    if not BUCKET.fullmatch(bucket):
        raise ValueError(
            f"{bucket!r} is not a bucket's name (no gs://, no directory): 3 to 222 lower-case letters, digits, '-', "
            "'_' and '.', a letter or digit first and last"
        )
    return bucket


def bucket_and_object(url: str) -> tuple[str, str] | None:
    """The bucket and the object that a URL `gs://bucket/object` names; None for what does not begin with `gs://`.

    Raises:
        ValueError: it names no object.
    """
    if not url.startswith("gs://"):
        return None
    bucket, _, name = url.removeprefix("gs://").partition("/")
    check_bucket(bucket)
    if not name or name.endswith("/"):
        raise ValueError(f"{url!r} names no object: write gs://{bucket}/path/to/context.tar.gz")
    return bucket, name


def check_workdir(workdir: str) -> str:
    """Return `workdir` if objects of Cloud Storage can have names below it.

    Source: https://cloud.google.com/storage/docs/objects#naming.

    Raises:
        ValueError: they cannot.
    """
    if re.search("[\x00-\x1f\x7f]", workdir) or len(workdir.encode(errors="replace")) > 900:
        raise ValueError(f"{workdir!r} cannot be part of an object's name: at most 900 bytes, no control characters")
    return workdir


def check_label(key: str, value: str) -> None:
    """Check a label's key and value.

    Raises:
        ValueError: Compute Engine would refuse it; the message says why.
    """
    if not LABEL_KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} is not a valid label key: at most 63 lower-case letters, digits, '-' and '_', "
            "starting with a letter"
        )
    if not LABEL_VALUE.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a valid value of label {key!r}: at most 63 lower-case letters, digits, '-' and '_'"
        )


def check_environment_name(name: str) -> None:
    """Check the name of an environment variable.

    Raises:
        ValueError: no shell can hold a variable of this name.
    """
    if not ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a valid environment variable name: letters, digits and '_', not starting with a digit"
        )


def check_secret_version(name: str) -> None:
    """Check the name of a secret's version: its number, `latest`, or an alias.

    Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access.

    Raises:
        ValueError: Secret Manager has no such names. The message does not repeat it: it may be the secret itself.
    """
    if SECRET_VERSION.fullmatch(name):
        return
    if _SECRET.fullmatch(name):
        raise ValueError("names a secret and not which version of it: add /versions/latest, or a version's number")
    if _REGIONAL_SECRET.fullmatch(name):
        raise ValueError("names a regional secret, and the VM reads global ones only: projects/{project}/secrets/…")
    raise ValueError(
        "does not name a secret's version (it is not shown: it may be the secret itself): write "
        "projects/{project}/secrets/{secret}/versions/{version}, with a number, latest or an alias as version"
    )


def license_path(text: str) -> str:
    """Shorten a licence to the form `projects/{project}/global/licenses/{license}`.

    Args:
        text: that form, or a full URL of the Compute Engine API that ends in it.

    Raises:
        ValueError: it is neither.
    """
    path = re.sub(r"^https?://[^/]+/compute/[^/]+/", "", text)
    if not re.fullmatch(r"projects/[^/]+/global/licenses/[^/]+", path):
        raise ValueError(f"{text!r} is not a licence: write projects/{{project}}/global/licenses/{{license}}")
    return path


@dataclass(frozen=True, order=True)
class CosVersion:
    """What the name of a COS image says; compares by build number, then by how settled its channel is.

    Attributes:
        milestone: for example 125.
        build: for example (19216, 532, 62).
        rank: of its channel: a plain name before stable, rc, beta, dev.
        arm64: whether the name is that of an ARM image.
    """

    milestone: int
    build: tuple[int, ...]
    rank: int
    arm64: bool


def parse_cos_image_name(name: str) -> CosVersion | None:
    """Read names such as `cos-dev-72-11172-0-0`, `cos-125-19216-532-62` and `cos-arm64-stable-113-18244-85-29`.

    Returns:
        None for a name of another shape (a family's test image, say).
    """
    match = _COS_IMAGE.fullmatch(name)
    if match is None:
        return None
    build = tuple(int(number) for number in match["build"].strip("-").split("-"))
    return CosVersion(int(match["milestone"]), build, _CHANNEL_RANK[match["channel"]], match["arm64"] is not None)


def newest_on_milestone(names: Iterable[str], milestone: int) -> str | None:
    """The newest COS image on a milestone by build number; on a tie the plain name, then stable, rc, beta, dev.

    Args:
        names: candidate image names; those of another shape or milestone are passed over.
        milestone: for example 125.
    """
    versions = ((parse_cos_image_name(name), name) for name in names)
    on_milestone = [(version, name) for version, name in versions if version and version.milestone == milestone]
    return max(on_milestone)[1] if on_milestone else None


@dataclass(frozen=True)
class BuildNames:
    """The names of what a build makes for its own use, all worked out from its id; and what nobody can work out.

    Attributes:
        id: ten hexadecimal digits.
        nonce: tells our lines on the builder VM's serial console from a script's. Random: the id is the VM's host name,
            and nothing that a script can know may lead to it.
        test_nonce: as `nonce`, for the test VM: it does not follow from the builder VM's either.
    """

    id: str
    nonce: str = field(default_factory=lambda: secrets.token_hex(_NONCE_BYTES), compare=False, repr=False)
    test_nonce: str = field(default_factory=lambda: secrets.token_hex(_NONCE_BYTES), compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "BuildNames | None":
        """The names of the build with this id; None if it is no build's id."""
        return cls(text) if _BUILD_ID.fullmatch(text) else None

    @classmethod
    def of(cls, flow_run_id: str, run_count: int) -> "BuildNames":
        """The names of one attempt at a flow run.

        A hook that runs in another process knows the flow run and can work out what its build has made.

        Args:
            flow_run_id: Prefect's flow run id.
            run_count: 1 for the first attempt, one more for each retry.
        """
        return cls(uuid.uuid5(_NAMESPACE, f"{flow_run_id}/{run_count}").hex[:10])

    @property
    def builder_vm(self) -> str:
        """The builder VM and its boot disk."""
        return f"cos-customizer-{self.id}"

    @property
    def test_vm(self) -> str:
        """The VM that boots the output image before it is released, and its boot disk."""
        return f"cos-customizer-{self.id}-test"

    def scratch(self, workdir: str) -> str:
        """The prefix, ending in a slash, of the build's objects in Cloud Storage."""
        directory = workdir.strip("/")
        return f"{directory}/cos-customizer/{self.id}/" if directory else f"cos-customizer/{self.id}/"

    def context_archive(self, workdir: str) -> str:
        """The object in Cloud Storage that is the build context."""
        return self.scratch(workdir) + "context.tar.gz"

    def contents(self, workdir: str) -> str:
        """The object in Cloud Storage that tells what is in the build's image, and lives as long as that."""
        return self.scratch(workdir) + "contents.tar.gz"

    def difference(self, workdir: str) -> str:
        """The object in Cloud Storage that tells what has changed in the build's image."""
        return self.scratch(workdir) + "difference.json"

    def serial_log(self, workdir: str) -> str:
        """The object in Cloud Storage that has what the builder VM has said."""
        return self.scratch(workdir) + "serial.log"

    def labels(self, expires: float) -> dict[str, str]:
        """The labels of everything temporary.

        Args:
            expires: Unix time, in seconds, after which it may be deleted by anyone.
        """
        return {BUILD_LABEL: self.id, EXPIRY_LABEL: str(int(expires))}

    def request_id(self, operation: str, *where: str) -> str:
        """A UUID that makes a mutating call idempotent: the same call of the same build has the same id.

        Args:
            operation: for example `instances.insert`.
            where: what sets apart calls of one operation: zone, resource name.
        """
        return str(uuid.uuid5(_NAMESPACE, "/".join((self.id, operation, *where))))
