"""What the emulator's virtual machines need of the host: programs, and processes that do not outlive the emulator."""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cos_customizer.emulator.machines.backend import EmulatorError

LOG = logging.getLogger("cos_customizer.emulator")

_RUN = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "setpriv": "util-linux"}
_BUILD = {"mmdebstrap": "mmdebstrap", "apt-get": "apt"}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""The programs (and the file) and the packages of Debian 12 that bring them: to run machines, to build the stand-in."""


def missing_packages(build: bool = True) -> list[str]:
    """The packages (named as in Debian 12) that a user must install before machines can run.

    Args:
        build: also those that are needed only to build the stand-in image.
    """
    programs = {**_RUN, **(_BUILD if build else {})}
    if build and os.geteuid() != 0:
        programs["newuidmap"] = "uidmap"  # mmdebstrap's user namespace
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if build and not _KEYRING.exists():
        missing.append("debian-archive-keyring")
    return missing


def require_packages(build: bool = True) -> None:
    """Make sure that nothing is missing.

    Raises:
        EmulatorError: with what is missing and the command that installs it.
    """
    if missing := missing_packages(build):
        raise EmulatorError(
            f"the local Compute Engine needs {', '.join(missing)} on this machine",
            f"apt-get install --no-install-recommends {' '.join(missing)}  (package names of Debian 12)",
        )


def mortal(command: Sequence[str], end: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command, made to get a signal from the kernel when the *thread* that starts it ends, even by `kill -9`."""
    return ["setpriv", "--pdeathsig", end.name, "--", *command]


def run(*command: str) -> str:
    """Run a program to its end; returns its standard output.

    Raises:
        EmulatorError: it failed; the message has its last words.
    """
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise EmulatorError(f"{command[0]} failed: {last_words(done.stderr)}")
    return done.stdout


def last_words(text: str, lines: int = 3) -> str:
    """The last lines of a program's output, for an error message."""
    return "; ".join(filter(None, map(str.strip, text.splitlines()[-lines:]))) or "it said nothing"
