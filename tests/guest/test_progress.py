"""Progress: what a build has come to follows from what the guest says, also when lines are lost on the way."""

import pytest

from cos_customizer.customizer.reporting.events import ConsoleOutput, Note, ScriptPlace, StepChange
from cos_customizer.guest.progress import LINES_OF_FAILED_STEP, GuestProgress
from cos_customizer.guest.protocol import (
    BuildFailed,
    BuildSucceeded,
    DiskPhase,
    DiskWanted,
    Event,
    OutputLine,
    StepFailed,
    StepPlace,
    StepStarted,
    StepSucceeded,
)

LABELS = ("run-script a.sh", "run-script b.sh", "run-script c.sh")
A: list[Event] = [StepStarted(1, LABELS[0]), StepSucceeded(1, 1.5)]
B: list[Event] = [StepStarted(2, LABELS[1]), StepSucceeded(2, 2.5)]
C: list[Event] = [StepStarted(3, LABELS[2]), StepSucceeded(3, 3.5)]
B_FAILED = StepFailed(2, 3, "exited with 3")
FAILED_IN_B = BuildFailed(2, 3, "exited with 3")

DONE, FAILED, RUNNING, NOT_RUN = "succeeded", "failed", "interrupted", "not-run"

STORIES: dict[str, tuple[list[Event], list[str], bool, bool]] = {
    # what the guest says: (events, states of the steps, succeeded, failed)
    "nothing": ([], [NOT_RUN] * 3, False, False),
    "all steps, then success": ([*A, *B, *C, BuildSucceeded()], [DONE] * 3, True, False),
    "success alone": ([BuildSucceeded()], [NOT_RUN] * 3, False, True),
    "success, and the last step never reported": ([*A, *B, BuildSucceeded()], [DONE, DONE, NOT_RUN], False, True),
    "success while a step runs": ([*A, *B, C[0], BuildSucceeded()], [DONE, DONE, RUNNING], False, True),
    "success, and the first steps were lost": ([*C, BuildSucceeded()], [DONE] * 3, True, False),
    "success, and the last end is told again": (
        [*A, *B, C[0], StepSucceeded(3, None), BuildSucceeded()],
        [DONE] * 3,
        True,
        False,
    ),
    "success, then the steps that it was too early for": (
        [*A, BuildSucceeded(), *B, *C, BuildSucceeded()],
        [DONE] * 3,
        False,
        True,
    ),
    "the first step runs": (A[:1], [RUNNING, NOT_RUN, NOT_RUN], False, False),
    "between two steps": (A, [DONE, NOT_RUN, NOT_RUN], False, False),
    "the start of a step was lost": ([*A, B[1]], [DONE, DONE, NOT_RUN], False, False),
    "the end of a step was lost": ([*A, B[0], C[0]], [DONE, DONE, RUNNING], False, False),
    "two steps were lost": ([C[0]], [DONE, DONE, RUNNING], False, False),
    "a step fails": ([*A, B[0], B_FAILED, FAILED_IN_B], [DONE, FAILED, NOT_RUN], False, True),
    "a step's failure was lost": ([*A, B[0], FAILED_IN_B], [DONE, FAILED, NOT_RUN], False, True),
    "the build's failure was lost": ([*A, B[0], B_FAILED], [DONE, FAILED, NOT_RUN], False, False),
    "failure alone": ([FAILED_IN_B], [DONE, FAILED, NOT_RUN], False, True),
    "failure before the steps": ([BuildFailed(None, None, "no context")], [NOT_RUN] * 3, False, True),
    "failure after the steps": ([*A, *B, *C, BuildFailed(None, None, "cleaning up")], [DONE] * 3, False, True),
    "everything twice": ([*A, *A, *B, *B, *C, *C, BuildSucceeded(), BuildSucceeded()], [DONE] * 3, True, False),
    "failure is not taken back by a later success": (
        [*A, B[0], FAILED_IN_B, BuildSucceeded()],
        [DONE, FAILED, NOT_RUN],
        False,
        True,
    ),
    "the VM restarts after success": ([*A, *B, *C, BuildSucceeded(), A[0]], [DONE] * 3, False, True),
    "success again after a restart": (
        [*A, *B, *C, BuildSucceeded(), *A, *B, *C, BuildSucceeded()],
        [DONE] * 3,
        False,
        True,
    ),
    "steps that there are not": ([StepStarted(0, ""), StepSucceeded(0, 1)], [NOT_RUN] * 3, False, False),
}


