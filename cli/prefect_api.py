"""The Prefect API that a command's flow runs on: the configured one, or a server of the command's own."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from cos_customizer.cli.prefect_check import check_api, settings_checked
from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.reporting.events import Event, Note, listening, publish
from cos_customizer.flows import local_server
from cos_customizer.quick_imports import uncollected

Flow = TypeVar("Flow")


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
    own_server = _start_server()
    with uncollected(), settings_checked():
        flow = load()
        from cos_customizer.gcp.clients import connect

    connect()  # whatever is wrong with endpoints and credentials is best known before anything is begun
    with deadline.until(end):
        if own_server is not None:
            own_server.wait()
        else:
            check_api()
    with _alone() if own_server is not None else _announced(), _translated():
        yield flow


def _start_server() -> local_server.LocalServer | None:
    """Start the build's own Prefect server, unless another is configured; Prefect must not be imported yet."""
    if local_server.configured_api() is not None:
        local_server.quiet_prefect()
        return None
    import atexit

    server = local_server.LocalServer()
    atexit.register(server.stop)  # before Prefect registers its own exit hooks, so that they run first
    server.start()
    return server


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of Prefect's client: the API refuses us, or has gone in the middle of a build."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("prefect", "httpx", "httpcore"):
            raise CustomizerError(f"the Prefect API failed: {str(error) or type(error).__name__}") from error
        raise


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Settings for a server that nobody else looks at."""
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # A heartbeat tells others that the flow is alive, and makes its end wait for up to a second. If this server goes,
    # it does not come back.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Say at the first event where the flow run can be watched."""
    announced = False

    def announce(_event: Event) -> None:
        nonlocal announced
        if announced:
            return
        announced = True
        from prefect.context import FlowRunContext
        from prefect.utilities.urls import url_for

        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None and (url := url_for(context.flow_run)):
            publish(Note("flow run", url))

    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    # What the build has come to is known; a server that is away is told for seconds, not for minutes.
    patience = {} if "PREFECT_CLIENT_MAX_RETRIES" in os.environ else {PREFECT_CLIENT_MAX_RETRIES: 2}
    with temporary_settings(patience), listening(announce):
        yield
