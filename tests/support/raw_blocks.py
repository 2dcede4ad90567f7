"""What is in the raw blocks of a disk, whatever file system is on it."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def words_in_blocks(disk: Path, words: Iterable[str]) -> Counter[str]:
    """How often each of these words is in the raw blocks of a disk.

    Args:
        disk: a file of QEMU's; there must be room for all that is in it beside it.
        words: of at most 128 bytes.
    """
    raw, found, reach = disk.with_suffix(".raw"), Counter(dict.fromkeys(words, 0)), 1 << 20
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    wanted = re.compile(b"|".join(re.escape(word.encode()) for word in found))
    with raw.open("rb") as file, suppress(OSError):  # there is no data after this
        end = 0
        while True:
            begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            for at in range(begin, end, reach):
                block = os.pread(file.fileno(), min(reach + 128, end - at), at)
                found.update(hit[0].decode() for hit in wanted.finditer(block) if hit.start() < reach)
    raw.unlink()
    return found
