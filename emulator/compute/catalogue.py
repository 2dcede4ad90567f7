"""The images that the project cos-cloud offers: COS's own names and families, all of them one stand-in image."""

import hashlib

from cos_customizer.emulator.clock import from_rfc3339, rfc3339
from cos_customizer.emulator.compute.labels import fingerprint
from cos_customizer.emulator.compute.references import link, path_of_link
from cos_customizer.emulator.compute.statuses import ImageStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.projects import READ_ONLY_PROJECT

# Name, family, day of creation, deprecation state. Builds and families as Container-Optimized OS names them
# (https://cloud.google.com/container-optimized-os/docs/release-notes).
_IMAGES = (
    ("cos-stable-68-10718-76-0", "cos-stable", "2018-08-02", "OBSOLETE"),
    ("cos-stable-68-10718-86-0", "cos-stable", "2018-08-29", ""),
    ("cos-beta-69-10895-52-0", "cos-beta", "2018-09-10", ""),
    ("cos-stable-69-10895-62-0", "cos-stable", "2018-10-04", ""),
    ("cos-beta-69-10895-62-0", "cos-beta", "2018-10-04", ""),
    ("cos-69-10895-385-0", "cos-69-lts", "2019-11-11", "DEPRECATED"),
    ("cos-dev-72-11172-0-0", "cos-dev", "2018-10-20", ""),
    ("cos-beta-72-11316-94-0", "cos-beta", "2019-01-15", ""),
    ("cos-stable-72-11316-136-0", "cos-stable", "2019-02-28", ""),
    ("cos-117-18613-75-4", "cos-117-lts", "2024-11-05", ""),
    ("cos-117-18613-164-98", "cos-117-lts", "2025-03-18", ""),
    ("cos-121-18867-90-4", "cos-121-lts", "2025-05-28", ""),
    ("cos-121-18867-199-52", "cos-121-lts", "2025-09-09", ""),
    ("cos-stable-121-18867-199-52", "cos-stable", "2025-09-09", ""),
    ("cos-beta-125-19216-0-94", "cos-beta", "2025-09-30", ""),
    ("cos-125-19216-104-25", "cos-125-lts", "2025-10-21", ""),
    ("cos-stable-125-19216-104-25", "cos-stable", "2025-10-21", ""),
    ("cos-arm64-stable-125-19216-104-25", "cos-arm64-stable", "2025-10-21", ""),
    ("cos-125-19216-532-62", "cos-125-lts", "2026-01-27", ""),
    ("cos-arm64-125-19216-532-62", "cos-arm64-125-lts", "2026-01-27", ""),
    ("cos-dev-129-19506-0-0", "cos-dev", "2026-01-12", ""),
)
_FEATURES = ("VIRTIO_SCSI_MULTIQUEUE", "UEFI_COMPATIBLE", "GVNIC", "SEV_CAPABLE")


def _image(name: str, family: str, day: str, state: str) -> Resource:
    created = rfc3339(from_rfc3339(f"{day}T20:00:00+00:00"))
    path = f"projects/{READ_ONLY_PROJECT}/global/images/{name}"
    build = name.split("-")[-3:]
    milestone = name.split("-")[-4]
    labels = {"build_number": "-".join(build), "milestone": milestone, "stand-in": "true"}
    number = 10**18 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    image: Resource = {
        "kind": "compute#image",
        "id": str(number),
        "creationTimestamp": created,
        "name": name,
        "description": (
            f"Stand-in for Container-Optimized OS {name}: a small Linux with COS's partition layout and mounts, "
            "offered by the local Compute Engine. It is not COS."
        ),
        "family": family,
        "sourceType": "RAW",
        "rawDisk": {"source": "", "containerType": "TAR"},
        "status": ImageStatus.READY,
        "archiveSizeBytes": str(200 << 20),
        "diskSizeGb": "10",
        "licenses": [link(f"projects/{READ_ONLY_PROJECT}/global/licenses/cos")],
        "licenseCodes": ["6880041984096540132"],
        "guestOsFeatures": [{"type": feature} for feature in _FEATURES],
        "architecture": "ARM64" if "arm64" in name else "X86_64",
        "labels": labels,
        "labelFingerprint": fingerprint(labels),
        "storageLocations": ["us"],
        "selfLink": link(path),
    }
    if state:
        newest = max((other for other in _IMAGES if other[1] == family), key=lambda other: other[2])
        image["deprecated"] = {"state": state, "deprecated": created}
        if newest[0] != name:
            image["deprecated"]["replacement"] = link(f"projects/{READ_ONLY_PROJECT}/global/images/{newest[0]}")
    return image


def images() -> dict[str, Resource]:
    """Return the catalogue's images by path."""
    made = [_image(*entry) for entry in _IMAGES]
    return {path_of_link(image["selfLink"]): image for image in made}
