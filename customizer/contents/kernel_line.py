"""What a machine's kernel is started with: the arguments of its boot menu, and the verified devices among them.

Sources: https://www.gnu.org/software/grub/manual/grub/html_node/linux.html,
https://docs.kernel.org/admin-guide/device-mapper/dm-init.html; `dm=` is what Chrome OS's kernels knew before that.
"""

import re
from collections.abc import Iterable

_KERNEL_LINE = re.compile(r"\s*(?:linux|linux16|linuxefi)\s+(\S+)(.*)")
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*'|["'])+""")
_COUNTED = re.compile(r"(\S+)\s+\S+\s+\S+\s+[0-9]+\s*,[^,]*?\broot_hexdigest=([0-9a-fA-F]+)")
_HASH = re.compile(r"[0-9a-fA-F]{16,128}")
_PLACE_OF_HASH = 11
"""Of the root hash among the words of a table of dm-verity."""


def split_words(text: str) -> list[str]:
    """The arguments of a kernel line or of a command line, without their quotation marks.

    The boot loader passes `a="b c"` on as `"a=b c"`: both are `a=b c` here.

    Args:
        text: of the line, behind the kernel's name.
    """
    return [re.sub("[\"']", "", word) for word in _WORD.findall(text)]


def arguments_of(menu: str, running: str) -> tuple[str, ...]:
    """The arguments that the next boot has.

    Args:
        menu: `grub.cfg`, which may have several kernel lines; empty if there is none.
        running: `/proc/cmdline`. Of several lines, the one that has most of its words is the one that was booted.

    Returns:
        Those of the menu where there is one, else those of the running kernel.
    """
    now = set(split_words(running))
    lines = [
        [f"BOOT_IMAGE={found[1]}", *split_words(found[2])]
        for found in map(_KERNEL_LINE.fullmatch, _lines(menu))
        if found
    ]
    chosen = max(lines, key=lambda words: len(now.intersection(words)), default=split_words(running))
    return tuple(word for word in chosen if not word.startswith("BOOT_IMAGE="))


def _lines(text: str) -> Iterable[str]:
    return text.split("\n")


def masked_units(arguments: Iterable[str]) -> list[str]:
    """The units that a kernel line keeps from being started.

    Source: https://www.freedesktop.org/software/systemd/man/latest/systemd-debug-generator.html.

    Args:
        arguments: of the kernel.
    """
    pairs = (argument.partition("=") for argument in arguments)
    return [unit for name, _, unit in pairs if name == "systemd.mask" and unit]


def verity_of(arguments: Iterable[str]) -> dict[str, str]:
    """Root hashes of the verified devices that a kernel line makes, by the devices' names.

    Args:
        arguments: of the kernel.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "dm":
            found |= {device: digest.lower() for device, digest in _COUNTED.findall(value)}
        elif name.replace("_", "-") == "dm-mod.create":
            found |= dict(filter(None, map(_root_hash, value.split(";"))))
    return found


def _root_hash(entry: str) -> tuple[str, str] | None:
    """Name and root hash of a device of `dm-mod.create`: name, UUID, minor, flags, then its tables."""
    fields = entry.strip().split(",")
    words = fields[4].split() if len(fields) > 4 else []
    if len(words) <= _PLACE_OF_HASH or words[2] != "verity" or not _HASH.fullmatch(words[_PLACE_OF_HASH]):
        return None
    return fields[0].strip(), words[_PLACE_OF_HASH].lower()
