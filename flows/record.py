"""What becomes of a build, noted down as it goes: what its result, or its failure, will say."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.errors import BuildTimeoutError, in_words
from cos_customizer.customizer.families.existing import made_by
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.announcements import ImageFailed, upstream_keys
from cos_customizer.customizer.reporting.events import BuildEnded, PhaseChange, Stage, publish
from cos_customizer.customizer.reporting.result import BuildResult, MadeBy, Outcome, Phase, StepResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.gcp.guest_console import GuestConsole
from cos_customizer.gcp.images import ResolvedImage


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
        self.context_sha256 = ""
        self.contents: Contents | None = None
        self.output_name = ""
        self.output: ResolvedImage | None = None
        self.made_by: MadeBy | None = None
        self.zones: dict[Stage, str] = {}
        self.consoles: dict[Stage, GuestConsole] = {}
        self.deprecated: list[str] = []
        self.serial_logs: dict[Stage, str] = {}
        self.leftovers: list[str] = []
        self.is_undone = False
        self.failed_in: Phase | None = None
        self.durations: dict[Phase, float] = {}

    @property
    def zone(self) -> str:
        """The builder VM's, or the test VM's if there is no other; empty before there is one."""
        return self.zones.get("build") or self.zones.get("verify", "")

    def maker_of(self, image: ResolvedImage, recipe: str) -> MadeBy:
        """Who has made an image that has the output image's name.

        Args:
            image: It.
            recipe: fingerprint of the build's recipe; empty if it is not known.
        """
        assert self.source
        return made_by(image.provenance, self.source.id, recipe)

    def upstream(self) -> tuple[str, ...]:
        """Keys of what the image is made of, as far as that is known."""
        return upstream_keys(self.spec, self.source.name if self.source else "")

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Note how long the body takes, and tell that it begins and ends."""
        publish(PhaseChange(name, "started"))
        began = time.monotonic()
        succeeded = False
        try:
            yield
            succeeded = True
        finally:
            if not succeeded:
                self.failed_in = self.failed_in or name  # the innermost, and no later one of the clean-up
            self.durations[name] = round(time.monotonic() - began, 3)
            publish(PhaseChange(name, "succeeded" if succeeded else "failed", self.durations[name]))

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
            made_by=self.made_by,
            image_self_link=output.self_link if output else "",
            image_id=output.id if output else "",
            source_image=source.path if source else "",
            source_image_id=source.id if source else "",
            zone=self.zone,
            steps=self._went("build", self.spec.steps),
            verification=self._went("verify", self.spec.verify.scripts),
            durations={**self.durations, "total": round(time.monotonic() - self.started, 3)},
            deprecated=tuple(self.deprecated),
            serial_log=self.serial_logs.get("build", ""),
            contents=output.recorded_contents if output else "",
            verification_log=self.serial_logs.get("verify", ""),
            leftovers=tuple(self.leftovers),
            error=error,
        )

    def _went(self, stage: Stage, steps: Sequence[Step]) -> tuple[StepResult, ...]:
        if stage in self.consoles:
            return self.consoles[stage].progress.results()
        return tuple(
            StepResult(number=number, label=step.label, state="not-run", seconds=None)
            for number, step in enumerate(steps, start=1)
        )

    def timed_out(self) -> BuildTimeoutError:
        """Tell that the build's time is up; returns the error to raise."""
        console = self.consoles.get("verify") or self.consoles.get("build")
        error = BuildTimeoutError(
            f"the build did not complete within the specified timeout ({self.spec.timeout}), {self._where()}",
            Message("{} gives it more; it covers the whole build, clean-up included.", FieldPath("timeout")),
            tuple(console.progress.tail) if console else (),
        )
        self.close(error)
        return error

    def _where(self) -> str:
        if console := self.consoles.get("verify"):
            if console.progress.succeeded:
                return "after the image was verified"
            number = console.progress.current
            return f"while verifying the image{f', during {console.progress.label(number)}' if number else ''}"
        if console := self.consoles.get("build"):
            if console.progress.succeeded:
                return "after the last step"
            if number := console.progress.current:
                return f"during {console.progress.label(number)}"
        return "while the builder VM was starting" if self.zones else "before a builder VM was made"

    def close(self, error: BaseException) -> None:
        """Tell what has become of a build that did not succeed.

        Args:
            error: what ends it.
        """
        outcome: Outcome = "failed" if isinstance(error, Exception) else "interrupted"
        if isinstance(error, BuildTimeoutError):
            outcome = "timed-out"
        result = self.result(outcome, in_words(error))
        publish(BuildEnded(result, error))
        publish(
            ImageFailed.of(
                self.spec,
                error,
                result.error,
                image=self.output_name,
                build_id=self.build.id,
                outcome=outcome,
                stage=self.failed_in,
                image_id=result.image_id,
                upstream=self.upstream(),
                serial_log=result.serial_log or result.verification_log,
            )
        )
