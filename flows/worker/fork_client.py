"""The worker's side of the warm process: it is started, asked for forks, and replaced when it is outdated or gone."""

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

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

_IMPORTED = 300.0
"""Seconds after which a process that has not imported everything never will have."""
_FORKED = 60.0
"""Seconds after which one that has not forked does not answer."""
_ENDED = 5.0
"""Seconds that the worker waits at its end for one that has nothing to do any more."""
_ATTEMPTS = 3
_UNKNOWN = 1
"""Exit code of a run whose code nobody knows. What the run itself has reported to Prefect counts before it."""


class Fork:
    """A process that was forked: as much of `anyio.abc.Process` as Prefect asks for.

    Attributes:
        pid: it leads a session of its own.
        returncode: None while it runs; negative if a signal has ended it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._over = asyncio.Event()

    def has_ended(self, code: int) -> None:
        """Note its end."""
        self.returncode = code
        self._over.set()

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._over.wait()

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class _WarmProcess:
    """One warm process and its forks.

    Args:
        logger: is told if it ends before its forks do.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._forks: dict[int, Fork] = {}
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready = asyncio.Event()
        self.is_gone = False

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            OSError: it does not become ready.
        """
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cos_customizer.flows.worker.fork_server", str(its.fileno())],
                # One heap for all threads of a run: each of its own would take some MiB.
                env={**os.environ, "MALLOC_ARENA_MAX": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self._from, self._to = await asyncio.open_connection(sock=ours)
        self.listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait_for(self._ready.wait(), _IMPORTED)
        except BaseException:
            self._process.kill()
            raise
        if self.is_gone:
            raise ConnectionError("a process that imports what runs need has ended before it was ready")

    async def fork(self, request: dict[str, Any]) -> Fork | str:
        """Ask for a fork.

        Args:
            request: with a number of its own.

        Returns:
            It; or what file has changed since it was imported.

        Raises:
            OSError: there is no answer.
        """
        number = request["request"]
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._to.write(json.dumps(request).encode() + b"\n")
            heard = await asyncio.wait_for(answer, _FORKED)
        except TimeoutError:
            self.is_gone = True
            self._process.kill()
            raise ConnectionError("the warm process did not answer") from None
        finally:
            del self._answers[number]
        return heard["changed"] if "changed" in heard else self._forks[heard["pid"]]

    def retire(self) -> None:
        """Ask for no more. It ends with the last of its forks."""
        self.is_gone = True
        with suppress(OSError):  # it has ended
            self._to.write_eof()

    async def _listen(self) -> None:
        with suppress(OSError):
            while line := await self._from.readline():
                self._take(json.loads(line))
        self.is_gone = True
        self._ready.set()
        self._to.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the warm process has ended"))
        await asyncio.gather(*map(self._outlive, self._forks.values()))
        await asyncio.to_thread(self._process.wait)

    def _take(self, said: dict[str, Any]) -> None:
        if "ready" in said:
            self._ready.set()
        elif "code" in said:
            self._forks.pop(said["pid"]).has_ended(said["code"])
        else:
            answer = self._answers.get(said["request"])
            is_awaited = answer is not None and not answer.done()
            if "pid" in said:
                fork = self._forks[said["pid"]] = Fork(said["pid"])
                if not is_awaited:  # it is late: what asked for it does something else now
                    fork.kill()
            if answer is not None and is_awaited:
                answer.set_result(said)

    async def _outlive(self, fork: Fork) -> None:
        """Wait for the end of a fork whose parent is gone, and nobody knows its exit code any more."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(fork.pid)
            over, loop = asyncio.Event(), asyncio.get_running_loop()
            loop.add_reader(handle, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(handle)
                os.close(handle)
        self._logger.warning("process %d has ended, nobody knows how: its warm process was gone", fork.pid)
        fork.has_ended(_UNKNOWN)


class Forks:
    """Forks of a warm process, which is started when the first is asked for, and anew if it is outdated or gone.

    Args:
        logger: is told of what goes wrong.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._warm: list[_WarmProcess] = []
        self._starting = asyncio.Lock()
        self._requests = 0

    async def fork(self, arguments: list[str], environment: Mapping[str, str], directory: str, quiet: bool) -> Fork:
        """Run a Python program in a fork.

        Args:
            arguments: what would follow the interpreter in its command line: a module after `-m`, or a script.
            environment: all variables.
            directory: where it runs.
            quiet: whether what it prints is thrown away; it goes where the worker's own output goes otherwise.

        Raises:
            OSError: there is no warm process to be had, or it does not answer.
        """
        self._requests += 1
        request = {
            "request": self._requests,
            "arguments": arguments,
            "environment": dict(environment),
            "directory": directory,
            "quiet": quiet,
        }
        for _ in range(_ATTEMPTS):
            warm = await self._warm_process()
            try:
                found = await warm.fork(request)
            except ConnectionError:
                continue
            if isinstance(found, Fork):
                return found
            self._logger.info("%s has changed: imported anew", found)
            warm.retire()
        raise ConnectionError(f"{_ATTEMPTS} warm processes in a row have ended, or were outdated at once")

    async def _warm_process(self) -> _WarmProcess:
        async with self._starting:
            if not self._warm or self._warm[-1].is_gone:
                self._warm = [warm for warm in self._warm if not warm.listening.done()]
                warm = _WarmProcess(self._logger)
                await warm.start()
                self._warm.append(warm)
            return self._warm[-1]

    async def close(self) -> None:
        """Let them end, which they do with the last of their forks."""
        for warm in self._warm:
            warm.retire()
        if self._warm:
            await asyncio.wait([warm.listening for warm in self._warm], timeout=_ENDED)
