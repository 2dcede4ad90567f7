"""Runs a Cloud Build workflow on this machine: steps one after the other or side by side, with time limits.

An executor starts the steps, as processes (`processes`) or as containers (`containers`).
"""

import contextlib
import graphlib
import queue
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Literal, Protocol

from cos_customizer.emulator.cloud_build.model import Step, Workflow
from cos_customizer.emulator.cloud_build.workflow import wait_graph
from cos_customizer.emulator.errors import EmulatorError

_DRAIN_SECONDS = 5.0
"""How long the output of a step that has ended is still read."""
_CANNOT_START = 127
"""Exit code of a step that cannot be started, as of a shell whose command is not found."""


@dataclass(frozen=True)
class BuildDirectories:
    """The directories that the steps of a run share.

    Attributes:
        home: `/builder/home`.
        workspace: `/workspace`.
        temporary: for temporary files, removed with the others when the run is over.
    """

    home: Path
    workspace: Path
    temporary: Path

    def script(self, step: Step, name: str) -> Path:
        """Write a step's script to a file that can be run; `sh` runs one whose first line names no other program."""
        file = self.temporary / f"{name}.script"
        text = step.script if step.script.startswith("#!") else f"#!/bin/sh\n{step.script}"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
        return file

    def volume(self, name: str) -> Path:
        """Return the directory of a volume, which is there from then on."""
        directory = self.temporary / "volumes" / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory


class Executor(Protocol):
    """Starts steps and ends them."""

    def start(self, step: Step, name: str) -> "Popen[bytes]":
        """Start a step; its output and errors are one pipe. `name` is unique among the steps of all runs.

        Raises:
            EmulatorError: its program cannot be started.
        """
        ...

    def send_signal(self, process: "Popen[bytes]", name: str, number: signal.Signals) -> None:
        """Send a signal to a step: SIGTERM to its first process, SIGKILL to all. It may have ended already."""
        ...

    def remove(self, name: str) -> None:
        """Remove what a step leaves when it has ended."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: as Cloud Build names it.
        detail: what failed; empty if nothing.
        left_out: numbers of the steps that were not run, because they cannot run here.
    """

    status: Literal["SUCCESS", "FAILURE", "TIMEOUT"]
    detail: str = ""
    left_out: tuple[int, ...] = ()


@contextlib.contextmanager
def build_directories(source: Path) -> Iterator[BuildDirectories]:
    """Make the directories of a run, an empty home and a copy of the source as workspace; remove them afterwards.

    Args:
        source: the directory that `gcloud builds submit` would upload. `.git` is left out, as it is there.

    Raises:
        EmulatorError: it cannot be copied, or holds something that is neither file, directory nor symbolic link.
    """
    with contextlib.ExitStack() as undo:
        base = Path(tempfile.mkdtemp(prefix="cloud-build-"))
        undo.callback(shutil.rmtree, base, ignore_errors=True)
        directories = BuildDirectories(base / "builder/home", base / "workspace", base / "tmp")
        for directory in (directories.home, directories.temporary):
            directory.mkdir(parents=True)
        try:
            shutil.copytree(source, directories.workspace, symlinks=True, ignore=_left_out)
        except shutil.Error as error:
            path, _, why = error.args[0][0]
            raise EmulatorError(f"cannot copy {str(path)!r} to the workspace: {why}") from None
        except OSError as error:
            raise EmulatorError(f"cannot copy {error.filename!r} to the workspace: {error.strerror}") from None
        yield directories


def _left_out(directory: str, names: list[str]) -> list[str]:
    """What is not copied of a directory; refuses what cannot be."""
    for name in names:
        path = Path(directory, name)
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise EmulatorError(
                f"cannot copy {str(path)!r} to the workspace: it is neither a file, a directory nor a symbolic link",
                "remove it, or choose another directory with -source.",
            )
    return [name for name in names if name == ".git"]


def label(number: int, step: Step) -> str:
    """Return the name of a step in Cloud Build's log: `Step #0`, or `Step #0 - "id"`."""
    return f'Step #{number} - "{step.id}"' if step.id else f"Step #{number}"


def run_workflow(
    workflow: Workflow,
    executor: Executor,
    run_id: str,
    runs_here: Callable[[Step], bool],
    log: Callable[[str], None],
    grace: float = 0.0,
) -> Outcome:
    """Run a workflow's steps in their order.

    When a step fails, the time is up, or an exception such as KeyboardInterrupt comes from outside, all running steps
    are killed, as Cloud Build does it.

    Args:
        workflow: its substitutions are replaced already.
        executor: starts and ends steps.
        run_id: unique among runs.
        runs_here: says whether a step can run here; the others are left out.
        log: called with each line of the log, from several threads, one at a time.
        grace: seconds between SIGTERM and SIGKILL when steps are ended; 0: SIGKILL at once.
    """
    with contextlib.closing(_Run(workflow, executor, run_id, log, grace)) as run:
        return run.until_done(runs_here)


@dataclass
class _RunningStep:
    """A step that runs or is being started: `process` is known once `begun` is set."""

    deadline: float
    follower: threading.Thread
    begun: threading.Event = field(default_factory=threading.Event)
    process: "Popen[bytes] | None" = None


