"""Which machine type can hold which GPU.

Sources: https://cloud.google.com/compute/docs/gpus
and https://cloud.google.com/compute/docs/accelerator-optimized-machines (disks that each family takes).
"""

from dataclasses import dataclass

DEFAULT_MACHINE_TYPE = "n1-standard-1"
DEFAULT_ARM_MACHINE_TYPE = "t2a-standard-1"
DEFAULT_DISK_TYPE = "pd-standard"


@dataclass(frozen=True)
class Holder:
    """Machine types that hold a GPU.

    Attributes:
        family: machine family that the accelerator type binds to, for example `g2`.
        default: the smallest machine type of that family with one such GPU (or as few as there are).
        disk_type: a type of boot disk that the family takes; not all take the default one.
    """

    family: str
    default: str
    disk_type: str = DEFAULT_DISK_TYPE

    @property
    def brings_gpus(self) -> bool:
        """Whether a machine type of this family has its GPUs by itself, none being asked for beside it."""
        return self.family != "n1"


_HOLDERS = {
    "nvidia-tesla-k80": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-p4": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-p100": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-v100": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-t4": Holder("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-l4": Holder("g2", "g2-standard-4", "pd-balanced"),
    "nvidia-tesla-a100": Holder("a2", "a2-highgpu-1g"),
    "nvidia-a100-80gb": Holder("a2", "a2-ultragpu-1g"),
    "nvidia-h100-80gb": Holder("a3", "a3-highgpu-1g", "pd-balanced"),
    "nvidia-h100-mega-80gb": Holder("a3", "a3-megagpu-8g", "pd-balanced"),
    "nvidia-h200-141gb": Holder("a3", "a3-ultragpu-8g", "hyperdisk-balanced"),
}


KNOWN_GPU_TYPES = frozenset(_HOLDERS)


def holder_of(gpu_type: str) -> Holder:
    """What holds a GPU of this type; a type that is not known here is taken for one that n1 machines hold."""
    return _HOLDERS.get(gpu_type, Holder("n1", DEFAULT_MACHINE_TYPE))