@pytest.mark.parametrize(("said", "states", "succeeded", "failed"), STORIES.values(), ids=STORIES)
def test_the_state_of_a_build_follows_from_what_the_guest_says(
    said: list[Event], states: list[str], succeeded: bool, failed: bool
) -> None:
    together, one_by_one = (GuestProgress(LABELS, clock=lambda: 0.0) for _ in range(2))
    told = together.consume(said)
    assert [change for event in said for change in one_by_one.consume([event])] == told
    for progress in (together, one_by_one):
        assert [step.state for step in progress.results()] == states
        assert [(step.number, step.label) for step in progress.results()] == list(enumerate(LABELS, start=1))
        assert (progress.succeeded, progress.failure is not None) == (succeeded, failed)
        assert progress.over == (succeeded or failed)
        assert progress.heard == bool(said)


def test_people_are_told_of_each_change_once_in_order() -> None:
    said: list[Event] = [*A, *A, B[0], FAILED_IN_B, FAILED_IN_B]
    changes = GuestProgress(LABELS).consume(said)
    assert changes == [
        StepChange(1, 3, LABELS[0], "started"),
        StepChange(1, 3, LABELS[0], "succeeded", 1.5),
        StepChange(2, 3, LABELS[1], "started"),
        StepChange(2, 3, LABELS[1], "failed", None, "exited with 3", exit_code=3),
    ]


def test_the_time_of_a_step_that_fails_is_taken_here() -> None:
    times = iter((10.0, 20.0, 22.5))
    progress = GuestProgress(LABELS, clock=lambda: next(times))
    for said in (A, B[:1]):
        progress.consume(said)
    assert progress.consume([FAILED_IN_B]) == [StepChange(2, 3, LABELS[1], "failed", 2.5, "exited with 3", exit_code=3)]
    assert [step.seconds for step in progress.results()] == [1.5, 2.5, None]


def test_where_a_script_has_failed_is_told_with_the_failure_of_its_step() -> None:
    progress = GuestProgress(LABELS)
    progress.consume([*A, B[0]])
    running = progress.unfinished
    assert running
    assert (running.number, running.state, running.place) == (2, "started", None)
    progress.consume([StepPlace(2, "b.sh", 7, "cp a b"), FAILED_IN_B])
    failed = progress.unfinished
    assert failed
    assert (failed.exit_code, failed.place) == (3, ScriptPlace("b.sh", 7, "cp a b"))


def test_a_step_whose_end_was_lost_is_told_as_done_without_a_time() -> None:
    progress = GuestProgress(LABELS)
    changes = progress.consume([A[0], B[0]])
    assert changes[1:] == [StepChange(1, 3, LABELS[0], "succeeded"), StepChange(2, 3, LABELS[1], "started")]
    assert progress.results()[0].seconds is None


def test_output_is_told_in_batches_between_the_changes_it_lies_between() -> None:
    said: list[Event] = [OutputLine("boot"), A[0], OutputLine("a"), OutputLine("b"), A[1], OutputLine("late")]
    assert GuestProgress(LABELS).consume(said) == [
        ConsoleOutput(("boot",)),
        StepChange(1, 3, LABELS[0], "started"),
        ConsoleOutput(("a", "b")),
        StepChange(1, 3, LABELS[0], "succeeded", 1.5),
        ConsoleOutput(("late",)),
    ]


def test_the_current_step_is_the_one_that_runs_or_ran_last() -> None:
    progress = GuestProgress(LABELS)
    seen = [progress.current]
    for event in [*A, *B, *C, BuildSucceeded()]:
        progress.consume([event])
        seen.append(progress.current)
    assert seen == [0, 1, 1, 2, 2, 3, 3, 3]
    assert progress.label(2) == "step 2/3 (run-script b.sh)"


