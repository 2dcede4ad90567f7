"""Which machine type can hold which GPU.

Sources: https://cloud.google.com/compute/docs/gpus
and https://cloud.google.com/compute/docs/accelerator-optimized-machines (disks that each family takes).
"""

from dataclasses import dataclass

DEFAULT_MACHINE_TYPE = "n1-standard-1"
DEFAULT_ARM_MACHINE_TYPE = "t2a-standard-1"
DEFAULT_DISK_TYPE = "pd-standard"


@dataclass(frozen=True)
class MachineFit:
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
        """Whether its machine types come with their GPUs, so that none is attached beside them."""
        return self.family != "n1"


_FITS = {
    "nvidia-tesla-k80": MachineFit("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-p4": MachineFit("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-p100": MachineFit("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-v100": MachineFit("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-tesla-t4": MachineFit("n1", DEFAULT_MACHINE_TYPE),
    "nvidia-l4": MachineFit("g2", "g2-standard-4", "pd-balanced"),
    "nvidia-tesla-a100": MachineFit("a2", "a2-highgpu-1g"),
    "nvidia-a100-80gb": MachineFit("a2", "a2-ultragpu-1g"),
    "nvidia-h100-80gb": MachineFit("a3", "a3-highgpu-1g", "pd-balanced"),
    "nvidia-h100-mega-80gb": MachineFit("a3", "a3-megagpu-8g", "pd-balanced"),
    "nvidia-h200-141gb": MachineFit("a3", "a3-ultragpu-8g", "hyperdisk-balanced"),
}


KNOWN_GPU_TYPES = frozenset(_FITS)


def machine_fit(gpu_type: str) -> MachineFit:
    """The machine types that hold a GPU of this type; an unknown type is taken for one that n1 machines hold."""
    return _FITS.get(gpu_type, MachineFit("n1", DEFAULT_MACHINE_TYPE))
