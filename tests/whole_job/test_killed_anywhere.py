"""A build that is run again completes what the first one did not, whatever request of it was the last."""

import signal
from pathlib import Path

import pytest
from support.fault_cases import Case, Undisturbed, attempt
from support.fault_place import FaultPlace

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("replaces", [False, True], ids=["new", "replaces"])
def test_killed_at_any_request_that_changes_something_and_run_again_it_ends_as_an_undisturbed_build(
    tmp_path: Path, replaces: bool
) -> None:
    """A build that verifies its image, releases it to a family, and deprecates the older ones.

    One that replaces an image of its name is the same build up to the image.
    """
    with FaultPlace(tmp_path, replaces=replaces) as place:
        undisturbed = Undisturbed.seen(place)
        problems = {}
        changes = list(enumerate(undisturbed.changes))
        last = len(changes) - 1
        for number, change in changes[_number_of_image(undisturbed) if replaces else 0 :]:
            # Killed after a request is killed before the next one; only after the last one there is none.
            for when in ("before", "after") if number == last else ("before",):
                case = Case(f"{when} {change}", (-9,), hold=(number, when), signals=(signal.SIGKILL,))
                if found := attempt(place, case, undisturbed).problems:
                    problems[case.name] = found
    assert problems == {}


def _number_of_image(build: Undisturbed) -> int:
    return next(number for number, change in enumerate(build.changes) if change.endswith("/global/images"))
