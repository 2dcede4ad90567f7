"""At most one build at a time for each image family: a limit that the Prefect server keeps, wherever the builds run.

A deployment's own limit is not enough: two recipes can make images of one family, and so can `finish-image-build`.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import BuildTimeoutError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.reporting.announcements import ImageFailed
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.reporting.failure import Failure
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows import local_server
from cos_customizer.flows.time_limit import command_started

_LEASE = 120.0
"""Seconds after which the family of a build that was killed is free again; renewed while the build is at work."""
_INTERVAL = 5.0
_LOCKED = 423


def limit_name(project: str, family: str) -> str:
    """Name of a family's limit, without slashes, which Prefect forbids."""
    return f"cos-customizer:{project}:{family}"


@contextmanager
def one_at_a_time(spec: BuildSpec) -> Iterator[None]:
    """Wait until no other build of the output family is at work, and keep others waiting while this context lasts.

    Waiting does not count against the build's timeout, and takes as long at most. A limit that exists is taken as it
    is: whoever sets it to 2, or makes it inactive, has a reason. A build without a family does not wait, nor does one
    with a Prefect server of its own, which knows of no other; and none fails because the limit cannot be had.

    Args:
        spec: of the build.

    Raises:
        BuildTimeoutError: it has waited for as long as the build itself may take.
        TimeUpError: there is a time limit around the build's own, and it is over before the others are.
    """
    family = spec.output.family
    if family is None or local_server.is_throw_away():
        yield
        return
    name = limit_name(spec.output.project, family)
    held = ExitStack()
    try:
        try:
            _make(name)
            _wait(held, name, spec)
        except (BuildTimeoutError, deadline.TimeUpError) as error:
            publish(ImageFailed.of(spec, Failure.of(error, phase="waiting"), outcome="timed-out"))
            raise
        except Exception as error:  # a server that knows no such limits, or does not let us have one
            publish(Note("family", f"other builds of {family} are not kept waiting: {error}", "warning"))
        yield
    finally:
        with suppress(Exception):  # the lease expires anyway
            held.close()


def is_taken(spec: BuildSpec) -> bool:
    """Whether a build would wait now for another one of its family.

    Args:
        spec: of the build.

    Returns:
        False too where that is not to be known: the build itself will see.
    """
    family = spec.output.family
    if family is None or local_server.is_throw_away():
        return False
    try:
        with get_client(sync_client=True) as client:
            limit = client.read_global_concurrency_limit_by_name(limit_name(spec.output.project, family))
    except Exception:  # nobody has ever built one, or the server does not say
        return False
    return limit.active and limit.active_slots >= limit.limit


def _make(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another build was as quick
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))


def _wait(held: ExitStack, name: str, spec: BuildSpec) -> None:
    began = time.monotonic()
    family = spec.output.family
    told = False
    while not _entered(held, name):
        if not told:
            told = True
            publish(Note("family", f"waiting for another build of {family} (limit {name} of the Prefect server)"))
        deadline.check(f"begin: another build of {family} is at work")
        patience = began + spec.timeout_seconds - time.monotonic()
        if patience <= 0:
            raise BuildTimeoutError(
                f"the build did not begin within the specified timeout ({spec.timeout}): "
                f"another build of family {family} was at work all the time",
                Message("{} gives it more time to wait, too; nothing was made.", FieldPath("timeout")),
            )
        deadline.pause(min(_INTERVAL, patience))  # here, and not in Prefect's client: a signal ends this at once
    if told:
        waited = time.monotonic() - began
        publish(Note("family", f"waited {human_duration(waited)} for other builds of {family}"))
        started = command_started.get()
        if started is not None:
            command_started.set(started + waited)


def _entered(held: ExitStack, name: str) -> bool:
    quiet = logging.getLogger("prefect._internal.concurrency")
    before = quiet.level
    quiet.setLevel(logging.CRITICAL)  # it calls an error what is only the family being busy
    try:
        # A lease that is lost (the server was away for long) is no reason to end a build.
        limit = concurrency(
            name, max_retries=0, lease_duration=_LEASE, strict=True, raise_on_lease_renewal_failure=False
        )
        held.enter_context(limit)
    except ConcurrencySlotAcquisitionError as error:
        response = getattr(error.__cause__, "response", None)
        if response is not None and response.status_code == _LOCKED:
            return False
        raise
    finally:
        quiet.setLevel(before)
    return True