def test_a_step_has_ended_when_it_or_the_build_has() -> None:
    progress = GuestProgress(LABELS)
    progress.consume([*A, B[0]])
    assert [progress.ended(number) for number in (1, 2, 3)] == [True, False, False]
    progress.consume([B_FAILED])
    assert [progress.ended(number) for number in (1, 2, 3)] == [True, True, False]
    progress.consume([FAILED_IN_B])
    assert all(progress.ended(number) for number in (1, 2, 3))


def numbered(prefix: str, count: int) -> list[Event]:
    return [OutputLine(f"{prefix}{number}") for number in range(count)]


def test_a_failed_step_is_shown_with_its_own_last_lines() -> None:
    progress = GuestProgress(LABELS)
    progress.consume([A[0], *numbered("a", 100), A[1], B[0], *numbered("b", 100), B_FAILED, FAILED_IN_B])
    assert list(progress.tail) == [f"b{number}" for number in range(100 - LINES_OF_FAILED_STEP, 100)]


def test_what_comes_after_the_failure_does_not_push_out_the_lines_that_led_to_it() -> None:
    progress = GuestProgress(LABELS)
    progress.consume([A[0], A[1], B[0], OutputLine("why"), B_FAILED, FAILED_IN_B, *numbered("background", 100), C[0]])
    assert list(progress.tail) == ["why"]


@pytest.mark.parametrize(
    ("said", "step", "reason"),
    [
        ([BuildSucceeded()], 1, "never reported, though the VM says that all is done"),
        ([*A, BuildSucceeded()], 2, "never reported, though the VM says that all is done"),
        ([*A, *B, C[0], BuildSucceeded()], 3, "has not reported its end, though the VM says that all is done"),
    ],
)
def test_success_without_a_step_s_word_is_a_failure_of_that_step(said: list[Event], step: int, reason: str) -> None:
    progress = GuestProgress(LABELS)
    progress.consume(said)
    assert progress.failure == BuildFailed(step, None, reason)


def test_a_build_without_steps_succeeds_or_fails_as_well() -> None:
    progress = GuestProgress(())
    assert progress.consume([BuildSucceeded()]) == []
    assert (progress.succeeded, progress.current, progress.results()) == (True, 0, ())


def test_warnings_of_the_guest_itself_are_notes_and_those_of_scripts_output() -> None:
    progress = GuestProgress(["run-script a.sh"])
    said: list[Event] = [
        OutputLine("warning: before the first step"),
        StepStarted(1, "run-script a.sh"),
        OutputLine("warning: of the script"),
        StepSucceeded(1, 0.1),
        OutputLine("cleaning up"),
        OutputLine("warning: /etc/a will not be in the image (COS keeps no /etc)"),
        OutputLine("then"),
    ]
    news = [event for event in progress.consume(said) if not isinstance(event, StepChange)]
    assert news == [
        Note("builder VM", "before the first step", "warning"),
        ConsoleOutput(("warning: of the script",)),
        ConsoleOutput(("cleaning up",)),
        Note("builder VM", "/etc/a will not be in the image (COS keeps no /etc)", "warning"),
        ConsoleOutput(("then",)),
    ]


def test_what_becomes_of_the_disk_is_noted_and_what_it_wants_once() -> None:
    progress = GuestProgress(LABELS)
    assert (progress.lays_out_disk, progress.disk_wanted) == (False, None)
    news = progress.consume([DiskPhase("rebooting"), DiskWanted(11 << 30), DiskWanted(11 << 30), DiskPhase("moved")])
    assert [(event.topic, event.text) for event in news if isinstance(event, Note)] == [
        ("disk", "rebooting"),
        ("disk", "the builder VM waits until it has 11 GB"),
        ("disk", "moved"),
    ]
    assert (progress.lays_out_disk, progress.disk_wanted, progress.current) == (True, 11 << 30, 0)
