"""What an image tells of how it was made: kept in its description, because its labels are the user's.

The description is the one field of an image that is free text, is there from the moment the image is made, and can be
at most 2,048 characters long (https://cloud.google.com/compute/docs/reference/rest/v1/images).
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from urllib.parse import quote, unquote

from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.spec.model import BuildSpec

_LINE = re.compile(r"^cos-customizer: (.+)$", re.MULTILINE)
_SOURCE = re.compile(r"^(?:Derivative of )?(projects/[^/\s]+/global/images/[a-z0-9-]+)", re.MULTILINE)
_FIELDS = ("build", "source_id", "recipe")
_OPTIONAL = ("contents", "contents_sha256")
_OF_CONTENTS = re.compile(r"gs://([^/\s]+)/(\S+)")
LONGEST_DESCRIPTION = 2048
"""Characters of an image's description."""


@dataclass(frozen=True)
class Provenance:
    """Where an image comes from.

    Attributes:
        build: id of the build that made it.
        source_id: numeric id of the source image; another image of the same name has another.
        recipe: fingerprint of the recipe; see `fingerprint`.
        contents: where its contents are recorded, as `contents_url` writes it; empty if they are not.
        contents_sha256: digest of that object.
    """

    build: str
    source_id: str
    recipe: str
    contents: str = ""
    contents_sha256: str = ""

    @property
    def recorded_contents(self) -> ObjectRef | None:
        """The object in which its contents are recorded; None if they are not."""
        found = _OF_CONTENTS.fullmatch(self.contents)
        return ObjectRef(found[1], unquote(found[2])) if found else None

    def description(self, source_image: str, text: str | None = None) -> str:
        """The image's description: what the user says of it, what it was made of (as the original says it), our line.

        Args:
            source_image: `projects/{project}/global/images/{image}`.
            text: the user's.
        """
        fields = " ".join(f"{name}={value}" for name, value in asdict(self).items() if value)
        return "\n".join([*filter(None, [text]), f"Derivative of {source_image}.", f"cos-customizer: {fields}"])

    @classmethod
    def parse(cls, description: str) -> "Provenance | None":
        """Read an image's description; None if the image was not made by this tool."""
        *_, line = [None, *_LINE.findall(description)]  # the last one is ours, whatever the user has written
        if line is None:
            return None
        fields = dict(item.split("=", 1) for item in line.split() if "=" in item)
        if not all(fields.get(name) for name in _FIELDS):
            return None
        return cls(**{name: fields.get(name, "") for name in (*_FIELDS, *_OPTIONAL)})

    @staticmethod
    def source_in(description: str) -> str:
        """The source image that an image's description names, as a path; empty if it names none."""
        *_, path = ["", *_SOURCE.findall(description)]
        return str(path)


def contents_url(target: ObjectRef) -> str:
    """`gs://bucket/object` as one word: an object's name may have spaces in it.

    Args:
        target: the object.
    """
    return f"gs://{target.bucket}/{quote(target.name)}"


def fingerprint(spec: BuildSpec, source_id: str, context_sha256: str) -> str:
    """What sets an image apart from one that the same recipe made before: everything that can change its content.

    That is the source image, the build context, steps and their environment, metadata, sizes of disk and OEM, key,
    licences, labels, description, features, UEFI keys, storage location, and what the image is verified by. Where and
    how it is built (zone, machine, network, time limit), and what it is called, do not count.

    Args:
        spec: the build's specification.
        source_id: numeric id of the source image.
        context_sha256: digest of the build context's uncompressed tar stream.

    Returns:
        The first 32 hexadecimal digits of a SHA-256.
    """
    output = spec.output
    facts = {
        "source": source_id,
        "context": context_sha256,
        "steps": [step.model_dump(mode="json") for step in spec.steps],
        "verify": spec.verify.model_dump(mode="json", exclude={"keep_failed_image"}),
        "disk_size_gb": spec.builder.disk_size_gb,
        "kms_key": spec.builder.kms_key,
        "labels": output.labels,
        "inherit_labels": output.inherit_labels,
        "licenses": output.licenses,
        "storage_location": output.storage_location,
    }
    newer = {  # left out where they are not used, so that recipes that do without keep their fingerprints
        "oem_size": spec.builder.oem_size,
        "metadata": spec.builder.metadata,
        "description": output.description,
        "guest_os_features": output.guest_os_features,
        "uefi_keys": [(key.part, key.path) for key in output.uefi_keys],
    }
    facts |= {name: value for name, value in newer.items() if value}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
