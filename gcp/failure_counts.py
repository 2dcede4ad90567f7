"""How often a recipe has failed in a row: an object in its scratch bucket, which every machine and every night finds.

A Prefect server of a command's own goes with it, and the history of another one is cleared some time. The bucket is
there wherever the recipe is built. Only a recipe that fails has an
object, until it succeeds.
"""

import io
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.gcp import calls, scratch
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.side_by_side import side_by_side

_PREFIX = "cos-customizer/failures/"
_KEPT = 90 * 86400.0
"""Seconds after which a bucket's lifecycle rule may delete the object of a recipe that is built no more."""
_BUCKETS_AT_ONCE = 8


@dataclass(frozen=True)
class FailureCount:
    """Failures of one recipe, one after the other.

    Attributes:
        recipe: fingerprint of what was built; of another one nothing is known.
        count: how many.
    """

    recipe: str
    count: int


def place_of(spec: BuildSpec) -> ObjectRef:
    """The object that counts the failures of a recipe.

    Args:
        spec: of the recipe, which has an output family.
    """
    return ObjectRef(spec.scratch.bucket, f"{_PREFIX}{spec.output.project}/{spec.output.family}.json")


def read(clients: Clients, buckets: Collection[str]) -> dict[str, dict[str, FailureCount] | CustomizerError]:
    """All counts that there are in some buckets, a thousand for a call.

    Args:
        clients: Google's clients.
        buckets: names.

    Returns:
        By bucket, the counts by the object's name, or why they cannot be read.
    """
    return side_by_side(partial(_read, clients), buckets, _BUCKETS_AT_ONCE)


def _read(clients: Clients, bucket: str) -> dict[str, FailureCount]:
    counts = {}
    try:
        for blob in clients.storage.list_blobs(bucket, prefix=_PREFIX, **calls.patience()):
            known = blob.metadata or {}
            if str(known.get("count", "")).isdecimal():
                counts[str(blob.name)] = FailureCount(known.get("recipe", ""), int(known["count"]))
    except Exception as error:
        raise calls.translated(error, f"list the failures that gs://{bucket}/{_PREFIX} counts") from error
    return counts


def write(clients: Clients, spec: BuildSpec, count: FailureCount, why: str) -> None:
    """Keep a count.

    Args:
        clients: Google's clients.
        spec: of the recipe.
        count: to keep.
        why: what the last failure was, for people who look into the bucket.

    Raises:
        CustomizerError: it cannot be stored.
    """
    metadata = {"recipe": count.recipe, "count": str(count.count)}
    text = json.dumps({**metadata, "why": why}, ensure_ascii=False, indent=1)
    scratch.upload(clients, place_of(spec), io.BytesIO(text.encode()), metadata, time.time() + _KEPT)


def clear(clients: Clients, spec: BuildSpec) -> None:
    """Forget the failures of a recipe.

    Args:
        clients: Google's clients.
        spec: of the recipe.

    Raises:
        CustomizerError: they cannot be deleted.
    """
    for removal in scratch.delete(clients, place_of(spec)):
        if removal.action == "failed":
            raise CustomizerError(removal.reason)
