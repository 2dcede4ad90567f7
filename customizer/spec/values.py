"""The values of a specification's fields: how each is checked, and what a schema says of it."""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from cos_customizer.customizer import names
from cos_customizer.customizer.durations import check_time_limit, format_duration, parse_duration, parse_seconds
from cos_customizer.customizer.spec import instance_metadata
from cos_customizer.customizer.spec.disk_layout import SIZE, size_in_bytes
from cos_customizer.customizer.spec.instance_metadata import check_metadata
from cos_customizer.customizer.spec.scopes import check_scopes
from cos_customizer.customizer.spec.script_checks import (
    check_environment_secrets,
    check_environment_size,
    normalize_file,
)
from cos_customizer.customizer.spelling import did_you_mean

MOST_LABELS = 64
"""Source: https://cloud.google.com/compute/docs/labeling-resources#requirements."""
_LONGEST_TIMEOUT = 120 * 24 * 3600
"""Seconds: maxRunDuration is no longer. Source: https://cloud.google.com/compute/docs/instances/limit-vm-runtime."""
_SWITCH = TypeAdapter(bool)
_LOCATION = re.compile(r"[^\s,]+")
_LONGEST_DESCRIPTION = 1700
"""Characters. A description can have 2,048 of them, of which `Provenance` takes some 300 at most."""

GUEST_OS_FEATURES = (
    "BARE_METAL_LINUX_COMPATIBLE",
    "BMSAI_CAPABLE",
    "CCA_CAPABLE",
    "GVNIC",
    "IDPF",
    "MULTI_IP_SUBNET",
    "SECURE_BOOT",
    "SEV_CAPABLE",
    "SEV_LIVE_MIGRATABLE",
    "SEV_LIVE_MIGRATABLE_V2",
    "SEV_SNP_CAPABLE",
    "SNP_SVSM_CAPABLE",
    "SUSPEND_RESUME_COMPATIBLE",
    "SUSPEND_SAFE_FPR",
    "TDX_CAPABLE",
    "UEFI_COMPATIBLE",
    "VIRTIO_SCSI_MULTIQUEUE",
    "WINDOWS",
)
"""Checked here, because Compute Engine would refuse an unknown one only when the image is made, after all the work.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/images, `guestOsFeatures[].type`.
"""

_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+(/cryptoKeyVersions/[0-9]+)?")
"""Source: https://cloud.google.com/kms/docs/resource-hierarchy#retrieve_resource_id."""

SIGNING_KEY = re.compile(
    r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+/cryptoKeyVersions/[1-9][0-9]*"
)
"""The version of a Cloud KMS key, as the API names it."""
_STORAGE_DIRECTORY = re.compile(r"gs://[^/]+(/.*)?")

_TERMS = r"(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))"
_GO_DURATION = re.compile(rf"[-+]?{_TERMS}+")
_SECONDS = re.compile(rf"[0-9]+|[0-9]+d{_TERMS}*|{_TERMS}+")


def _spelled(pattern: re.Pattern[str]) -> WithJsonSchema:
    """What a schema says of texts that match a pattern as a whole; the check itself has better words."""
    return WithJsonSchema(_text_schema(pattern))


def _text_schema(pattern: re.Pattern[str]) -> dict[str, Any]:
    """The schema of such texts."""
    return {"type": "string", "pattern": f"^({pattern.pattern})$"}


def _mapping(key: re.Pattern[str], value: dict[str, Any], **rules: Any) -> WithJsonSchema:
    """What a schema says of mappings from texts that match a pattern to values of a schema."""
    return WithJsonSchema(
        {"type": "object", "propertyNames": _text_schema(key), "additionalProperties": value, **rules}
    )


def _check_environment(env: dict[str, str]) -> dict[str, str]:
    for name in env:
        names.check_environment_name(name)
    check_environment_size(env)
    return env


def _check_environment_secrets(env_secrets: dict[str, str]) -> dict[str, str]:
    check_environment_secrets(env_secrets)
    return env_secrets


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        names.check_label(key, value)
    if len(labels) > MOST_LABELS:
        raise ValueError(f"a resource can have at most {MOST_LABELS} labels, not {len(labels)}")
    return labels


def _leave_room_for_ours(labels: dict[str, str]) -> dict[str, str]:
    most = MOST_LABELS - len({names.BUILD_LABEL, names.EXPIRY_LABEL} - labels.keys())
    if len(labels) > most:
        raise ValueError(f"a builder VM can have at most {most} labels beside the build's own, not {len(labels)}")
    return labels


def _refuse_ours(labels: dict[str, str]) -> dict[str, str]:
    for key in names.TEMPORARY_LABELS:
        if key in labels:
            raise ValueError(
                f"{key!r} is cos-customizer's own: with it, an image may be taken for one to be swept away"
            )
    return labels


def _check_path_pattern(pattern: str) -> str:
    if not pattern.startswith("/"):
        raise ValueError(f"{pattern!r} is no pattern of paths: it begins with a slash, as in /var/lib/app/**")
    return pattern


def _each_once(zones: list[str]) -> list[str]:
    return list(dict.fromkeys(zones))


def _check_kms_key(key: str) -> str:
    if not _KMS_KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} is not a key's name: "
            "write projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}"
        )
    return key


def _check_signing_key(key: str) -> str:
    if not SIGNING_KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} is not the version of a key: write projects/{{project}}/locations/{{location}}/keyRings/{{ring}}/"
            "cryptoKeys/{key}/cryptoKeyVersions/{number}"
        )
    return key


def _check_storage_directory(url: str) -> str:
    if not url.startswith("gs://"):
        raise ValueError(f"{url!r} is not in Cloud Storage: write gs://{{bucket}}/{{directory}}")
    bucket, _, directory = url.removeprefix("gs://").rstrip("/").partition("/")
    names.check_bucket(bucket)
    names.check_workdir(directory)
    return f"gs://{bucket}/{directory}".rstrip("/")


