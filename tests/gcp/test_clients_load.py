"""What a process imports beforehand that others are forked from."""

import os
import subprocess
import sys

from cos_customizer.emulator.server import Emulator

_CLIENTS = """
import sys
from cos_customizer.gcp.clients import connect, load
load()
before = set(sys.modules)
clients = connect()
for name in {names!r}:
    getattr(clients, name)
print(*(name for name in set(sys.modules) - before if name.startswith("google.cloud.compute_v1")))
"""
_USED_BY_BUILDS = ("images", "instances", "disks", "machine_types", "zone_operations", "global_operations")


def test_no_client_of_a_build_has_to_be_imported_later(emulator: Emulator) -> None:
    program = _CLIENTS.format(names=_USED_BY_BUILDS)
    environment = {**os.environ, **emulator.environment()}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
