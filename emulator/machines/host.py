"""The host of virtual machines: programs it must have, and processes that do not outlive the emulator."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cos_customizer.emulator.errors import EmulatorError

_TO_RUN = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "setpriv": "util-linux"}
_TO_BUILD = {"mmdebstrap": "mmdebstrap", "apt-get": "apt"}
"""Programs, and the packages of Debian 12 and 13 that have them: to run machines, and to build the stand-in image."""
UEFI_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
UEFI_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
"""Firmware of machines that boot by UEFI, and its variables as they are in a new machine."""
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def missing_packages(build: bool = True, uefi: bool = True) -> list[str]:
    """Return the packages (named as in Debian 12 and 13) that are missing before machines can run.

    Args:
        build: also those that are needed only to build the stand-in image.
        uefi: also those that are needed only by machines that boot by UEFI.
    """
    programs = {**_TO_RUN, **_TO_BUILD} if build else dict(_TO_RUN)
    if build and os.geteuid() != 0:
        programs["newuidmap"] = "uidmap"  # mmdebstrap's user namespace
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if build and not _KEYRING.exists():
        missing.append("debian-archive-keyring")
    if uefi and not UEFI_CODE.exists():
        missing.append("ovmf")
    return missing


def require_packages(build: bool = True) -> None:
    """Check that no package is missing; see `missing_packages`.

    Raises:
        EmulatorError: it names what is missing; its hint is the command that installs it.
    """
    if missing := missing_packages(build, uefi=False):
        raise EmulatorError(
            f"the local Compute Engine needs {', '.join(missing)} on this machine",
            f"apt-get install --no-install-recommends {' '.join(missing)}  (package names of Debian 12 and 13)",
        )


def die_with_parent(command: Sequence[str], death_signal: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command in a form that ends with its parent.

    The kernel sends it the signal when the *thread* that has started it ends, even by `kill -9`.
    """
    return ["setpriv", "--pdeathsig", death_signal.name, "--", *command]


def run(*command: str) -> str:
    """Run a program to its end; returns its standard output.

    Raises:
        EmulatorError: it failed; the message has the last lines of its errors.
    """
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise EmulatorError(f"{command[0]} failed: {last_lines(done.stderr)}")
    return done.stdout


def last_lines(text: str, number: int = 3) -> str:
    """Return the last lines of a program's output, for an error message."""
    return "; ".join(filter(None, map(str.strip, text.splitlines()[-number:]))) or "it said nothing"