def _check_service_account(email: str) -> str:
    if email != "default" and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise ValueError(
            f"{email!r} is not the e-mail address of a service account: name@project.iam.gserviceaccount.com"
        )
    return email


def _shorten_licenses(licenses: list[str]) -> list[str]:
    return [names.license_path(text) for text in licenses if text]


def _check_timeout(text: str) -> str:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"a build needs some time; {text!r} is none")
    if seconds > _LONGEST_TIMEOUT:
        raise ValueError(f"{text!r} is longer than Compute Engine lets a builder VM run: 120 days (2880h)")
    return format_duration(seconds)


def _number_as_text(value: Any) -> Any:
    """A number of YAML as it would be written in quotes; what is none is left for others to refuse."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _seconds_of(value: Any) -> Any:
    """A duration as a number of seconds; what is none is left for others to refuse."""
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9_]+", value):
        return parse_seconds(value)
    return value


def _check_oem_size(text: str) -> str:
    size_in_bytes(text)
    return text


def _check_features(features: list[str]) -> list[str]:
    for feature in features:
        if feature not in GUEST_OS_FEATURES:
            hint = did_you_mean(feature.upper(), GUEST_OS_FEATURES)
            raise ValueError(f"there is no guest OS feature {feature!r}: {hint or ', '.join(GUEST_OS_FEATURES)}")
    return list(dict.fromkeys(features))


def _check_inherited(given: Any) -> bool | list[str]:
    if not isinstance(given, list):
        try:
            return _SWITCH.validate_python(given)  # of a recipe it is a text
        except ValidationError:
            raise ValueError("it must be true, false, or a list of keys of labels") from None
    for key in given:
        if not isinstance(key, str):
            raise ValueError(f"{key!r} is not a key of a label")
        names.check_label(key, "")
    return list(dict.fromkeys(given))


def _check_location(location: str) -> str:
    if not _LOCATION.fullmatch(location):
        raise ValueError(f"{location!r} is more than one: Compute Engine keeps an image in one region or multi-region")
    return location


def _check_context_path(path: str) -> str:
    names.bucket_and_object(path)
    return path


NonEmpty = Annotated[str, StringConstraints(min_length=1)]
PathPattern = Annotated[str, AfterValidator(_check_path_pattern), WithJsonSchema({"type": "string", "pattern": "^/"})]
ResourceName = Annotated[str, AfterValidator(names.check_resource_name), _spelled(names.RESOURCE_NAME)]
Labels = Annotated[
    dict[str, str],
    AfterValidator(_check_labels),
    _mapping(names.LABEL_KEY, _text_schema(names.LABEL_VALUE), maxProperties=MOST_LABELS),
]
BuilderLabels = Annotated[Labels, AfterValidator(_leave_room_for_ours)]
ImageLabels = Annotated[Labels, AfterValidator(_refuse_ours)]
Project = Annotated[str, AfterValidator(names.check_project), _spelled(names.PROJECT)]
Environment = Annotated[
    dict[str, str],
    AfterValidator(_check_environment),
    _mapping(names.ENVIRONMENT_NAME, {"type": "string"}),
]
EnvironmentSecrets = Annotated[
    dict[str, str],
    AfterValidator(_check_environment_secrets),
    _mapping(names.ENVIRONMENT_NAME, _text_schema(names.SECRET_VERSION)),
]
Bucket = Annotated[str, AfterValidator(names.check_bucket), _spelled(names.BUCKET)]
Workdir = Annotated[NonEmpty, AfterValidator(names.check_workdir)]
ContextPath = Annotated[NonEmpty, AfterValidator(_check_context_path)]
Zones = Annotated[list[ResourceName], AfterValidator(_each_once)]
ServiceAccount = Annotated[NonEmpty, AfterValidator(_check_service_account)]
KmsKey = Annotated[str, AfterValidator(_check_kms_key), _spelled(_KMS_KEY)]
SigningKey = Annotated[str, AfterValidator(_check_signing_key), _spelled(SIGNING_KEY)]
StorageDirectory = Annotated[str, AfterValidator(_check_storage_directory), _spelled(_STORAGE_DIRECTORY)]
OemSize = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_check_oem_size), _spelled(SIZE)]
Licenses = Annotated[list[str], AfterValidator(_shorten_licenses)]
Scopes = Annotated[list[str], AfterValidator(check_scopes)]
InstanceMetadata = Annotated[
    dict[str, str], AfterValidator(check_metadata), _mapping(instance_metadata.KEY, {"type": "string"})
]
GuestOsFeatures = Annotated[
    list[str],
    AfterValidator(_check_features),
    WithJsonSchema({"type": "array", "items": {"enum": list(GUEST_OS_FEATURES)}}),
]
InheritedLabels = Annotated[
    bool | list[str],
    PlainValidator(_check_inherited),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "array", "items": _text_schema(names.LABEL_KEY)}]}),
]
ContextFile = Annotated[str, AfterValidator(normalize_file)]
StorageLocation = Annotated[NonEmpty, AfterValidator(_check_location), _spelled(_LOCATION)]
Description = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_DESCRIPTION, strip_whitespace=True)]
Timeout = Annotated[str, BeforeValidator(str), AfterValidator(_check_timeout), _spelled(_GO_DURATION)]
PositiveDuration = Annotated[str, BeforeValidator(str), AfterValidator(check_time_limit)]
Seconds = Annotated[int, BeforeValidator(_seconds_of)]
SECONDS_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 0}, _text_schema(_SECONDS)]}
"""What a recipe may say where a number of seconds is wanted."""
