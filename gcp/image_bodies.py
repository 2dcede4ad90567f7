"""The request bodies that make and change the output image, as pure functions, in the API's own JSON form.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/images/insert,
https://cloud.google.com/compute/docs/reference/rest/v1/images/deprecate.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.names import STATE_LABEL, TEMPORARY_LABELS, UNRELEASED, BuildNames
from cos_customizer.customizer.references import VmRef
from cos_customizer.customizer.spec.model import BuildSpec, OutputImage
from cos_customizer.customizer.spec.options import INHERIT_LABELS
from cos_customizer.customizer.spec.values import MOST_LABELS
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.request_bodies import expiry


def labels_of(output: OutputImage, source_labels: Mapping[str, str]) -> dict[str, str]:
    """The output image's labels: the ones asked for, over the source image's where they are inherited.

    Not inherited is what a source image that was not released says of that.

    Args:
        output: the output image's specification.
        source_labels: the source image's labels.

    Raises:
        UsageError: together they are more than an image can have.
    """
    wanted = output.inherit_labels
    inherited = {
        key: value
        for key, value in source_labels.items()
        if key not in TEMPORARY_LABELS and (wanted is True or (wanted and key in wanted))
    }
    labels = {**inherited, **output.labels}
    if len(labels) > MOST_LABELS:
        raise UsageError(
            Message(
                "{}: with the source image's, the output image would have {} labels; it can have at most {}",
                INHERIT_LABELS,
                len(labels),
                MOST_LABELS,
            )
        )
    return labels


def image(
    spec: BuildSpec,
    provenance: Provenance,
    vm: VmRef,
    source: ResolvedImage,
    name: str,
    now: float,
    initial_state: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of `images.insert` for the output image.

    It gets no family yet, and labels that say so: until it is released, it is not there for others, whatever becomes
    of the build.

    Args:
        spec: the build's specification.
        provenance: where the image comes from; names the build.
        vm: whose disk it is made of.
        source: the source image; its labels are used when they are inherited.
        name: of the output image.
        now: Unix time.
        initial_state: what firmware begins with; see `customizer.spec.uefi_keys`.

    Raises:
        UsageError: see `labels_of`.
    """
    output, build = spec.output, BuildNames(provenance.build)
    body: dict[str, Any] = {
        "name": name,
        "description": provenance.description(source.path, output.description),
        "sourceDisk": f"projects/{vm.project}/zones/{vm.zone}/disks/{vm.name}",
    }
    labels = labels_of(output, source.labels)
    labels |= {STATE_LABEL: UNRELEASED, **build.labels(expiry(spec.longest_seconds, now))}
    if len(labels) > MOST_LABELS:
        raise UsageError(
            Message("{}: until it is released, the image would have {} labels", INHERIT_LABELS, len(labels))
        )
    body["labels"] = labels
    if output.licenses:
        body["licenses"] = list(output.licenses)
    if output.storage_location:
        body["storageLocations"] = [output.storage_location]
    if output.guest_os_features:
        body["guestOsFeatures"] = [{"type": feature} for feature in output.guest_os_features]
    if initial_state:
        body["shieldedInstanceInitialState"] = dict(initial_state)
    if spec.builder.kms_key:
        body["imageEncryptionKey"] = {"kmsKeyName": spec.builder.kms_key}
    return body


def deprecation(replacement: str, ttl: int, now: float) -> dict[str, Any]:
    """The body of `images.deprecate` for an image that another one replaces.

    Compute Engine never acts on the date; it informs people and `expire-images`.

    Args:
        replacement: `projects/{project}/global/images/{image}` of the new image.
        ttl: seconds from now after which the old one counts as deleted; 0: never.
        now: Unix time.
    """
    body: dict[str, Any] = {"state": "DEPRECATED", "replacement": replacement}
    if ttl:
        body["deleted"] = datetime.fromtimestamp(round(now) + ttl, UTC).isoformat()
    return body
