"""Running a build: progress on the terminal, the result."""

import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.messages import complain
from cos_customizer.cli.output_file import OutputFile
from cos_customizer.cli.prefect_api import prefect_at_hand
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import BuildTimeoutError, CustomizerError, UsageError, in_words
from cos_customizer.customizer.reporting.events import BuildEnded, Event, listening
from cos_customizer.flows.interrupts import counting_from, ignore_signals

if TYPE_CHECKING:
    from cos_customizer.customizer.reporting.result import BuildResult
    from cos_customizer.customizer.spec.model import BuildSpec


def run_build(
    spec: "BuildSpec", started: float, output_file: OutputFile, on_ended: Callable[[], None] = lambda: None
) -> "BuildResult":
    """Build, show progress, write the result down.

    Args:
        spec: of the build.
        started: value of `time.monotonic()` when the command began; the build's timeout counts from there.
        output_file: where the result goes.
        on_ended: called when the build is over: removes what only this build had use for. Not called on wrong usage,
            nor on errors before the build has begun: so that it can be tried again.

    Raises:
        CustomizerError: the build could not begin, or failed; KeyboardInterrupt and SystemExit: it was interrupted.
    """
    ended: list[BuildEnded] = []

    def note_end(event: Event) -> None:
        if isinstance(event, BuildEnded):
            ended.append(event)

    startup = 0.0
    try:
        from cos_customizer.cli.progress import show_progress

        end = started + spec.timeout_seconds
        with show_progress(spec, started), listening(note_end), prefect_at_hand(_load_flow, end) as build_image:
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
        on_ended()
    if last.error is not None:
        verdict = _as_exit(last.error)
        _fail(verdict, last.result, output_file)
        raise verdict from None
    output_file.write(last.result)
    click.echo(_summary(last.result, time.monotonic() - started, startup))
    return last.result


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
