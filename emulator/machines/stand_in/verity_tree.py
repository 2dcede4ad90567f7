"""Seals a file system for dm-verity: writes the hash tree right behind it, as on Container-Optimized OS.

Called as `verity_tree.py FILE OFFSET BLOCKS ALGORITHM`, prints the hash of the root and the salt. The tree is that of
the kernel's Documentation/admin-guide/device-mapper/verity.rst, without a superblock, in format 0: the salt follows
what is hashed.
"""

import hashlib
import importlib
import secrets
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

BLOCK = 4096
SALT = 32


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _xxhash64(data: bytes) -> bytes:
    xxhash: Any = importlib.import_module("xxhash")  # which only the making of an image has
    return int(xxhash.xxh64_intdigest(data)).to_bytes(8, "little")


ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {"sha256": _sha256, "xxhash64": _xxhash64}
"""By the kernel's names of them."""


def tree_of(blocks: Iterable[bytes], algorithm: str, salt: bytes) -> tuple[bytes, list[bytes]]:
    """Return the hash of the root, and the levels of the tree, the lowest first.

    Args:
        blocks: of the file system, of 4 KiB each.
        algorithm: one of `ALGORITHMS`.
        salt: hashed after each block.
    """

    def digest(block: bytes) -> bytes:
        return ALGORITHMS[algorithm](block + salt)

    zeros = bytes(BLOCK)
    of_zeros = digest(zeros)
    level = b"".join(of_zeros if block == zeros else digest(block) for block in blocks)
    levels = []
    while True:
        level += bytes(-len(level) % BLOCK)
        levels.append(level)
        if len(level) == BLOCK:
            return digest(level), levels
        level = b"".join(digest(level[at : at + BLOCK]) for at in range(0, len(level), BLOCK))


def main(file: str, offset: int, blocks: int, algorithm: str) -> None:
    """Write the tree behind a file system of so many blocks, and print the hash of the root and the salt."""
    salt = secrets.token_bytes(SALT)
    with Path(file).open("r+b") as disk:
        disk.seek(offset)
        root, levels = tree_of((disk.read(BLOCK) for _ in range(blocks)), algorithm, salt)
        disk.seek(offset + blocks * BLOCK)
        disk.writelines(reversed(levels))
    sys.stdout.write(f"{root.hex()} {salt.hex()}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
