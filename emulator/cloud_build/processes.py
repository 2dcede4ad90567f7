"""Runs steps of a workflow as processes of this machine."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from cos_customizer.emulator.cloud_build.model import Step
from cos_customizer.emulator.cloud_build.runner import BuildDirectories
from cos_customizer.emulator.errors import EmulatorError

_KEPT = ("PATH", "LANG", "TZ", "no_proxy", "NO_PROXY", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
"""Variables of this process that steps get; a container would not have the others either."""
_WORKSPACE = "/workspace"


class Processes:
    """Each step is a process in a session of its own. `/workspace` and `/builder/home` are not there under these names.

    Args:
        program: runs in the place of the image's entry point.
        environment: of all steps, over the few variables of this process that are passed on.
        directories: that the steps share.
        secrets: values of variables that steps may have in `secret_env`.
    """

    def __init__(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        directories: BuildDirectories,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
        home, temporary = str(directories.home), str(directories.temporary)
        self._environment = {**kept, "HOME": home, "TMPDIR": temporary, **environment}
        self._program, self._directories, self._secrets = list(program), directories, secrets or {}

    def start(self, step: Step, name: str) -> "subprocess.Popen[bytes]":
        """Start a step."""
        directory = self._directories.workspace / _below_workspace(step.dir)
        directory.mkdir(parents=True, exist_ok=True)
        environment = {**self._environment, **dict(item.split("=", 1) for item in step.env)}
        environment |= {variable: self._secrets[variable] for variable in step.secret_env}
        command = [step.entrypoint] if step.entrypoint else self._program
        if step.script:
            command = [str(self._directories.script(step, name))]
        try:
            return subprocess.Popen(
                [*command, *step.args],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EmulatorError(f"{command[0]} cannot be started: {error.strerror}") from None

    def send_signal(self, process: "subprocess.Popen[bytes]", name: str, number: signal.Signals) -> None:  # noqa: ARG002
        """Send a signal: SIGKILL to the process group, any other one to the process alone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            elif process.poll() is None:
                os.kill(process.pid, number)

    def remove(self, name: str) -> None:
        """Do nothing: files are removed with the shared directories."""


def _below_workspace(directory: str) -> PurePosixPath:
    path = PurePosixPath(directory)
    return path.relative_to(_WORKSPACE) if path.is_relative_to(_WORKSPACE) else path
