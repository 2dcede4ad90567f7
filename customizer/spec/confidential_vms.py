"""Confidential VMs: which machines run as one, and by which technology (no pydantic here).

Google's list is https://cloud.google.com/confidential-computing/confidential-vm/docs/supported-configurations. On
2026-11-29 it could not be read whole. Checked that day against what builds on it: the supported machine series of
https://github.com/kubernetes-sigs/cluster-api-provider-gcp (SEV: n2d, c2d, c3d; SEV_SNP: n2d), its issue 1425 (TDX:
c3), and the documentation of Terraform's `google_compute_instance` (SEV_SNP needs AMD Milan). Machine families of which
none speaks, and which are not older than the technologies, are left to Compute Engine.
"""

TECHNOLOGIES = ("SEV", "SEV_SNP", "TDX")

DEFAULT_MACHINE_TYPES = {"SEV": "n2d-standard-2", "SEV_SNP": "n2d-standard-2", "TDX": "c3-standard-4"}
"""The smallest machine type that is known to run by each technology."""

CPU_PLATFORMS = {"SEV_SNP": "AMD Milan"}
"""`minCpuPlatform`, where a technology needs one."""

_KNOWN = {
    "n2d": ("SEV", "SEV_SNP"),
    "c2d": ("SEV",),
    "c3d": ("SEV",),
    "c3": ("TDX",),
    **dict.fromkeys(("n1", "custom", "f1", "g1", "e2", "n2", "c2", "t2d", "t2a", "c4a", "n4a", "a2", "g2"), ()),
}


def is_refused(machine_type: str, technology: str) -> bool:
    """Whether it is known that a machine does not run as a Confidential VM by a technology.

    Args:
        machine_type: for example `n2d-standard-2`.
        technology: one of `TECHNOLOGIES`.
    """
    known = _KNOWN.get(machine_type.partition("-")[0])
    return known is not None and technology not in known


def families(technology: str) -> str:
    """The machine families that are known to run by a technology, for people: `n2d, c2d, c3d`."""
    return ", ".join(family for family, technologies in _KNOWN.items() if technology in technologies)
