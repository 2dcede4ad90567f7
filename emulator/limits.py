"""Limits of what one emulator takes from the machine that it runs on, and the variables that set other ones."""

import contextlib
import os
from pathlib import Path

from cos_customizer.emulator.errors import EmulatorError

MOST_UPLOAD_MIB = "COS_CUSTOMIZER_EMULATOR_MAX_UPLOAD_MIB"
"""Environment variable: MiB of one request to Cloud Storage (an object that is uploaded in pieces may be larger)."""

MOST_CPUS = "COS_CUSTOMIZER_EMULATOR_MAX_CPUS"
"""Environment variable: CPUs of one machine, whatever its type says, and however few this machine has."""
MOST_MEMORY_MIB = "COS_CUSTOMIZER_EMULATOR_MAX_MEMORY_MIB"
"""Environment variable: MiB of memory of one machine. By default half of what is free when it starts."""
MOST_REGISTRY_MIB = "COS_CUSTOMIZER_EMULATOR_MAX_REGISTRY_MIB"
"""Environment variable: MiB that the images of the registry may take on the disk."""


def most_registry() -> int:
    """Return how many bytes the images of the registry may take.

    Raises:
        EmulatorError: the variable is no number.
    """
    return _number(MOST_REGISTRY_MIB, 20480) << 20


def longest_upload() -> int:
    """Return how many bytes the body of a request to Cloud Storage may have.

    Raises:
        EmulatorError: the variable is no number.
    """
    return _number(MOST_UPLOAD_MIB, 65536) << 20


def most_cpus() -> int:
    """Return how many CPUs a machine may have.

    Raises:
        EmulatorError: the variable is no number.
    """
    return _number(MOST_CPUS, 8)


def most_memory() -> int:
    """Return how much memory a machine may have that starts now, in MiB.

    Raises:
        EmulatorError: the variable is no number.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, StopIteration), Path("/proc/meminfo").open(encoding="ascii") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    return _number(MOST_MEMORY_MIB, free // 2 >> 20)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0 and len(text) <= 10):
        raise EmulatorError(f"{variable} is {text[:20]!r}", "set it to a whole number from 1 on, or not at all")
    return int(text)
