"""Machine families of Compute Engine: what their VMs boot from, and which images they run.

Sources, looked up on 2026-11-25: https://cloud.google.com/compute/docs/machine-resource (series and architectures),
https://cloud.google.com/compute/docs/general-purpose-machines, …/storage-optimized-machines,
…/compute-optimized-machines, …/memory-optimized-machines and …/accelerator-optimized-machines (disk types of each
series), https://cloud.google.com/compute/docs/disks/hyperdisks (Hyperdisk's).

Only what these pages say outright is here. A family that is not listed, and a type of disk that nothing is said of, is
left to Compute Engine.
"""

from dataclasses import dataclass, field

_PERSISTENT = frozenset({"pd-standard", "pd-balanced", "pd-ssd", "pd-extreme"})
_NO_BOOT_DISK = frozenset({"hyperdisk-throughput", "hyperdisk-ml", "local-ssd"})
"""Types of disks that no VM boots from."""


@dataclass(frozen=True)
class MachineFamily:
    """Machine types whose names begin alike.

    Attributes:
        prefix: what they begin with, up to a hyphen.
        disk_type: one that they boot from: the cheapest that all of them take.
        refused: disk types that they do not take.
        architecture: of the images that they run.
    """

    prefix: str
    disk_type: str = "pd-standard"
    refused: frozenset[str] = field(default=_NO_BOOT_DISK)
    architecture: str = "X86_64"


def _no_standard(prefix: str) -> MachineFamily:
    return MachineFamily(prefix, "pd-balanced", _NO_BOOT_DISK | {"pd-standard"})


def _hyperdisk_only(prefix: str, architecture: str = "X86_64") -> MachineFamily:
    return MachineFamily(prefix, "hyperdisk-balanced", _NO_BOOT_DISK | _PERSISTENT, architecture)


_FAMILIES = (
    *map(MachineFamily, ("n1", "custom", "f1", "g1", "e2", "n2", "n2d", "t2d", "c2", "c2d", "m1", "m2", "a2")),
    MachineFamily("t2a", architecture="ARM64"),
    *map(_no_standard, ("c3", "c3d", "h3", "z3", "m3", "g2", "a3")),
    *map(_hyperdisk_only, ("n4", "n4d", "c4", "c4d", "h4d", "m4", "x4", "a4", "g4", "a3-ultragpu")),
    *(_hyperdisk_only(prefix, "ARM64") for prefix in ("n4a", "c4a", "a4x")),
)
_BY_PREFIX = {family.prefix: family for family in _FAMILIES}


def family_of(machine_type: str) -> MachineFamily | None:
    """The family of a machine type; None if nothing is known of it.

    Args:
        machine_type: for example `n4-standard-2`, `n4-custom-4-8192`; a bare machine is one of a family of its own.
    """
    parts = machine_type.split("-")
    if parts[-1] == "metal":
        return None if parts[0] not in _BY_PREFIX else _hyperdisk_only(machine_type, _BY_PREFIX[parts[0]].architecture)
    longest_first = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_BY_PREFIX[prefix] for prefix in longest_first if prefix in _BY_PREFIX), None)
