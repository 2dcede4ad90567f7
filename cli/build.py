"""Running a build: Prefect and its server, progress on the terminal, the result."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.messages import complain
from cos_customizer.cli.output_file import OutputFile
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import BuildTimeoutError, CustomizerError, UsageError, in_words
from cos_customizer.customizer.events import BuildEnded, Event, Note, listening, publish
from cos_customizer.flows import local_server
from cos_customizer.flows.interrupts import command_started, ignore_signals

if TYPE_CHECKING:
    from cos_customizer.customizer.result import BuildResult
    from cos_customizer.customizer.spec import BuildSpec


def run_build(
    spec: "BuildSpec", started: float, output_file: OutputFile, forget: Callable[[], None] = lambda: None
) -> "BuildResult":
    """Build, show progress, write the result down.

    Args:
        spec: of the build.
        started: value of `time.monotonic()` when the command began; the build's timeout counts from there.
        output_file: where the result goes.
        forget: called when the build is over: removes what only this build had use for. Not called on wrong usage, nor
            on errors before the build has begun: so that it can be tried again.

    Raises:
        CustomizerError: the build could not begin, or failed; KeyboardInterrupt and SystemExit: it was interrupted.
    """
    begun = False
    ended: list[BuildResult] = []

    def note_end(event: Event) -> None:
        if isinstance(event, BuildEnded):
            ended.append(event.result)

    try:
        from cos_customizer.cli.progress import show_progress

        with show_progress(spec, started), listening(note_end):
            own_server = _start_server()
            from cos_customizer.flows.build_image import build_image
            from cos_customizer.gcp.clients import connect

            connect()  # whatever is wrong with endpoints and credentials is best known before anything is begun
            if own_server is not None:
                own_server.wait()
            else:
                _check_api()
            command_started.set(started)
            begun = True
            startup = time.monotonic() - started
            with _alone() if own_server is not None else _announced(), _translated():
                result = build_image(spec)
    except BaseException as error:
        ignore_signals()
        if isinstance(error, UsageError):
            raise
        if begun or not isinstance(error, Exception):
            forget()
        result = ended[-1] if ended else _result_of(error, spec)
        error.result = result  # type: ignore[attr-defined] # for what is told of it
        try:
            output_file.write(result)
        except CustomizerError as unwritten:  # beside the error that there is, not instead of it
            complain(unwritten.message)
        raise
    finally:
        # At exit, the interpreter would take a second to pick apart what Google's and Prefect's modules hold.
        gc.freeze()
    ignore_signals()
    forget()
    output_file.write(result)
    click.echo(_summary(result, time.monotonic() - started, startup))
    return result


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


def _check_api() -> None:
    """See whether the configured Prefect API answers, before anything is begun."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
        if error is not None:
            raise CustomizerError(
                f"the Prefect API at {client.api_url} does not answer: {str(error) or type(error).__name__}",
                "start it, or unset PREFECT_API_URL (also in the active profile): then a build brings its own server.",
            )


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
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # A heartbeat tells others that the flow is alive, and makes its end wait for up to a second.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Say at the first event where the flow run can be watched."""
    said = False

    def announce(_event: Event) -> None:
        nonlocal said
        if said:
            return
        said = True
        from prefect.context import FlowRunContext
        from prefect.utilities.urls import url_for

        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None and (url := url_for(context.flow_run)):
            publish(Note("flow run", url))

    with listening(announce):
        yield


def _result_of(error: BaseException, spec: "BuildSpec") -> "BuildResult":
    """What became of a build that its flow has said nothing of."""
    from cos_customizer.customizer.result import BuildResult

    outcome = "interrupted" if not isinstance(error, Exception) else "failed"
    return BuildResult(
        outcome="timed-out" if isinstance(error, BuildTimeoutError) else outcome,
        project=spec.output.project,
        image=spec.output.name or "",
        error=in_words(error),
    )


def _summary(result: "BuildResult", seconds: float, startup: float) -> str:
    """The last line of a build.

    Args:
        result: of the build.
        seconds: that the command has taken.
        startup: seconds before the flow began.
    """
    if result.outcome == "exists":
        return f"{result.image} was there already; nothing was built"
    vm = sum(result.durations.get(phase, 0.0) for phase in ("builder VM", "steps", "halt", "image", "verify"))
    took = f"VM {human_duration(vm)}, Prefect {human_duration(startup)}"
    return f"{result.image} built in {human_duration(seconds)} ({took})"
