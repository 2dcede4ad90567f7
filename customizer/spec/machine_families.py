"""Machine families of Compute Engine: what their VMs boot from, and which images they run.

Google's pages on machine series and Hyperdisk have the facts (https://cloud.google.com/compute/docs/machine-resource,
https://cloud.google.com/compute/docs/disks/hyperdisks). On 2026-11-25 they could not be read whole. Checked that day
against what builds on them: `InstanceTypeToDiskTypeMap` of https://github.com/openshift/installer (pkg/types/gcp), and
https://github.com/nextflow-io/nextflow/issues/6614. Families of which neither speaks are marked below: they choose a
disk where none is asked for, and refuse none.

A family that is not listed is left to Compute Engine.
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
        disk_type: one that they boot from: the cheapest that is known to be taken by all of them.
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


def _unverified(prefix: str, disk_type: str, architecture: str = "X86_64") -> MachineFamily:
    return MachineFamily(prefix, disk_type, frozenset(), architecture)


_FAMILIES = (
    *map(MachineFamily, ("n1", "custom", "f1", "g1", "e2", "n2", "n2d", "t2d", "c2", "c2d", "a2")),
    MachineFamily("t2a", architecture="ARM64"),
    *map(_no_standard, ("c3", "c3d", "a3")),
    MachineFamily("g2", "pd-balanced"),
    MachineFamily("m1", "pd-balanced"),
    *map(_hyperdisk_only, ("n4", "n4d", "c4", "c4d")),
    *(_hyperdisk_only(prefix, "ARM64") for prefix in ("n4a", "c4a")),
    *(_unverified(prefix, "pd-balanced") for prefix in ("h3", "z3", "m2", "m3")),
    *(_unverified(prefix, "hyperdisk-balanced") for prefix in ("h4d", "m4", "x4", "a4", "g4", "a3-ultragpu")),
    _unverified("a4x", "hyperdisk-balanced", "ARM64"),
)
_BY_PREFIX = {family.prefix: family for family in _FAMILIES}


def family_of(machine_type: str) -> MachineFamily | None:
    """The family of a machine type; None if nothing is known of it.

    Args:
        machine_type: for example `n4-standard-2`, `n4-custom-4-8192`; a bare machine is one of a family of its own.
    """
    parts = machine_type.split("-")
    if parts[-1] == "metal":
        series = _BY_PREFIX.get(parts[0])
        return _unverified(machine_type, "hyperdisk-balanced", series.architecture) if series else None
    longest_first = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_BY_PREFIX[prefix] for prefix in longest_first if prefix in _BY_PREFIX), None)
