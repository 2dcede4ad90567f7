"""The worker's side of the warm process: it is started, asked for forks, replaced when it is stale or gone."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_STARTED = 120.0
"""Seconds within which a warm process has imported everything, or never will have."""
_FORKED = 60.0
"""Seconds within which it has forked."""
_ENDED = 5.0


class ForkedProcess:
    """A run, as much of `anyio.abc.Process` as Prefect asks for.

    Attributes:
        pid: of its process, which leads a session of its own.
        returncode: None while it runs; that of a signal is negative.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._over = asyncio.Event()

    def ended(self, code: int) -> None:
        """Note its end."""
        self.returncode = code
        self._over.set()

    async def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class _WarmProcess:
    """One warm process, and the runs that it has forked."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._runs: dict[int, ForkedProcess] = {}
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.gone = False

    async def start(self) -> None:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cos_customizer.flows.worker.fork_server", str(its.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self._from, self._to = await asyncio.open_connection(sock=ours)
        self._listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait_for(self._ready, _STARTED)
        except BaseException:
            self._process.kill()
            raise

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        number = request["request"]
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._to.write(json.dumps(request).encode() + b"\n")
        await self._to.drain()
        return await asyncio.wait_for(answer, _FORKED)

    def run_of(self, pid: int) -> ForkedProcess:
        return self._runs[pid]

    def retire(self) -> None:
        """Ask for no more; it ends with the last of its runs."""
        self.gone = True
        with suppress(OSError):
            self._to.write_eof()

    async def over(self) -> None:
        """Wait until it has ended; some seconds at most, since it ends by itself."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._listening, _ENDED)

    async def _listen(self) -> None:
        with suppress(OSError):
            while line := await self._from.readline():
                self._take(json.loads(line))
        self.gone = True
        self._to.close()
        lost = ConnectionError("the warm process has ended")
        for answer in (self._ready, *self._asked.values()):
            if not answer.done():
                answer.set_exception(lost)
        await asyncio.gather(*(self._watch(run) for run in self._runs.values()))
        await asyncio.to_thread(self._process.wait)

    def _take(self, answer: dict[str, Any]) -> None:
        if "ready" in answer:
            self._ready.set_result(answer)
        elif "request" in answer:
            if "pid" in answer:
                self._runs[answer["pid"]] = ForkedProcess(answer["pid"])
            self._asked.pop(answer["request"]).set_result(answer)
        else:
            self._runs.pop(answer["pid"]).ended(answer["code"])

    async def _watch(self, run: ForkedProcess) -> None:
        """Wait for the end of a run whose parent is gone: nobody can tell its exit code."""
        try:
            handle = os.pidfd_open(run.pid)
        except ProcessLookupError:
            pass
        else:
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_reader(handle, over.set)
            await over.wait()
            loop.remove_reader(handle)
            os.close(handle)
        self._logger.warning("process %d has ended; the warm process that knew how is gone", run.pid)
        run.ended(1)


class Forks:
    """Forks of a warm process, which is there when the first is asked for, and anew when it is stale or has died.

    Args:
        logger: is told what goes wrong.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._warm: _WarmProcess | None = None
        self._all: list[_WarmProcess] = []
        self._starting = asyncio.Lock()
        self._requests = 0

    async def fork(
        self, arguments: list[str], environment: Mapping[str, str], directory: str | None, quiet: bool
    ) -> ForkedProcess:
        """Run a Python program in a fork.

        Args:
            arguments: what would follow the interpreter in its command line: a module after `-m`, or a script.
            environment: all variables.
            directory: where it runs; None: where the worker does.
            quiet: whether nothing of what it prints is seen.

        Raises:
            OSError: no warm process could be had, or it does not answer. (`TimeoutError` is one.)
        """
        self._requests += 1
        request = {
            "request": self._requests,
            "arguments": arguments,
            "environment": dict(environment),
            "directory": directory,
            "quiet": quiet,
        }
        for _ in range(3):
            warm = await self.warm_up()
            try:
                answer = await warm.ask(request)
            except ConnectionError:
                continue
            if "pid" in answer:
                return warm.run_of(answer["pid"])
            self._logger.info("%s has changed: imported anew", answer["stale"])
            warm.retire()
        raise ConnectionError("three warm processes in a row have ended, or found that what they imported had changed")

    async def warm_up(self) -> _WarmProcess:
        """The warm process; started, unless it is there.

        Raises:
            OSError: it could not be had.
        """
        async with self._starting:
            if self._warm is None or self._warm.gone:
                warm = _WarmProcess(self._logger)
                await warm.start()
                self._warm = warm
                self._all.append(warm)
            return self._warm

    async def close(self) -> None:
        """Let all of them end; that they have no runs any more is Prefect's to see to."""
        for warm in self._all:
            warm.retire()
        for warm in self._all:
            await warm.over()
