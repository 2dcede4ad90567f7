"""Which field of the specification sets what Compute Engine complains about: it knows its own names alone.

Sources of the names: https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert and
https://cloud.google.com/compute/docs/reference/rest/v1/images/insert.
"""

import re
from collections.abc import Mapping

from cos_customizer.customizer.fields import FieldPath, Message

_BY_PART: Mapping[str, FieldPath] = {
    "zone": FieldPath("builder.zones"),
    "machineType": FieldPath("builder.machine_type"),
    "diskType": FieldPath("builder.disk_type"),
    "initializeParams.type": FieldPath("builder.disk_type"),
    "diskSizeGb": FieldPath("builder.disk_size_gb"),
    "guestAccelerators": FieldPath("builder.gpu_type"),
    "acceleratorType": FieldPath("builder.gpu_type"),
    "subnetwork": FieldPath("builder.subnet"),
    "network": FieldPath("builder.network"),
    "accessConfigs": FieldPath("builder.external_ip"),
    "serviceAccounts": FieldPath("builder.service_account"),
    "tags": FieldPath("builder.network_tags"),
    "diskEncryptionKey": FieldPath("builder.kms_key"),
    "imageEncryptionKey": FieldPath("builder.kms_key"),
    "kmsKeyName": FieldPath("builder.kms_key"),
    "storageLocations": FieldPath("output.storage_location"),
    "licenses": FieldPath("output.licenses"),
    "family": FieldPath("output.family"),
}
"""Parts of the names of fields in requests; the first that a name has counts."""
_BY_COLLECTION: Mapping[str, FieldPath] = {
    "zones": FieldPath("builder.zones"),
    "machineTypes": FieldPath("builder.machine_type"),
    "diskTypes": FieldPath("builder.disk_type"),
    "acceleratorTypes": FieldPath("builder.gpu_type"),
    "networks": FieldPath("builder.network"),
    "subnetworks": FieldPath("builder.subnet"),
    "cryptoKeys": FieldPath("builder.kms_key"),
    "licenses": FieldPath("output.licenses"),
}
"""Collections of what a request refers to."""
_FIELD = re.compile(r"[Ii]nvalid value for field '([^']+)'")
_MISSING = re.compile(r"'projects/[^']*/(\w+)/[^/']+' was not found")


def hint_for(text: str) -> str:
    """Name the field that sets what an error complains about; empty if none is known.

    Args:
        text: the API's words: `Invalid value for field 'resource.machineType': …`.
    """
    if found := _FIELD.search(text):
        parts = re.split(r"[.\[]", found[1])
        field = next((field for part, field in _BY_PART.items() if _has(found[1], parts, part)), None)
    elif found := _MISSING.search(text):
        field = _BY_COLLECTION.get(found[1])
    else:
        field = None
    return Message("{} sets it.", FieldPath(field.path)) if field else ""


def _has(name: str, parts: list[str], part: str) -> bool:
    return part in name if "." in part else part in parts
