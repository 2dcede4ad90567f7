"""Which machine type can hold which GPU.

Source: https://cloud.google.com/compute/docs/gpus. What their families boot from is in `machine_families`.
"""

from dataclasses import dataclass

DEFAULT_MACHINE_TYPE = "n1-standard-1"
DEFAULT_ARM_MACHINE_TYPE = "t2a-standard-1"


@dataclass(frozen=True)
class MachineFit:
    """Machine types that hold a GPU.

    Attributes:
        family: machine family that the accelerator type binds to, for example `g2`.
        default: the smallest machine type of that family with one such GPU (or as few as there are).
    """

    family: str
    default: str

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
    "nvidia-l4": MachineFit("g2", "g2-standard-4"),
    "nvidia-tesla-a100": MachineFit("a2", "a2-highgpu-1g"),
    "nvidia-a100-80gb": MachineFit("a2", "a2-ultragpu-1g"),
    "nvidia-h100-80gb": MachineFit("a3", "a3-highgpu-1g"),
    "nvidia-h100-mega-80gb": MachineFit("a3", "a3-megagpu-8g"),
    "nvidia-h200-141gb": MachineFit("a3", "a3-ultragpu-8g"),
}


KNOWN_GPU_TYPES = frozenset(_FITS)


def machine_fit(gpu_type: str) -> MachineFit:
    """The machine types that hold a GPU of this type; an unknown type is taken for one that n1 machines hold."""
    return _FITS.get(gpu_type, MachineFit("n1", DEFAULT_MACHINE_TYPE))
