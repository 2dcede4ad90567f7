"""A build that is run again completes what the first one did not, whatever request of it was the last."""

import signal
from collections.abc import Iterator

import pytest
from support.fault_cases import Case, Undisturbed, attempt
from support.fault_place import FaultPlace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultPlace]:
    with FaultPlace(tmp_path_factory.mktemp("faults")) as place:
        yield place


def test_killed_at_any_request_that_changes_something_and_run_again_it_ends_as_an_undisturbed_build(
    place: FaultPlace,
) -> None:
    """A build that verifies its image, releases it to a family, and deprecates the older ones."""
    undisturbed = Undisturbed.seen(place)
    problems = {}
    last = len(undisturbed.changes) - 1
    for number, change in enumerate(undisturbed.changes):
        # Killed after a request is killed before the next one; only after the last one there is none.
        for when in ("before", "after") if number == last else ("before",):
            case = Case(f"{when} {change}", (-9,), hold=(number, when), signals=(signal.SIGKILL,))
            if found := attempt(place, case, undisturbed).problems:
                problems[case.name] = found
    assert problems == {}
