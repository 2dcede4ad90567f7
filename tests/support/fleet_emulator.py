"""An emulator in a process of its own for `make fleet`: it says where it is, and ends with its standard input."""

import json
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.compute_clients import PROJECT
from support.fleet_recipes import LABEL
from support.guest_scripts import succeeding

from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.scripted import Transcript
from cos_customizer.emulator.server import Emulator

SHORTEST, LONGEST = 5.0, 15.0
"""Seconds that a build's script takes."""


def _events(spec: MachineSpec) -> Sequence[dict[str, Any]]:
    """A build that succeeds, after a time that depends on the VM's name."""
    share = zlib.crc32(spec.name.encode()) / 2**32
    transcript = Transcript(**succeeding(LABEL, seconds=SHORTEST + share * (LONGEST - SHORTEST)))
    return [dict(event) for event in transcript.play(spec)]


def main() -> None:
    """Run until standard input ends."""
    with tempfile.TemporaryDirectory() as name, Emulator(Path(name), "scripted", projects=(PROJECT,)) as emulator:
        emulator.scripts.add(_events)
        json.dump({"port": emulator.port, "environment": emulator.environment()}, sys.stdout)
        sys.stdout.write("\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
