"""The worker type `cos-customizer`: Prefect's process worker, but that its processes are forks of a warm one."""

import importlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.abc
from prefect.workers.process import ProcessWorker

from cos_customizer.flows.worker import interpreter
from cos_customizer.flows.worker.fork_client import Fork, Forks

RunProcess = Callable[..., Any]

_STARTERS = ("prefect.runner._starter_engine", "prefect.runner._workspace_hook_runner")
"""Modules of Prefect's that start the processes of a run and of its hooks, each by a `run_process` of its own."""
_SEAM = "run_process"
"""To be replaced in the module, says `EngineCommandStarter`. A Prefect that has it no more starts interpreters."""


class CosCustomizerWorker(ProcessWorker):
    """Runs flows as Prefect's process worker does, which it is for all but the start of a process."""

    type = "cos-customizer"
    _display_name = "COS Customizer"
    _description = (
        "Run builds of images as processes on the worker's machine, each a fork of one that has imported what it needs."
    )
    _documentation_url = ""
    _logo_url = ""

    async def setup(self) -> None:
        """Prepare to run."""
        await super().setup()
        self._forks = Forks(self._logger)
        self._replaced: list[tuple[ModuleType, RunProcess]] = []
        for name in _STARTERS:
            try:
                module = importlib.import_module(name)
                self._replaced.append((module, getattr(module, _SEAM)))
            except (ImportError, AttributeError):
                self._logger.warning("this Prefect has no %s.%s: runs are new interpreters, not forks", name, _SEAM)
        for module, run_process in self._replaced:
            setattr(module, _SEAM, partial(self._run_process, run_process))

    async def teardown(self, *exc_info: Any) -> None:
        """Let what runs end as the process worker does, and the warm process after it.

        Args:
            exc_info: of the exception on the way out, if there is one.
        """
        try:
            await super().teardown(*exc_info)
        finally:
            for module, run_process in self._replaced:
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
        self, command: list[str], stream_output: bool, *, env: Mapping[str, str], cwd: Any = None, **others: Any
    ) -> Fork | None:
        """A fork that runs a command; None where it must be a new process, or no fork is to be had."""
        arguments = interpreter.arguments_of(command)
        if arguments is None or others.keys() - {"start_new_session"} or interpreter.needs_new(env, os.environ):
            return None
        try:
            return await self._forks.fork(arguments, env, str(cwd or Path.cwd()), quiet=not stream_output)
        except OSError as error:
            self._logger.warning("%s: the run is a new interpreter", error)
            return None
