"""A build without Prefect and without the command line around it: `support.bare_build:main`, for `WarmProgram`."""

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import yaml

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec.model import parse_spec
from cos_customizer.flows.build import run_in_time
from cos_customizer.flows.record import Record
from cos_customizer.gcp import console_pace

console_pace.FASTEST_POLL = 0.02  # the emulator has no quota


def main(arguments: Sequence[str]) -> int:
    """Build by a recipe.

    Args:
        arguments: `build`, and flags of which `-recipe=FILE` counts.

    Returns:
        The exit code: 0 if the image is there, 1 otherwise.
    """
    (recipe,) = (each.partition("=")[2] for each in arguments if each.startswith("-recipe="))
    spec = parse_spec(yaml.safe_load(Path(recipe).read_text()))
    try:
        run_in_time(Record(spec, BuildNames.of(str(uuid.uuid4()), 1)))
    except CustomizerError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0
