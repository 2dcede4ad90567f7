"""Which machine type can hold which GPU. Source: https://cloud.google.com/compute/docs/gpus."""

from dataclasses import dataclass

DEFAULT_MACHINE_TYPE = "n1-standard-1"
DEFAULT_ARM_MACHINE_TYPE = "t2a-standard-1"


@dataclass(frozen=True)
class Holder:
    """Machine types that hold a GPU.

    Attributes:
        family: machine family that the accelerator type binds to, for example `g2`.
        default: the smallest machine type of that family with one such GPU (or as few as there are).
        count: how many GPUs the default machine type has.
    """

    family: str
    default: str
    count: int = 1


_HOLDERS = {
    "nvidia-tesla-k80": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-p4": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-p100": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-v100": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-t4": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-l4": Holder("g2", "g2-standard-4"),
    "nvidia-tesla-a100": Holder("a2", "a2-highgpu-1g"),
    "nvidia-a100-80gb": Holder("a2", "a2-ultragpu-1g"),
    "nvidia-h100-80gb": Holder("a3", "a3-highgpu-1g"),
    "nvidia-h100-mega-80gb": Holder("a3", "a3-megagpu-8g", 8),
    "nvidia-h200-141gb": Holder("a3", "a3-ultragpu-8g", 8),
}


def holder_of(gpu_type: str) -> Holder:
    """What holds a GPU of this type; a type that is not known here is taken for one that n1 machines hold."""
    return _HOLDERS.get(gpu_type, Holder("n1", DEFAULT_MACHINE_TYPE))
