"""What becomes of a build, noted down as it goes: what its result, or its failure, will say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from cos_customizer.customizer.errors import BuildTimeoutError, CustomizerError
from cos_customizer.customizer.events import BuildEnded, publish
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.result import BuildResult, Outcome, StepResult
from cos_customizer.customizer.spec import BuildSpec
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks.serial_console import GuestConsole


class Record:
    """Notes on one build.

    Args:
        spec: the build's specification.
        build: the build's names.
    """

    def __init__(self, spec: BuildSpec, build: BuildNames) -> None:
        self.spec = spec
        self.build = build
        self.started = time.monotonic()
        self.source: ResolvedImage | None = None
        self.output_name = ""
        self.output: ResolvedImage | None = None
        self.zone = ""
        self.console: GuestConsole | None = None
        self.deprecated: list[str] = []
        self.serial_log = ""
        self.leftovers: list[str] = []
        self.durations: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note how long the body takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.durations[name] = round(time.monotonic() - began, 3)

    def result(self, outcome: Outcome, error: str = "") -> BuildResult:
        """The build's result.

        Args:
            outcome: one of `BuildResult.outcome`.
            error: why the build has not succeeded.
        """
        output, source = self.output, self.source
        return BuildResult(
            outcome=outcome,
            build_id=self.build.id,
            project=self.spec.output.project,
            image=self.output_name,
            image_self_link=output.self_link if output else "",
            image_id=output.id if output else "",
            source_image=source.path if source else "",
            source_image_id=source.id if source else "",
            zone=self.zone,
            steps=self.console.progress.results() if self.console else self._not_run(),
            durations={**self.durations, "total": round(time.monotonic() - self.started, 3)},
            deprecated=tuple(self.deprecated),
            serial_log=self.serial_log,
            leftovers=tuple(self.leftovers),
            error=error,
        )

    def _not_run(self) -> tuple[StepResult, ...]:
        steps = enumerate(self.spec.steps, start=1)
        return tuple(
            StepResult(number=number, label=step.label, state="not-run", seconds=None) for number, step in steps
        )

    def timed_out(self) -> BuildTimeoutError:
        """Tell that the build's time is up; returns the error to raise."""
        number = self.console.progress.current if self.console else 0
        where = f"during {self.console.progress.label(number)}" if self.console and number else ""
        doing = where or ("while the builder VM was starting" if self.zone else "before a builder VM was made")
        if self.console and self.console.progress.succeeded:
            doing = "after the last step"
        error = BuildTimeoutError(
            f"the build did not complete within the specified timeout ({self.spec.timeout}), {doing}",
            "-timeout gives it more; it covers all of finish-image-build, clean-up included.",
            tuple(self.console.progress.tail) if self.console else (),
        )
        self.close(error)
        return error

    def close(self, error: BaseException) -> None:
        """Tell what has become of a build that did not succeed.

        Args:
            error: what ends it.
        """
        outcome: Outcome = "failed" if isinstance(error, Exception) else "interrupted"
        if isinstance(error, BuildTimeoutError):
            outcome = "timed-out"
        text = error.message if isinstance(error, CustomizerError) else f"{type(error).__name__} {error}".strip()
        publish(BuildEnded(self.result(outcome, text)))
