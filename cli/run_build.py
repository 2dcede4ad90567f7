"""Running a build: progress on the terminal, the result."""

import gc
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.colours import coloured
from cos_customizer.cli.messages import complain
from cos_customizer.cli.next_steps import to_look_at
from cos_customizer.cli.output_file import OutputFile
from cos_customizer.cli.prefect_api import prefect_at_hand
from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import BuildTimeoutError, CustomizerError, UsageError, in_words
from cos_customizer.customizer.reporting.events import BuildEnded, Event, listening
from cos_customizer.flows.interrupts import ignore_signals
from cos_customizer.flows.time_limit import counting_from

_OF_VMS = ("builder VM", "boot", "disk", "steps", "halt", "contents", "image", "test VM", "test boot", "verify")

if TYPE_CHECKING:
    from cos_customizer.customizer.reporting.result import BuildResult
    from cos_customizer.customizer.spec.model import BuildSpec


_PATIENCE = 20.0
"""Seconds for finding mistakes before a build begins: it finds them itself, only later."""


def run_build(
    spec: "BuildSpec",
    started: float,
    output_file: OutputFile,
    on_ended: "Callable[[BuildResult], None]" = lambda _result: None,
) -> "BuildResult":
    """Build, show progress, write the result down.

    Args:
        spec: of the build.
        started: value of `time.monotonic()` when the command began; the build's timeout counts from there.
        output_file: where the result goes.
        on_ended: called with the result when the build is over: removes what only this build had use for. Not called on
            wrong usage, nor on errors before the build has begun: so that it can be tried again.

    Raises:
        CustomizerError: the build could not begin, or failed; KeyboardInterrupt and SystemExit: it was interrupted.
    """
    ended: list[BuildEnded] = []

    def note_end(event: Event) -> None:
        if isinstance(event, BuildEnded):
            ended.append(event)

    def load() -> "Callable[[BuildSpec], BuildResult]":
        look_for_mistakes(spec, end)  # while the Prefect server starts, so that it takes no time of its own
        return _load_flow()

    startup = 0.0
    try:
        from cos_customizer.cli.progress import show_progress

        end = started + spec.timeout_seconds
        with show_progress(started, spec), listening(note_end), prefect_at_hand(load, end) as build_image:
            startup = time.monotonic() - started
            with counting_from(started):
                build_image(spec)
    except BaseException as error:
        ignore_signals()
        if not ended:
            _fail(error, _result_of(error, spec), output_file)
            raise
        if error is not ended[-1].error and isinstance(error, Exception):
            complain(f"{in_words(error)}: what the build has come to is not recorded there")
    finally:
        # At exit, the interpreter would take a second to pick apart what Google's and Prefect's modules hold.
        gc.freeze()
    ignore_signals()
    last = ended[-1]
    if last.error is None or last.result.zone:  # otherwise nothing was made, and the command can be given again
        on_ended(last.result)
    if last.error is not None:
        verdict = _as_exit(last.error)
        _fail(verdict, last.result, output_file)
        raise verdict from None
    output_file.write(last.result)
    summary = _summary(last.result, time.monotonic() - started, startup)
    click.echo(coloured(summary, "good" if last.result.outcome == "built" else "warning", sys.stdout))
    if line := to_look_at(last.result.image):
        click.echo(f"to look at it:\n  {line}")
    return last.result


def look_for_mistakes(spec: "BuildSpec", end: float) -> None:
    """Find wrong usage that one can see before the build begins. Whatever else goes wrong here, the build will tell.

    Args:
        spec: of the build.
        end: value of `time.monotonic()` by which the build is over.

    Raises:
        UsageError: the build cannot work.
    """
    from cos_customizer.gcp.clients import connect
    from cos_customizer.gcp.look_ahead import look_ahead

    try:
        with deadline.until(min(end, time.monotonic() + _PATIENCE)):
            look_ahead(connect(), spec)
    except UsageError:
        raise
    except CustomizerError:
        return


def _fail(error: BaseException, result: "BuildResult", output_file: OutputFile) -> None:
    """Write down what an error leaves, and give it to the error for `cli.messages`."""
    if isinstance(error, UsageError):
        return
    error.result = result  # type: ignore[attr-defined]
    try:
        output_file.write(result)
    except CustomizerError as unwritten:  # beside the error that there is, not instead of it
        complain(unwritten.message)


def _as_exit(error: BaseException) -> BaseException:
    """What ends the program: of a SIGTERM, Prefect makes a signal of its own and, were its server there, the exit."""
    number = getattr(error, "signal", None)
    return SystemExit(128 + number) if number is not None and not isinstance(error, Exception) else error


def _load_flow() -> "Callable[[BuildSpec], BuildResult]":
    from cos_customizer.flows.build_image import build_image
    from cos_customizer.gcp import clients

    clients.load()
    return build_image


def _result_of(error: BaseException, spec: "BuildSpec") -> "BuildResult":
    """The result of a build whose flow has published none."""
    from cos_customizer.customizer.reporting.result import BuildResult

    outcome = "interrupted" if not isinstance(error, Exception) else "failed"
    return BuildResult(
        outcome="timed-out" if isinstance(error, BuildTimeoutError) else outcome,
        project=spec.output.project,
        image=spec.output.name or "",
        error=in_words(error),
    )


def ending(result: "BuildResult") -> str:
    """What a build has come to, in a few words: `my-image built`, `failed: could not create …`."""
    if result.outcome == "built":
        return f"{result.image} built"
    if result.outcome == "exists":
        return f"{result.image} was there already"
    why = f": {result.error}" if result.error and result.error != result.outcome else ""
    return f"{result.outcome.replace('-', ' ')}{why}"


def _summary(result: "BuildResult", seconds: float, startup: float) -> str:
    """The last line of a build.

    Args:
        result: of the build.
        seconds: that the command has taken.
        startup: seconds before the flow began.
    """
    if result.outcome == "exists":
        from cos_customizer.customizer.families import existing

        maker = "" if result.made_by in (None, "this-recipe") else f", {existing.in_words(result.made_by)}"
        return f"{result.image} was there already{maker}; nothing was built"
    vm = sum(result.durations.get(phase, 0.0) for phase in _OF_VMS)
    took = f"VM {human_duration(vm)}, Prefect {human_duration(startup)}"
    return f"{result.image} built in {human_duration(seconds)} ({took})"
