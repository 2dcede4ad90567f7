"""Machine types: the predefined ones, and those of a size of one's own.

Sources: https://cloud.google.com/compute/docs/machine-resource and
https://cloud.google.com/compute/docs/instances/creating-instance-with-custom-machine-type.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from cos_customizer.emulator.compute.gpus import has_gpu


@dataclass(frozen=True)
class MachineType:
    """A machine type; its GPUs, if any, are part of it.

    Attributes:
        memory: in MiB.
        gpu: accelerator type that comes with the machine, or empty.
    """

    cpus: int
    memory: int
    gpu: str = ""
    gpus: int = 0


def _machine_types() -> dict[str, MachineType]:
    types = {
        "e2-micro": MachineType(2, 1024),
        "e2-small": MachineType(2, 2048),
        "e2-medium": MachineType(2, 4096),
        "f1-micro": MachineType(1, 614),
        "g1-small": MachineType(1, 1740),
        "a2-megagpu-16g": MachineType(96, 1360 * 1024, "nvidia-tesla-a100", 16),
        "a3-megagpu-8g": MachineType(208, 1872 * 1024, "nvidia-h100-mega-80gb", 8),
        "a4-highgpu-8g": MachineType(224, 3968 * 1024, "nvidia-b200", 8),
        "a3-ultragpu-8g": MachineType(224, 2952 * 1024, "nvidia-h200-141gb", 8),
    }
    per_cpu = {  # MiB for each CPU, and the sizes (https://cloud.google.com/compute/docs/machine-resource)
        "n1-standard": (3840, (1, 2, 4, 8, 16, 32, 64, 96)),
        "n1-highmem": (6656, (2, 4, 8, 16, 32, 64, 96)),
        "n1-highcpu": (921, (2, 4, 8, 16, 32, 64, 96)),
        "e2-standard": (4096, (2, 4, 8, 16, 32)),
        "e2-highmem": (8192, (2, 4, 8, 16)),
        "e2-highcpu": (1024, (2, 4, 8, 16, 32)),
        "n2-standard": (4096, (2, 4, 8, 16, 32, 48, 64, 80)),
        "n2-highmem": (8192, (2, 4, 8, 16, 32, 48, 64, 80)),
        "n2-highcpu": (1024, (2, 4, 8, 16, 32, 48, 64, 80)),
        "n2d-standard": (4096, (2, 4, 8, 16, 32, 48, 64, 80, 96)),
        "n4-standard": (4096, (2, 4, 8, 16, 32, 48, 64, 80)),
        "c2-standard": (4096, (4, 8, 16, 30, 60)),
        "c3-standard": (4096, (4, 8, 22, 44, 88, 176)),
        "c4-standard": (3840, (2, 4, 8, 16, 32, 48, 96, 192)),
    }
    for family, (memory, sizes) in per_cpu.items():
        types.update({f"{family}-{n}": MachineType(n, n * memory) for n in sizes})
    for cpus, gpus in ((4, 1), (8, 1), (12, 1), (16, 1), (24, 2), (32, 1), (48, 4), (96, 8)):
        types[f"g2-standard-{cpus}"] = MachineType(cpus, cpus * 4096, "nvidia-l4", gpus)
    for gpus in (1, 2, 4, 8):
        types[f"a2-highgpu-{gpus}g"] = MachineType(12 * gpus, 85 * gpus * 1024, "nvidia-tesla-a100", gpus)
        types[f"a2-ultragpu-{gpus}g"] = MachineType(12 * gpus, 170 * gpus * 1024, "nvidia-a100-80gb", gpus)
        types[f"a3-highgpu-{gpus}g"] = MachineType(26 * gpus, 234 * gpus * 1024, "nvidia-h100-80gb", gpus)
    return types


MACHINE_TYPES = _machine_types()
"""All x86, as the virtual machines are. Those with GPUs of their own are only in the zones of their GPUs."""

_CUSTOM = re.compile(r"(?:([a-z][a-z0-9]*)-)?custom-([1-9][0-9]{0,2})-([1-9][0-9]{2,6})(-ext)?")


@dataclass(frozen=True)
class _Family:
    """What a machine of a size of its own may have.

    Attributes:
        cpus: how many of them.
        least, most: MiB for each CPU.
        in_all: GiB at most.
        extended: whether there may be more memory for each CPU than `most` (`-ext`).
    """

    cpus: Collection[int]
    least: int
    most: int
    in_all: int
    extended: bool = True


_FAMILIES = {
    "n1": _Family((1, *range(2, 97, 2)), 922, 6656, 624),
    "n2": _Family((*range(2, 33, 2), *range(36, 129, 4)), 512, 8192, 864),
    "n2d": _Family((2, 4, 8, *range(16, 97, 16)), 512, 8192, 768),
    "n4": _Family(range(2, 81, 2), 2048, 8192, 640),
    "e2": _Family(range(2, 33, 2), 512, 8192, 128, extended=False),
}


def machine_type_in(zone: str, name: str) -> MachineType | None:
    """Return the machine type of a name, if a zone has it."""
    if custom := _CUSTOM.fullmatch(name):
        return _custom(*custom.groups())
    kind = MACHINE_TYPES.get(name)
    return kind if kind is not None and (not kind.gpu or has_gpu(zone, kind.gpu)) else None


def _custom(family: str | None, cpus: str, memory: str, extended: str | None) -> MachineType | None:
    limits = _FAMILIES.get(family or "n1")
    number, size = int(cpus), int(memory)
    if limits is None or number not in limits.cpus or size % 256 or size > limits.in_all << 10:
        return None
    enough = size >= number * limits.least
    fits = size <= number * limits.most or bool(extended and limits.extended)
    return MachineType(number, size) if enough and fits else None
