"""The order of many builds: turns, families that others hold, tries for want of capacity."""

from collections.abc import Callable

import pytest
from support.specifications import SpecMaker

from cos_customizer.customizer import errors
from cos_customizer.customizer.deadline import TimeUpError
from cos_customizer.customizer.errors import (
    AlreadyExistsError,
    BuildFailedError,
    BuildTimeoutError,
    CleanUpError,
    ConflictError,
    CredentialsError,
    CustomizerError,
    LostVmError,
    NotFoundError,
    PermissionDeniedError,
    PolicyError,
    PreemptedError,
    QuotaError,
    StepFailedError,
    StockOutError,
    UnavailableError,
    UsageError,
    VerificationFailedError,
)
from cos_customizer.customizer.families.build_queue import (
    AGAIN_AFTER,
    LOOK_AGAIN,
    TRIES,
    Attempt,
    BuildQueue,
    Job,
)
from cos_customizer.customizer.reporting.causes import FOR_NOW, IN_WORDS, Cause, cause_in, cause_of
from cos_customizer.customizer.spec.model import BuildSpec

Queue = Callable[..., BuildQueue]


@pytest.fixture
def queue(make_spec: SpecMaker) -> Queue:
    """Makes a queue of builds, each of a family that is called as its recipe."""

    def make(*recipes: str, zones: tuple[str, ...] = ("us-west1-a", "us-east1-b")) -> BuildQueue:
        builder = {"zones": list(zones)}
        return BuildQueue({name: make_spec(output={"family": name}, builder=builder) for name in recipes})

    return make


def held(*families: str) -> Callable[[BuildSpec], bool]:
    return lambda spec: spec.output.family in families


def next_of(queue: BuildQueue, now: float, *taken: str) -> str:
    job = queue.next(now, held(*taken))
    return job.recipe if job else ""


def failed(job: Job, cause: Cause = "stock-out") -> None:
    job.attempts.append(Attempt(1.0, 2.0, "it has failed", cause))


def begun(queue: BuildQueue, now: float) -> Job:
    job = queue.next(now, held())
    assert job is not None
    return job


def test_builds_begin_in_the_order_of_their_recipes(queue: Queue) -> None:
    builds = queue("a", "b", "c")
    assert [next_of(builds, 0) for _ in range(4)] == ["a", "b", "c", ""]
    assert not builds


def test_one_whose_family_is_taken_lets_others_pass_and_says_how_long_it_has_waited(queue: Queue) -> None:
    builds = queue("a", "b")
    assert next_of(builds, 0, "a") == "b"
    assert next_of(builds, LOOK_AGAIN - 1) == "", "it is not asked again at once"
    assert builds.soonest() == LOOK_AGAIN
    assert next_of(builds, LOOK_AGAIN, "a") == ""
    assert next_of(builds, 3 * LOOK_AGAIN) == "a"
    assert [job.waits for job in builds.jobs] == [{"family": 3 * LOOK_AGAIN}, {}]


def test_one_whose_family_is_taken_for_ever_begins_all_the_same_after_its_own_time(queue: Queue) -> None:
    builds = queue("a")
    assert next_of(builds, 0, "a") == ""
    assert next_of(builds, 3599, "a") == ""
    assert next_of(builds, 3600 + LOOK_AGAIN, "a") == "a"


def test_want_of_capacity_is_tried_again_later_elsewhere_and_not_for_ever(queue: Queue) -> None:
    builds, now, zones = queue("a", "b"), 0.0, []
    while True:
        job = begun(builds, now)
        assert job.recipe == "a"
        zones.append(job.spec.builder.zones[0])
        failed(job)
        if not builds.put_back(job, now):
            break
        if now == 0:
            assert next_of(builds, now) == "b", "the others come first"
        now = builds.soonest()
    assert zones == ["us-west1-a", "us-east1-b"] * (TRIES // 2)
    assert now == sum(AGAIN_AFTER * 2**times for times in range(TRIES - 1))
    assert job.waits == {"capacity": now}


@pytest.mark.parametrize("cause", sorted(set(IN_WORDS) - FOR_NOW))
def test_another_failure_is_not_tried_again(queue: Queue, cause: Cause) -> None:
    builds = queue("a")
    job = begun(builds, 0)
    failed(job, cause)
    assert not builds.put_back(job, 0)
    assert not builds


def test_what_has_not_begun_is_given_up_together(queue: Queue) -> None:
    builds = queue("a", "b", "c")
    job = begun(builds, 0)
    failed(job)
    builds.put_back(job, 0)
    assert [job.recipe for job in builds.give_up()] == ["b", "c", "a"]
    assert not builds


CAUSES: list[tuple[CustomizerError, Cause]] = [
    (StockOutError("no capacity: none, in two zones"), "stock-out"),
    (QuotaError("no quota"), "quota"),
    (PreemptedError("taken back"), "preempted"),
    (StepFailedError("step 1/2 failed:\nit has two lines"), "step-failed"),
    (VerificationFailedError("no"), "verification"),
    (BuildFailedError("no context"), "guest-failed"),
    (LostVmError("it was deleted"), "lost-vm"),
    (BuildTimeoutError("too slow"), "timeout"),
    (UsageError("wrong"), "recipe"),
    (NotFoundError("not there"), "recipe"),
    (PermissionDeniedError("not allowed"), "permission"),
    (CredentialsError("expired"), "permission"),
    (PolicyError("forbidden"), "policy"),
    (TimeUpError("the time was up"), "late"),
    (ConflictError("in use"), "conflict"),
    (AlreadyExistsError("it is there"), "conflict"),
    (UnavailableError("no answer"), "unavailable"),
    (CleanUpError("something is left"), "clean-up"),
    (CustomizerError("odd"), "other"),
]


@pytest.mark.parametrize(("error", "cause"), CAUSES, ids=lambda value: str(value))
def test_the_cause_of_a_failure_is_the_same_from_prefect_s_words_as_from_the_error(
    error: CustomizerError, cause: Cause
) -> None:
    told = f"Flow run encountered an exception: {type(error).__name__}: {error}"
    assert cause_of(error) == cause
    assert cause_in(told) == (cause, error.message)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_a_signal_is_a_cause_too(error: BaseException) -> None:
    assert cause_of(error) == "interrupted"


def test_every_kind_of_error_has_a_cause() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CustomizerError)]
    assert {kind.__name__ for kind in kinds if cause_of(kind("no")) == "other"} == {"CustomizerError"}


def test_words_of_prefect_s_own_have_no_cause_of_ours() -> None:
    assert cause_in("the process exited with 1") == ("other", "the process exited with 1")
