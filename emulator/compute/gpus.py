"""GPUs: the types there are, which zones have them, which machines hold them."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """An accelerator type.

    Attributes:
        description: its name for people.
        family: the machine family that can hold it.
        counts: how many of them one machine may have.
        metric: the quota that it uses up in its region; empty if it has none of its own.
        places: regions and the letters of their zones that have it.
    """

    description: str
    family: str
    counts: tuple[int, ...]
    metric: str
    places: str

    def zones(self) -> Iterator[str]:
        """The zones that have it."""
        for place in self.places.split():
            region, letters = place.split(":")
            yield from (f"{region}-{letter}" for letter in letters)


GPUS = {
    "nvidia-tesla-p4": Gpu(
        "NVIDIA Tesla P4",
        "n1",
        (1, 2, 4),
        "NVIDIA_P4_GPUS",
        "asia-southeast1:bc australia-southeast1:ab europe-west4:bc northamerica-northeast1:abc us-central1:ac "
        "us-east4:abc us-west2:bc",
    ),
    "nvidia-tesla-p100": Gpu(
        "NVIDIA Tesla P100",
        "n1",
        (1, 2, 4),
        "NVIDIA_P100_GPUS",
        "asia-east1:ac australia-southeast1:c europe-west1:bd europe-west4:a us-central1:cf us-east1:bc us-west1:ab",
    ),
    "nvidia-tesla-v100": Gpu(
        "NVIDIA V100",
        "n1",
        (1, 2, 4, 8),
        "NVIDIA_V100_GPUS",
        "asia-east1:c europe-west4:abc us-central1:abcf us-east1:c us-west1:ab",
    ),
    "nvidia-tesla-t4": Gpu(
        "NVIDIA T4",
        "n1",
        (1, 2, 4),
        "NVIDIA_T4_GPUS",
        "asia-east1:ac asia-east2:ac asia-northeast1:ac asia-northeast3:bc asia-south1:ab asia-southeast1:abc "
        "asia-southeast2:ab australia-southeast1:ac europe-central2:bc europe-west1:bcd europe-west2:ab europe-west3:b "
        "europe-west4:abc me-west1:bc northamerica-northeast1:c southamerica-east1:ac us-central1:abcf us-east1:cd "
        "us-east4:abc us-west1:ab us-west2:bc us-west3:b us-west4:ab",
    ),
    "nvidia-l4": Gpu(
        "NVIDIA L4",
        "g2",
        (1, 2, 4, 8),
        "NVIDIA_L4_GPUS",
        "asia-east1:abc asia-northeast1:abc asia-northeast3:ab asia-south1:abc asia-southeast1:abc europe-west1:bc "
        "europe-west2:ab europe-west3:ab europe-west4:abc europe-west6:bc northamerica-northeast2:ab us-central1:abc "
        "us-east1:bcd us-east4:ac us-west1:abc us-west4:ac",
    ),
    "nvidia-tesla-a100": Gpu(
        "NVIDIA A100 40GB",
        "a2",
        (1, 2, 4, 8, 16),
        "NVIDIA_A100_GPUS",
        "asia-northeast1:ac asia-northeast3:b asia-southeast1:bc europe-west4:ab me-west1:bc us-central1:abcf "
        "us-east1:b us-west1:b us-west3:b us-west4:b",
    ),
    "nvidia-a100-80gb": Gpu(
        "NVIDIA A100 80GB",
        "a2",
        (1, 2, 4, 8),
        "NVIDIA_A100_80GB_GPUS",
        "asia-southeast1:c europe-west4:a us-central1:ac us-east4:c us-east5:b",
    ),
    "nvidia-h100-80gb": Gpu(
        "NVIDIA H100 80GB",
        "a3",
        (1, 2, 4, 8),
        "",
        "asia-northeast1:b asia-southeast1:bc europe-west1:bc europe-west4:bc us-central1:ac us-east4:ab us-east5:a "
        "us-west1:ab us-west4:a",
    ),
    "nvidia-h100-mega-80gb": Gpu(
        "NVIDIA H100 80GB MEGA",
        "a3",
        (8,),
        "",
        "asia-northeast1:b asia-southeast1:bc australia-southeast1:c europe-west1:bc europe-west4:b us-central1:abc "
        "us-east4:abc us-east5:a us-west1:ab us-west4:a",
    ),
    "nvidia-h200-141gb": Gpu(
        "NVIDIA H200 141GB",
        "a3",
        (8,),
        "",
        "asia-south1:b asia-south2:c europe-west1:b us-central1:b us-east4:b us-east5:a us-west1:c",
    ),
    "nvidia-b200": Gpu(
        "NVIDIA B200",
        "a4",
        (8,),
        "",
        "asia-northeast1:b asia-southeast1:b europe-west4:b us-central1:b us-east1:b us-east4:b us-south1:b us-west2:c "
        "us-west3:bc",
    ),
}
"""Accelerator types (https://cloud.google.com/compute/docs/gpus/gpu-regions-zones, as it was in 2025; it changes).

The K80 is gone from the cloud and is in no zone.
"""

_ZONES = {name: frozenset(gpu.zones()) for name, gpu in GPUS.items()}


def has_gpu(zone: str, name: str) -> bool:
    """Return whether a zone has an accelerator type; False if the type does not exist."""
    return zone in _ZONES.get(name, ())


def gpus_in(zone: str) -> list[str]:
    """Return the accelerator types that a zone has."""
    return [name for name, zones in _ZONES.items() if zone in zones]
