"""What is in families, whose names are given."""

import pytest
from support.compute_clients import PROJECT, Compute
from support.family_images import add_images

from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.families import family_images


@pytest.mark.parametrize(("families", "calls"), [(1, 1), (2, 1), (1000, 13)])
def test_many_families_are_asked_for_in_calls_that_are_short_enough(
    emulator: Emulator, families: int, calls: int
) -> None:
    names = [f"family-{number:04}" for number in range(families)]
    there = {f"of-{name}": {"family": name} for name in {names[0], names[-1]}}
    add_images(Compute(emulator), {**there, "other": {"family": "another"}})
    emulator.calls.clear()
    found = family_images(connect(), PROJECT, [*names, names[0]])
    assert sorted(image.name for image in found) == sorted(there)
    assert emulator.calls.count("compute") == calls
