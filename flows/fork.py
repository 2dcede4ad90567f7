"""A fork of this process that works beside it, and knows when this one has gone: its standard input ends then."""

import contextlib
import contextvars
import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cos_customizer.flows.interrupts import SIGNALS


def may_fork() -> bool:
    """Whether a fork would be whole: of several threads it has one, and what the others hold nobody gives back."""
    return threading.active_count() == 1 and threading.current_thread() is threading.main_thread()


class Fork:
    """A fork, with what `subprocess.Popen` has of the same names.

    Args:
        run: what it does, in a context of its own.
        environment: all of its variables.
        directory: where it works.
        log: what it prints goes there.
        keep: the one descriptor that it has open besides; locks that go with others are this process's alone.

    Attributes:
        pid: of its process, which leads a session of its own.
        stdin: to its standard input.

    Raises:
        OSError: there is no process to be had.
    """

    def __init__(
        self, run: Callable[[], None], environment: dict[str, str], directory: Path, log: BinaryIO, keep: int
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # what no collection of the fork's touches, both have once
        reading, writing = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if self.pid == 0:
            _be_the_fork(run, environment, directory, (reading, log.fileno(), keep))
        os.close(reading)
        self.stdin: BinaryIO | None = os.fdopen(writing, "wb", buffering=0)
        self._code: int | None = None

    def wait(self, timeout: float = math.inf) -> int:
        """Wait until it has ended.

        Args:
            timeout: seconds.

        Returns:
            Its exit code; that of a signal is negative.

        Raises:
            subprocess.TimeoutExpired: It has not.
        """
        end, pause = time.monotonic() + timeout, 0.0005
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif (left := end - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired([], timeout)
            else:
                pause = min(2 * pause, left, 0.05)
                time.sleep(pause)
        return self._code

    def kill(self) -> None:
        """End it at once."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _be_the_fork(
    run: Callable[[], None], environment: dict[str, str], directory: Path, files: tuple[int, int, int]
) -> None:
    """Do what the fork is for, and end; nothing of what the process before it has registered is called."""
    code = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        reading, log, keep = files
        os.setsid()
        for theirs, ours in ((reading, 0), (log, 1), (log, 2)):
            os.dup2(theirs, ours)
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor > 2 and descriptor != keep:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        gc.enable()
        contextvars.Context().run(run)
        code = 0
    except SystemExit as end:  # who asks for it has said why
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
