"""Inventories of images, made by hand."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cos_customizer.customizer.contents.inventory import Container, Contents, File, Inventory, Package, Partition


def file(path: str, content: str = "", **attributes: Any) -> File:
    """A regular file with this content, unless the attributes say otherwise."""
    kind = attributes.pop("kind", "file")
    facts: dict[str, Any] = {"mode": 0o755 if kind == "directory" else 0o644, "user": 0, "group": 0}
    if kind == "file":
        facts |= {"size": len(content.encode()), "sha256": hashlib.sha256(content.encode()).hexdigest()}
    return File(path, kind, **(facts | attributes))


def directory(path: str, **attributes: Any) -> File:
    """A directory."""
    return file(path, kind="directory", **attributes)


def files(*found: File) -> dict[str, File]:
    """Files as an inventory has them."""
    return {each.path: each for each in found}


def inventory(**other: Any) -> Inventory:
    """The inventory of a small image, with what is given in place of its own."""
    own = Inventory(
        system={"ID": "cos", "VERSION": "125", "BUILD_ID": "19216.104.25"},
        packages=(Package("cos", "app-admin/sudo", "1.9.15"), Package("cos", "net-misc/curl", "8.9.1")),
        containers=(container("docker.io/library/nginx:1.27", "a"),),
        files=files(directory("/var/lib/app"), file("/var/lib/app/data", "one"), file("/etc/motd", "hello")),
        units={"docker.service": "enabled", "update-engine.service": "enabled"},
        kernel_arguments=("cros_efi", "console=ttyS0", "console=tty1"),
        partitions=(
            Partition(1, "STATE", "0fc63daf-8483-4772-8e79-3d69d8477de4", 6 << 30, "ext4", "1" * 64),
            Partition(3, "ROOT-A", "3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec", 2 << 30, "ext2", "3" * 64),
        ),
        verity={"vroot": "9" * 64},
        modules={"nvidia": "550.90.07"},
    )
    return replace(own, **other)


def container(name: str, digit: str, **attributes: Any) -> Container:
    """A container image of docker's, whose digest is this digit over and over."""
    return Container("docker", "", f"sha256:{digit * 64}", (name,), **attributes)


def contents(before: Inventory | None = None, after: Inventory | None = None) -> Contents:
    """What an image was made of and what it holds."""
    return Contents(before or inventory(), after or inventory())


def with_file(found: Inventory, path: str, content: str) -> Inventory:
    """An inventory with one file more, or with another content of it."""
    return replace(found, files={**found.files, path: file(path, content)})


def units(**states: str) -> Mapping[str, str]:
    """Units of services by name: `docker="masked"`."""
    return {f"{name}.service": state for name, state in states.items()}
