"""How long many deletions take against an engine that is slow and takes only so many calls a minute."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from benchmarks.bench import PROGRAM, PROJECT, Cloud, Figure, request
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.names import BUILD_LABEL, EXPIRY_LABEL, STATE_LABEL, UNRELEASED

_LATENCY = 0.2
_CALLS_A_MINUTE = 1500
_GROUPS = ("global_resource_write_requests", "list_requests", "read_requests", "heavy_weight_read_requests", "default")
_LIMIT = 500 / 900
"""What an image may take, in calls of one after the other: 100 s for 900 images, where a call takes 0.2 s."""


def measure(cloud: Cloud, images: int) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
        images: how many are deleted.
    """
    expired = {
        "family": "old",
        "deprecated": {"state": "DEPRECATED", "deleted": (datetime.now(UTC) - timedelta(days=1)).isoformat()},
    }
    labels = {BUILD_LABEL: "dddddddddd", EXPIRY_LABEL: str(int(time.time()) - 60), STATE_LABEL: UNRELEASED}
    commands: Mapping[str, tuple[Mapping[str, object], tuple[str, ...]]] = {
        "expire-images": (expired, ("-image-family=old", "-keep-last=0")),
        "sweep": ({"labels": labels}, ()),
    }
    for command, (fields, flags) in commands.items():
        _make(cloud, command, images, fields)
        for group in _GROUPS:
            cloud.ask("POST", "quotas", {"metric": f"compute.googleapis.com/{group}", "limit": _CALLS_A_MINUTE})
        cloud.ask("POST", "faults", {"kind": "delay", "path": "/compute/", "seconds": _LATENCY, "count": 0})
        cloud.ask("DELETE", "calls")
        try:
            ran = cloud.run(PROGRAM, command, f"-project={PROJECT}", "-dry-run=false", *flags)
        finally:
            cloud.ask("DELETE", "faults")
            for group in _GROUPS:
                cloud.ask("POST", "quotas", {"metric": f"compute.googleapis.com/{group}", "limit": -1})
        calls = cloud.ask("GET", "calls?service=compute")
        deleted = calls["counts"].get("compute DELETE", 0)
        assert deleted >= images, f"{deleted} of {images}"
        what = f"{command}, {images} images, calls of {_LATENCY:g} s"
        yield Figure(what, ran.seconds, None, "s")
        yield Figure(f"{what}, in calls", ran.seconds / _LATENCY, _LIMIT * images, "")
        yield Figure(f"{what}, calls for each", calls["count"] / images, 2.5, "")


def _make(cloud: Cloud, prefix: str, images: int, fields: Mapping[str, object]) -> None:
    where = f"{cloud.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE']}projects/{PROJECT}/global"
    source = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
    ours = Provenance("dddddddddd", "42", "f" * 32).description(source)
    operation = {}
    for number in range(images):
        body = {"name": f"{prefix}-{number}", "sourceImage": source, "description": ours, **fields}
        operation = request("POST", f"{where}/images", body)
    while request("GET", f"{where}/operations/{operation['name']}")["status"] != "DONE":
        time.sleep(0.1)
