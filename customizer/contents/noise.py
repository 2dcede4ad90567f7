"""What differs between two builds of one recipe, and says nothing about either: it is not compared.

Whatever a recipe could mean stands in neither list: what a script leaves in `/var/lib` of an application, or in a
volume of docker's, is compared. That such a file is there, whose it is and who may read it counts in any case.
"""

import re

from cos_customizer.customizer.contents.globs import of_paths
from cos_customizer.customizer.contents.inventory import Partition

PASSED_OVER = (
    *("/dev/**", "/proc/**", "/run/**", "/sys/**", "/tmp/**", "/lost+found/**", "/**/lost+found/**"),  # noqa: S108 - not used
    *("/var/cache/**", "/var/log/**", "/var/run/**", "/var/tmp/**", "/var/lib/cloud/**"),  # noqa: S108 - not used
    "/var/lib/apt/lists/**",
    *("/var/lib/systemd/coredump/**", "/var/lib/systemd/timers/**", "/var/lib/systemd/timesync/**"),
    *("/var/lib/systemd/rfkill/**", "/var/lib/systemd/backlight/**", "/var/lib/systemd/catalog/**"),
    *("/var/lib/crash_reporter/**", "/var/lib/metrics/**", "/var/lib/update_engine/**", "/var/lib/whitelist/**"),
    *("/var/lib/dhcp/**", "/var/lib/dhcpcd/**", "/var/lib/dhclient/**", "/var/lib/chrony/**", "/var/lib/ntp/**"),
    *("/root/.cache/**", "/home/*/.cache/**", "/root/.bash_history", "/home/*/.bash_history"),
    *(
        f"/var/lib/docker/{part}/**"
        for part in (
            *("aufs", "btrfs", "buildkit", "containerd", "containers", "fuse-overlayfs", "image", "network"),
            *("overlay2", "plugins", "rootfs", "runtimes", "swarm", "tmp", "vfs", "zfs"),
        )
    ),
    *("/var/lib/containerd/**", "/var/lib/containers/storage/overlay*/**", "/var/lib/containers/storage/vfs*/**"),
)
"""Caches, logs, what daemons note for themselves; and stores of container images, which are compared by image."""

CONTENT_PASSED_OVER = (
    *("/etc/machine-id", "/var/lib/dbus/machine-id", "/var/lib/docker/engine-id", "/etc/docker/key.json"),
    *("/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret"),
    *("/etc/.updated", "/var/.updated", "/etc/.pwd.lock", "/var/lib/logrotate/**", "/var/lib/logrotate.status"),
    *("/var/lib/dpkg/*-old", "/var/lib/dpkg/lock*", "/var/lib/apt/periodic/**"),
    *("/var/lib/rpm/**", "/usr/lib/sysimage/rpm/**", "/var/lib/dnf/**"),
    *("/boot/initrd*", "/boot/initramfs*", "/boot/grub/grubenv", "/boot/grub2/grubenv"),
    *("/**/__pycache__/*.pyc", "/var/lib/NetworkManager/**"),
)
"""Ids, keys and seeds, and what holds the time of its making. That they are there, whose and how, is compared."""

_OVER, _CONTENT = of_paths(PASSED_OVER), of_paths(CONTENT_PASSED_OVER)
_WRITTEN = frozenset({"STATE", "OEM", "EFI-SYSTEM", "RWFW"})
"""Partitions whose bytes hold the time of their writing. Their files, kernel lines and verity are compared."""
OWN_SEAL = "oemroot"
"""A verified device that a build seals itself: with a salt of its own, so that no two have the same root hash."""
_PASSING_UNITS = frozenset({"generated", "transient"})
_HEX = re.compile("[0-9a-fA-F]{32,}")
_SEAL = re.compile(rf"\b{OWN_SEAL}\b[^;]*")


def is_passed_over(path: str) -> bool:
    """Whether nothing is compared of what has this path."""
    return _OVER.match(path) is not None


def has_passing_content(path: str) -> bool:
    """Whether the bytes of what has this path are not compared."""
    return _CONTENT.match(path) is not None


def has_passing_bytes(partition: Partition) -> bool:
    """Whether the bytes of a partition are not compared."""
    return partition.label.upper() in _WRITTEN


def is_passing_unit(state: str) -> bool:
    """Whether a unit with this state was made at boot, and is no file that the image keeps."""
    return state in _PASSING_UNITS


def without_own_seal(argument: str) -> str:
    """A kernel argument, where hash and salt of what the build has sealed itself are no part of it.

    Args:
        argument: Of the kernel line: `dm-mod.create="vroot,,,…;oemroot,,,…"`, or any other.
    """
    return _SEAL.sub(lambda found: _HEX.sub("…", found[0]), argument) if OWN_SEAL in argument else argument