class _Run:
    def __init__(
        self, workflow: Workflow, executor: Executor, run_id: str, log: Callable[[str], None], grace: float
    ) -> None:
        self._workflow, self._executor, self._id, self._grace = workflow, executor, run_id, grace
        self._log_unlocked, self._lock = log, threading.Lock()
        self._running: dict[int, _RunningStep] = {}
        self._finished: queue.SimpleQueue[tuple[int, int | OSError]] = queue.SimpleQueue()

    def until_done(self, runs_here: Callable[[Step], bool]) -> Outcome:
        steps, deadline = self._workflow.steps, time.monotonic() + self._workflow.timeout
        order: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter(wait_graph(steps))
        left_out = tuple(number for number, step in enumerate(steps) if not runs_here(step))
        order.prepare()
        while order.is_active():
            ready = order.get_ready()
            for number in sorted(ready):
                if number in left_out:
                    self._log(f"{label(number, steps[number])}: left out: {steps[number].name}")
                    order.done(number)
                else:
                    self._start(number)
            if set(ready) & set(left_out):
                continue  # steps that waited for them are ready now
            next_deadline = min([deadline, *(running.deadline for running in self._running.values())])
            try:
                number, code = self._finished.get(timeout=max(0.0, next_deadline - time.monotonic()))
            except queue.Empty:
                if outcome := self._timed_out(deadline, left_out):
                    return outcome
                continue
            if isinstance(code, OSError):
                raise code
            del self._running[number]
            self._log(f"Finished {label(number, steps[number])}")
            if not steps[number].may_end_with(code):
                return Outcome("FAILURE", f"{self._description(number)} failed: {_ending(code)}", left_out)
            if code:
                self._log(f"{label(number, steps[number])}: {_ending(code)}, which is allowed")
            order.done(number)
        return Outcome("SUCCESS", "", left_out)

    def close(self) -> None:
        """End the steps that still run, even if this is interrupted."""
        try:
            if self._grace and self._running:
                self._send_all(signal.SIGTERM)
                self._await_all(self._grace)
        finally:
            self._send_all(signal.SIGKILL)
            self._await_all(_DRAIN_SECONDS * 2)

    def _start(self, number: int) -> None:
        step = self._workflow.steps[number]
        self._log(f"Starting {label(number, step)}")
        # In a thread of its own, which no signal interrupts between the start of the process and the note of it.
        follower = threading.Thread(target=self._follow, args=(number,), daemon=True)
        deadline = time.monotonic() + (step.timeout or self._workflow.timeout)
        self._running[number] = _RunningStep(deadline, follower)
        follower.start()

    def _follow(self, number: int) -> None:
        running, name = self._running[number], self._name(number)
        try:
            running.process = process = self._executor.start(self._workflow.steps[number], name)
        except (EmulatorError, OSError, ValueError) as error:
            self._executor.remove(name)
            self._log(f"{label(number, self._workflow.steps[number])}: {error}")
            self._finished.put((number, _CANNOT_START))
            return
        finally:
            running.begun.set()
        reader = threading.Thread(target=self._read, args=(number, process), daemon=True)
        reader.start()
        code = process.wait()
        self._executor.send_signal(
            process, name, signal.SIGKILL
        )  # its first process ends all others, as in a container
        reader.join(_DRAIN_SECONDS)
        self._executor.remove(name)
        self._finished.put((number, code))

    def _read(self, number: int, process: "Popen[bytes]") -> None:
        assert process.stdout is not None
        prefix = label(number, self._workflow.steps[number])
        with process.stdout:
            try:
                for line in process.stdout:
                    text = line.decode("utf-8", "replace").rstrip("\r\n")
                    self._log(f"{prefix}: {text}")
            except OSError as error:  # the reader of the log is gone
                self._finished.put((number, error))

    def _timed_out(self, deadline: float, left_out: tuple[int, ...]) -> Outcome | None:
        """Return the outcome if the time of the build or of a step is up."""
        now = time.monotonic()
        if now >= deadline:
            return Outcome("TIMEOUT", f"build timed out after {self._workflow.timeout:g} s", left_out)
        for number, running in self._running.items():
            if now >= running.deadline:
                timeout = self._workflow.steps[number].timeout
                return Outcome("TIMEOUT", f"{self._description(number)} timed out after {timeout:g} s", left_out)
        return None

    def _send_all(self, number: signal.Signals) -> None:
        for step, running in self._running.items():
            if running.follower.ident is not None:
                running.begun.wait()
            if running.process is not None:
                self._executor.send_signal(running.process, self._name(step), number)

    def _await_all(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for running in self._running.values():
            if running.follower.ident is not None:
                running.follower.join(max(0.0, end - time.monotonic()))

    def _name(self, number: int) -> str:
        return f"cloud-build-{self._id}-{number}"

    def _description(self, number: int) -> str:
        return f'build step {number} "{self._workflow.steps[number].name}"'

    def _log(self, line: str) -> None:
        with self._lock:
            self._log_unlocked(line)


def _ending(code: int) -> str:
    """Describe how a step ended."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"step exited with non-zero status: {code}"
