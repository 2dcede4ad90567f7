"""Runs steps of a workflow as containers of their images, by docker, podman or buildah."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from cos_customizer.emulator.cloud_build.model import Step
from cos_customizer.emulator.cloud_build.runner import BuildDirectories
from cos_customizer.emulator.errors import EmulatorError

TOOLS = ("docker", "podman", "buildah")
_HOME, _WORKSPACE = "/builder/home", "/workspace"
_SCRIPT = "/builder/script"
"""Where a step's container finds the script that it is to run."""
_SECRETS = "/builder/secrets"
_WITH_SECRETS = f"""\
for variable in {_SECRETS}/*; do
  value=$(cat "$variable" && printf .)
  export "${{variable##*/}}=${{value%.}}"
done
exec "$@"
"""
"""A script that takes its environment from files, and then runs its arguments."""


class Containers:
    """Each step is a new container, which has the shared home and workspace mounted, and this machine's network.

    buildah has neither a way to send a signal into a container nor a PID namespace where it works without privileges
    (`--isolation chroot`): `unshare` makes one, whose first process then is the image's, as elsewhere.

    Args:
        tool: one of `TOOLS`.
        image: image of all steps; empty: the images that the steps name.
        environment: of all steps, over that of the image.
        directories: that the steps share.
        secrets: values of variables that steps may have in `secret_env`.
    """

    def __init__(
        self,
        tool: str,
        image: str,
        environment: Mapping[str, str],
        directories: BuildDirectories,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._tool, self._image, self._environment, self._directories = tool, image, environment, directories
        self._secrets = secrets or {}

    def start(self, step: Step, name: str) -> "subprocess.Popen[bytes]":
        """Start a step."""
        image = self._image or step.name
        options = [f"--volume={self._directories.home}:{_HOME}", f"--volume={self._directories.workspace}:{_WORKSPACE}"]
        options += [f"--volume={self._directories.volume(each.name)}:{each.path}" for each in step.volumes]
        if step.script:
            options.append(f"--volume={self._directories.script(step, name)}:{_SCRIPT}")
            step = step.model_copy(update={"entrypoint": _SCRIPT})
        settings = {**self._environment, "HOME": _HOME, **dict(item.split("=", 1) for item in step.env)}
        options += [f"--env={variable}={value}" for variable, value in settings.items()]
        options.append(f"--workdir={PurePosixPath(_WORKSPACE, step.dir)}")
        if self._tool == "buildah":
            self._make_directory(step)
            options += self._secret_files(step, name)
            return self._popen(step, [*self._buildah(name, image, options), *self._command(step, image)])
        options += [f"--env={variable}" for variable in step.secret_env]  # its value is nothing for a command line
        options += [f"--name={name}", "--rm", "--network=host", "--security-opt=label=disable"]
        options += [f"--entrypoint={step.entrypoint}"] if step.entrypoint else []
        return self._popen(step, [self._tool, "run", *options, image, *step.args])

    def send_signal(self, process: "subprocess.Popen[bytes]", name: str, number: signal.Signals) -> None:
        """Send a signal to the container's first process, with which all others end."""
        if process.poll() is not None:
            return
        if self._tool != "buildah":
            subprocess.run([self._tool, "kill", f"--signal={number.name}", name], capture_output=True)
            return
        with contextlib.suppress(ProcessLookupError):
            # buildah itself, if it were killed, would leave files behind.
            if first := _first_process_below(process.pid):
                os.kill(first, number)
            elif number == signal.SIGKILL:
                os.killpg(process.pid, number)

    def remove(self, name: str) -> None:
        """Remove a step's container; docker and podman may have done so by themselves."""
        force = [] if self._tool == "buildah" else ["--force"]
        with contextlib.suppress(OSError):
            subprocess.run([self._tool, "rm", *force, name], capture_output=True)

    def _buildah(self, name: str, image: str, options: list[str]) -> list[str]:
        self._output("from", "--pull-never", f"--name={name}", image)
        namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        namespace += ["setpriv", "--bounding-set=-sys_admin"]
        isolation = ("--isolation=chroot", "--cap-add=CAP_SYS_ADMIN")
        options = [option.replace("--workdir=", "--workingdir=") for option in options]
        return ["buildah", "run", *isolation, *options, name, "--", *namespace]

    def _secret_files(self, step: Step, name: str) -> list[str]:
        """Write a step's secrets to files, for buildah passes no variable of its own on; the options that show them."""
        if not step.secret_env:
            return []
        directory = self._directories.temporary / f"{name}.secrets"
        directory.mkdir(mode=0o700)
        for variable in step.secret_env:
            file = directory / variable
            file.touch(mode=0o600)
            file.write_text(self._secrets[variable])
        return [f"--volume={directory}:{_SECRETS}"]

    def _command(self, step: Step, image: str) -> list[str]:
        wrapper = ["sh", "-c", _WITH_SECRETS, "sh"] if step.secret_env else []
        if step.entrypoint:
            return [*wrapper, step.entrypoint, *step.args]
        settings = json.loads(self._output("inspect", "--type=image", image))["OCIv1"]["config"]
        return [*wrapper, *(settings.get("Entrypoint") or []), *(step.args or settings.get("Cmd") or [])]

    def _make_directory(self, step: Step) -> None:
        """Make the working directory if it is not there, as docker and podman do by themselves."""
        path = PurePosixPath(_WORKSPACE, step.dir)
        if path.is_relative_to(_WORKSPACE):
            (self._directories.workspace / path.relative_to(_WORKSPACE)).mkdir(parents=True, exist_ok=True)

    def _output(self, *arguments: str) -> str:
        try:
            done = subprocess.run([self._tool, *arguments], capture_output=True, text=True)
        except OSError as error:
            raise EmulatorError(f"{self._tool} cannot be started: {error.strerror}") from None
        if done.returncode:
            raise EmulatorError(f"{self._tool} {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def _popen(self, step: Step, command: list[str]) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                command,
                env={**os.environ, **{variable: self._secrets[variable] for variable in step.secret_env}},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EmulatorError(f"{self._tool} cannot be started: {error.strerror}") from None


def _first_process_below(ancestor: int) -> int | None:
    """Return the process that is number 1 in the PID namespace made below another process."""
    parents: dict[int, int] = {}
    firsts: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                status = dict(
                    line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
                )
                parents[int(process.name)] = int(status["PPid"])
                if status.get("NSpid", "").split()[1:][-1:] == ["1"]:
                    firsts.append(int(process.name))
    for first in firsts:
        above = first
        while (above := parents.get(above, 0)) > 1:
            if above == ancestor:
                return first
    return None
