"""The worker type `cos-customizer`: Prefect's process worker, but that its processes are forks of a warm one."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.abc
import prefect.runner._starter_engine
import prefect.runner._workspace_hook_runner
from prefect.workers.process import ProcessWorker

from cos_customizer.flows.worker import interpreter
from cos_customizer.flows.worker.fork_client import ForkedProcess, Forks

RunProcess = Callable[..., Any]

_SEAM = "run_process"
_STARTERS: tuple[ModuleType, ...] = (prefect.runner._starter_engine, prefect.runner._workspace_hook_runner)
"""Modules of Prefect's that start the processes of a run and of its hooks, by the name `run_process` of each. ("Patch the
module to override" it, says `EngineCommandStarter`.)"""


class CosCustomizerWorker(ProcessWorker):
    """Runs flows as Prefect's process worker does, which it is for all but the start of a process."""

    type = "cos-customizer"
    _display_name = "COS Customizer"
    _description = (
        "Run builds of images as processes on the worker's machine, each forked from one that has imported all it needs."
        " A run takes a quarter of the processor and of the memory that one of a process worker takes."
    )
    _documentation_url = ""
    _logo_url = ""

    async def setup(self) -> None:
        """Prepare to run, and begin to warm up."""
        await super().setup()
        self._forks = Forks(self._logger)
        self._before = [(module, getattr(module, _SEAM, None)) for module in _STARTERS]
        for module, run_process in self._before:
            if run_process is None:
                self._logger.warning("this Prefect starts runs in another way than is known: each is a new interpreter")
            else:
                setattr(module, _SEAM, partial(self._run_process, run_process))

    async def teardown(self, *exc_info: Any) -> None:
        """Let what runs end as the process worker does, and the warm process after it."""
        try:
            await super().teardown(*exc_info)
        finally:
            for module, run_process in self._before:
                if run_process is not None:
                    setattr(module, _SEAM, run_process)
            await self._forks.close()

    async def _run_process(
        self,
        cold: RunProcess,
        command: list[str],
        *,
        stream_output: bool = False,
        task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
        task_status_handler: Callable[[Any], Any] = lambda process: process.pid,
        **options: Any,
    ) -> Any:
        """Instead of Prefect's `run_process`: the same, in a fork where a fork can stand for the command.

        Args:
            cold: Prefect's own.
            command: program and arguments.
            stream_output: whether what it prints is seen.
            task_status: is told of the start,
            task_status_handler: by what this makes of the process.
            options: of `subprocess.Popen`.
        """
        process = await self._fork(command, stream_output, **options)
        if process is None:
            return await cold(
                command,
                stream_output=stream_output,
                task_status=task_status,
                task_status_handler=task_status_handler,
                **options,
            )
        try:
            task_status.started(task_status_handler(process))
            await process.wait()
        except BaseException:  # as Prefect's own does when the worker is stopped in haste
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
            raise
        return process

    async def _fork(
        self,
        command: list[str],
        stream_output: bool,
        *,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        start_new_session: bool = True,
        **others: Any,
    ) -> ForkedProcess | None:
        """A fork that runs a command; None where it must be a new process, or no fork can be had."""
        arguments = interpreter.arguments_of(command)
        if arguments is None or others or interpreter.needs_new(env, os.environ):
            return None
        directory = str(cwd) if cwd is not None else str(Path.cwd())
        try:
            return await self._forks.fork(arguments, env, directory, quiet=not stream_output)
        except OSError as error:
            self._logger.warning("%s; the run is a new interpreter", error)
            return None
