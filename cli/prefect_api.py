"""The Prefect API that a command's flow runs on: the configured one, or a server of the command's own."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from cos_customizer.cli.prefect_check import check_api, settings_checked
from cos_customizer.customizer import deadline
from cos_customizer.customizer.reporting.events import Event, Note, listening, publish
from cos_customizer.flows import local_server
from cos_customizer.flows.prefect_errors import translated
from cos_customizer.quick_imports import uncollected

if TYPE_CHECKING:
    from prefect.client.schemas import FlowRun

Flow = TypeVar("Flow")
_TRIES_TO_BEGIN = 4
"""Retries of one request, some 30 s in all: Prefect's client waits 2, 4, 8 and 16 s."""
_TRIES_LATER = 2
_TRIES_OF_EVENTS = 2
"""Prefect's client of events reconnects so often for each event, from the third time on with a second's pause. By its
default of 10, a build whose server has gone would end minutes late, after its dozens of events. None is lost by trying
less: what was not sent goes with the next event that is."""


@contextlib.contextmanager
def prefect_at_hand(load: Callable[[], Flow], end: float = math.inf) -> Iterator[Flow]:
    """See to it that a flow can run: Prefect's API answers, and Google's clients can be made.

    Args:
        load: imports the flow, which takes seconds, beside the server's start; Prefect must not be imported before.
        end: value of `time.monotonic()` by which the API has to answer.

    Returns:
        What `load` returns; run it in this context.

    Raises:
        CustomizerError: the API does not answer, or fails while the flow runs; endpoints or credentials are wrong.
    """
    with uncollected(), settings_checked():
        own_server = _start_server()
        flow = load()
        from cos_customizer.gcp.clients import connect

    connect()  # whatever is wrong with endpoints and credentials is best known before anything is begun
    with deadline.until(end):
        if own_server is not None:
            own_server.wait()
        else:
            check_api()
    with _alone() if own_server is not None else _announced(), translated():
        yield flow


def _start_server() -> local_server.LocalServer | None:
    """Start the build's own Prefect server, unless another is configured; Prefect must not be imported yet."""
    if local_server.configured_api() is not None:
        local_server.quiet_prefect()
        return None
    import atexit

    server = local_server.LocalServer()
    atexit.register(server.stop)  # before Prefect registers its own exit hooks, so that they run first
    server.start(fork=True)
    return server


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Settings for a server that nobody else looks at."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    publish(Note("Prefect", "own server (PREFECT_API_URL is not set)"))
    # A heartbeat tells others that the flow is alive, and makes its end wait for up to a second. If this server goes,
    # it does not come back.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Say at the first event where the flow run can be watched. Until then the server is waited for, later hardly.

    A run that has not begun loses nothing by waiting for a server that restarts or is busy. Afterwards, what the build
    has come to is known: a server that is away is told for seconds, not for minutes.
    """
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    configured = "PREFECT_CLIENT_MAX_RETRIES" in os.environ
    announced = False
    _send_events_quickly()
    with temporary_settings({} if configured else {PREFECT_CLIENT_MAX_RETRIES: _TRIES_TO_BEGIN}) as settings:

        def announce(_event: Event) -> None:
            nonlocal announced
            if announced or (run := _flow_run()) is None:
                return
            announced = True
            if not configured:
                settings.client.max_retries = _TRIES_LATER
            if url := url_for(run):
                publish(Note("flow run", url))

        from prefect.utilities.urls import url_for

        with listening(announce), _waiting_told():
            yield


def _send_events_quickly() -> None:
    from prefect.events.clients import PrefectEventsClient
    from prefect.events.worker import EventsWorker, emit_events_to_cloud

    if not emit_events_to_cloud():  # whose client has a key as well
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=_TRIES_OF_EVENTS)


def _flow_run() -> "FlowRun | None":
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return context.flow_run if context is not None else None


@contextlib.contextmanager
def _waiting_told() -> Iterator[None]:
    """Say once if Prefect's client waits for its server, which it tells nobody but who debugs it."""
    logger = logging.getLogger("prefect.client")
    level = logger.getEffectiveLevel()
    told = False

    def look(record: logging.LogRecord) -> bool:
        nonlocal told
        if not told and "Another attempt will be made" in record.getMessage():
            told = True
            publish(Note("Prefect", "its server does not answer as it should; waiting for it", "warning"))
        return record.levelno >= level

    before = logger.level
    logger.addFilter(look)
    logger.setLevel(min(level, logging.DEBUG))
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeFilter(look)
