"""What was found on a machine's disks: the guest takes it, `reading` reads it, all others compare it and tell of it."""

from dataclasses import dataclass, field
from typing import Literal

PackageKind = Literal["cos", "deb", "rpm"]
"""Whose database names a package: `/etc/cos-package-info.json`, dpkg's or rpm's."""
FileKind = Literal["file", "directory", "link", "fifo", "socket", "block", "character"]
Runtime = Literal["docker", "containerd"]


@dataclass(frozen=True, order=True)
class Package:
    """A package that is installed.

    Attributes:
        kind: Whose database names it.
        name: Its name; with a category in COS's list (`app-admin/sudo`).
        version: Its whole version.
        architecture: As its database says it; empty if it does not.
        source: Name of the source package that it was built from; empty if that is the same or unknown.
    """

    kind: PackageKind
    name: str
    version: str
    architecture: str = ""
    source: str = ""


@dataclass(frozen=True, order=True)
class Container:
    """A container image that is there without being pulled.

    Attributes:
        runtime: Which keeps it.
        namespace: containerd's; empty for docker.
        id: Digest of its configuration (docker) or of its manifest (containerd): `sha256:…`.
        names: References by tag, sorted.
        digests: References by digest (`name@sha256:…`), sorted.
        layers: Digests of the uncompressed layers, the lowest first; empty where they are not known.
        size: Bytes on the disk; 0 where it is not known.
    """

    runtime: Runtime
    namespace: str
    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class File:
    """A file that the image keeps.

    Attributes:
        path: Where it is, absolute. Bytes that are no UTF-8 are escaped as Python's `surrogateescape` does.
        kind: What it is.
        mode: Permission bits, those of set-uid, set-gid and the sticky bit included.
        user: Number of its owner.
        group: Number of its group.
        size: Bytes; 0 of what is no regular file.
        sha256: Digest of its bytes; None of what is no regular file, and of what was not read.
        target: Where a link leads; None of what is none.
    """

    path: str
    kind: FileKind
    mode: int
    user: int
    group: int
    size: int = 0
    sha256: str | None = None
    target: str | None = None


@dataclass(frozen=True, order=True)
class Partition:
    """A partition of the boot disk.

    Attributes:
        number: In the partition table.
        label: Its name there; empty if it has none.
        type: GUID of its type, in lower case.
        size: Bytes.
        file_system: For example `ext4`; empty if it has none that is known.
        sha256: Digest of its bytes, where they were read.
    """

    number: int
    label: str
    type: str
    size: int
    file_system: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class Inventory:
    """What is on a machine's disks at one moment.

    Attributes:
        system: Variables of `/etc/os-release`.
        packages: Sorted.
        containers: Sorted.
        files: By path. Those of `/var`, `/home` and OEM on Container-Optimized OS, whose other files are the packages';
            of the whole root file system elsewhere. Nothing of what every boot writes, nor the layers of containers.
        units: States of systemd's unit files, by name: `enabled`, `masked`, ….
        kernel_arguments: Those of the boot menu where there is one that can be read, else of the running kernel.
        partitions: Of the boot disk, by number.
        verity: Root hashes of verified devices, by name (`vroot`, `oemroot`).
        modules: Versions of kernel modules that are no part of the system, by name; of NVIDIA's driver for example.
        left_out: What was not taken, and why, in words; empty if the inventory is whole.
    """

    system: dict[str, str] = field(default_factory=dict)
    packages: tuple[Package, ...] = ()
    containers: tuple[Container, ...] = ()
    files: dict[str, File] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    kernel_arguments: tuple[str, ...] = ()
    partitions: tuple[Partition, ...] = ()
    verity: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """What the builder VM's disk held before the first step, and what it holds as the image is made of it.

    Attributes:
        before: The source image, booted once.
        after: The output image.
    """

    before: Inventory
    after: Inventory
