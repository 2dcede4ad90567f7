"""Many builds in this run, one after another."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import format_duration
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.build_queue import Attempt, BuildQueue, Job
from cos_customizer.customizer.families.existing import in_words
from cos_customizer.customizer.reporting.causes import cause_of
from cos_customizer.customizer.reporting.events import BuildBegan, Note, publish
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.output_limit import is_taken

NOT_BEGUN = "could not begin: the time was up"


def build_here(queue: BuildQueue, on_ended: Callable[[Job], object]) -> None:
    """Build what is in a queue, until it is empty or the time is up.

    Args:
        queue: of the builds; empty at the end.
        on_ended: called with each build that is over.
    """
    while queue and deadline.left() > 0:
        job = queue.next(time.monotonic(), is_taken)
        if job is None:
            deadline.pause(max(0.01, queue.soonest() - time.monotonic()))
            continue
        publish(BuildBegan(job.spec, job.recipe, job.number, len(queue.jobs)))
        job.attempts.append(_attempt(job.spec))
        if not job.failure:
            publish(Note("recipe", f"{job.recipe}: {job.spec.output.name} is there"))
        if not told_again(queue, job):
            on_ended(job)
    for job in queue.give_up():
        job.attempts.append(Attempt(0.0, time.time(), NOT_BEGUN, "late"))
        on_ended(job)


def told_again(queue: BuildQueue, job: Job) -> bool:
    """Put a build back that has failed for now; whether that was done.

    Args:
        queue: that it comes from.
        job: whose last attempt is over.
    """
    if not queue.put_back(job, time.monotonic()):
        return False
    zone = job.spec.builder.zones[0]
    text = f"{job.recipe}: {job.failure}; it is tried again later, in {zone} at first"
    publish(Note("recipe", text, "warning"))
    return True


def in_time(spec: BuildSpec) -> BuildSpec:
    """The same build, with no more time than is left.

    Args:
        spec: of the build.

    Raises:
        TimeUpError: there is none.
    """
    left = deadline.left()
    if spec.timeout_seconds <= left:
        return spec
    deadline.check("begin")
    return spec.model_copy(update={"timeout": format_duration(math.ceil(left))})


def _attempt(spec: BuildSpec) -> Attempt:
    began = time.time()
    try:
        bounded = in_time(spec)
        failure, cause = _another_ones(build_image(bounded)), None
    except CustomizerError as error:
        failure, cause = error.message, cause_of(error)
        if cause == "timeout" and spec.timeout_seconds > deadline.left():
            cause = "late"
    attempt = Attempt(began, time.time(), failure, cause)
    return replace(attempt, cause="other") if failure and cause is None else attempt


def _another_ones(result: BuildResult) -> str:
    """Why a build that has ended well is none of this recipe's; empty if it is one."""
    if result.made_by in (None, "this-recipe"):
        return ""
    return f"{result.image} has come to be there meanwhile, {in_words(result.made_by)}"
