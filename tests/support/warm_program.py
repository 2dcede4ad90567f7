"""The program, started again and again as a process of its own: without being imported each time, or by its command.

A process that has imported everything stands by and forks: each fork is the program, with its own arguments, signals
and end. It starts in hundredths of a second, where the program takes a second or two.
"""

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from support.waiting import PATIENCE, wait_for

from cos_customizer.gcp import clients
from cos_customizer.quick_imports import uncollected


@dataclass
class Started:
    """A run of the program.

    Attributes:
        pid: of its process, which leads a session of its own.
        output: files of what it prints: standard output and standard error.
    """

    pid: int
    output: tuple[Path, Path]
    _program: "WarmProgram | ProgramOnDisk"

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return _text(self.output[0])

    @property
    def err(self) -> str:
        """What it has printed so far on standard error."""
        return _text(self.output[1])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; it may have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait_for(self, words: str) -> None:
        """Wait until it has printed these words."""

        def printed() -> bool:
            return words in self.out

        wait_for(printed)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended.

        Returns:
            Its exit code; that of a signal is negative.

        Raises:
            TimeoutError: It has not ended within `seconds`.
        """
        return self._program.wait(self.pid, seconds)


def _text(file: Path) -> str:
    """Of a file that a process just started may not have made yet."""
    return file.read_text() if file.exists() else ""


class ProgramOnDisk:
    """Runs a program by its command.

    Args:
        environment: All variables of the runs, but for those that a run sets.
        directory: For what the runs print.
        command: That starts it.
    """

    def __init__(self, environment: dict[str, str], directory: Path, command: Sequence[str]) -> None:
        self._environment, self._directory, self._command = environment, directory, command
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, arguments: Sequence[str], environment: dict[str, str], directory: Path) -> Started:
        """Run the program; see `WarmProgram.start`."""
        out, err = (self._directory / f"{len(self._processes)}.{kind}" for kind in ("out", "err"))
        with out.open("wb") as standard_output, err.open("wb") as standard_error:
            process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=directory,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=standard_output,
                stderr=standard_error,
                start_new_session=True,
            )
        self._processes[process.pid] = process
        return Started(process.pid, (out, err), self)

    def wait(self, pid: int, seconds: float) -> int:
        """Wait until a run has ended; see `Started.wait`."""
        try:
            return self._processes[pid].wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end within {seconds:g} s") from None


class WarmProgram:
    """Stands by as a process of its own until it is left.

    Args:
        environment: Variables of the process that stands by: what modules read when they are imported.
        directory: For what the runs print.
        main: What is run, as `module:function` of the arguments that returns the exit code.
    """

    def __init__(
        self, environment: dict[str, str], directory: Path, main: str = "cos_customizer.cli.main:main"
    ) -> None:
        self._directory = directory
        self._number = 0
        self._codes: dict[int, int] = {}
        command = [sys.executable, "-m", __name__, main]
        tests = str(Path(__file__).parents[1])
        self._process = subprocess.Popen(
            command,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, [tests, environment.get("PYTHONPATH")]))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def start(self, arguments: Sequence[str], environment: dict[str, str], directory: Path) -> Started:
        """Run the program.

        Args:
            arguments: Its own.
            environment: Variables to set beside those of the process that stands by.
            directory: Where it runs.
        """
        self._number += 1
        out, err = (self._directory / f"{self._number}.{kind}" for kind in ("out", "err"))
        order = {"arguments": list(arguments), "environment": environment, "directory": str(directory)}
        self._say({**order, "out": str(out), "err": str(err)})
        return Started(self._hear(None)["pid"], (out, err), self)

    def wait(self, pid: int, seconds: float) -> int:
        """Wait until a run has ended; see `Started.wait`."""
        while pid not in self._codes:
            heard = self._hear(seconds)
            self._codes[heard["ended"]] = heard["code"]
        return self._codes.pop(pid)

    def _say(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self, seconds: float | None) -> dict[str, Any]:
        assert self._process.stdout
        while True:
            if seconds is not None and not select.select([self._process.stdout], [], [], seconds)[0]:
                raise TimeoutError(f"no end within {seconds:g} s")
            heard: dict[str, Any] = json.loads(self._process.stdout.readline())
            if seconds is None and "ended" in heard:  # of a run that nobody waits for yet
                self._codes[heard["ended"]] = heard["code"]
                continue
            return heard


def _stand_by() -> int:
    """Fork a process for every order; it returns the program's exit code."""
    module, _, name = sys.argv[1].partition(":")
    with uncollected():
        main = getattr(importlib.import_module(module), name)
        if module == "cos_customizer.cli.main":  # which imports this when it needs it
            importlib.import_module("cos_customizer.flows.build_image")
        clients.load()
    # A shell lets its background jobs ignore Ctrl-C, and nohup hangups; what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    answers = os.dup(1)
    os.dup2(2, 1)
    saying = threading.Lock()
    for line in sys.stdin.buffer:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
            os.environ.update(order["environment"])
            os.chdir(order["directory"])
            _end(int(main(order["arguments"])))

        def reap(pid: int = pid) -> None:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with saying:
                os.write(answers, json.dumps({"ended": pid, "code": code}).encode() + b"\n")

        with saying:
            os.write(answers, json.dumps({"pid": pid}).encode() + b"\n")
        threading.Thread(target=reap, daemon=True).start()
    return 0


def _end(code: int) -> NoReturn:
    """End as a program does, but without taking apart what was imported, which takes longer than all the rest."""
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends its forks
    atexit._run_exitfuncs()  # the same
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(_stand_by())
