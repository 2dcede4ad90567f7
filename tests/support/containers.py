"""The container image, built, and containers of it, run as Cloud Build runs steps: by buildah, without an engine."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from support.paths import ROOT
from support.waiting import PATIENCE, wait_for

HOME = "/builder/home"
WORKSPACE = "/workspace"


@cache
def image(sbom: str = "", target: str = "") -> str:
    """Build the image; what has not changed since the last time is taken from there.

    Args:
        sbom: a file for the bill of materials; none if empty.
        target: the Dockerfile's stage; the last one if empty.

    Returns:
        Its name.
    """
    tag = target or "test"
    settings = {"CONTAINER_TOOL": "buildah", "IMAGE": "cos-customizer", "TAG": tag, "SBOM": sbom, "TARGET": target}
    done = subprocess.run(
        [ROOT / "make" / "container.sh"], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return f"localhost/cos-customizer:{tag}"


def buildah(*arguments: str) -> str:
    """What it prints."""
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def base_of_image() -> str:
    """The name of what the image is built on: the Dockerfile's base, or where no registry is in reach, our own."""
    names = re.findall(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names += re.findall(r"^own_base=(\S+)", (ROOT / "make" / "container.sh").read_text(), re.MULTILINE)
    looks = (["buildah", "inspect", "--type", "image", name] for name in names)
    found: str = next(
        look[-1] for look in looks if subprocess.run(look, capture_output=True, check=False).returncode == 0
    )
    return found


def settings_of(image: str) -> Mapping[str, object]:
    """Its entry point, labels and the like, in OCI's terms."""
    settings: dict[str, object] = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    return settings


@dataclass
class Container:
    """A new container of an image; entered, it is there; left, it is gone, with all that ran in it.

    Its processes see the host's network, but no other process: the first of them is process 1.

    Attributes:
        image: the image's name.
        home: mounted as the home directory, as Cloud Build does.
        workspace: mounted as the working directory.
        environment: more of it.
        user: id of the user and the group.
        network: whether there is one.
    """

    image: str
    home: Path | None = None
    workspace: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int = 0
    network: bool = True
    _name: str = ""
    _processes: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __enter__(self) -> "Container":
        self._name = buildah("from", "--pull-never", self.image)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        buildah("rm", self._name)

    def root(self) -> Path:
        """Where its files are on the host."""
        return Path(buildah("mount", self._name))

    def command(self, *arguments: str, entrypoint: Sequence[str] | None = None, directory: str = "") -> list[str]:
        """What runs the image's entry point with arguments (its `CMD`, if there are none), or another entry point."""
        settings = settings_of(self.image)
        if entrypoint is None:
            entrypoint = settings["Entrypoint"]  # type: ignore[assignment]
            arguments = arguments or tuple(settings["Cmd"])  # type: ignore[arg-type]
        assert entrypoint is not None
        options = ["--isolation", "chroot", "--cap-add", "CAP_SYS_ADMIN"]
        for name, value in {"HOME": HOME, **self.environment}.items():
            options += ["--env", f"{name}={value}"]
        for directory_here, inside in ((self.home, HOME), (self.workspace, WORKSPACE)):
            if directory_here:
                options += ["--volume", f"{directory_here}:{inside}"]
        if directory:
            options += ["--workingdir", directory]
        # An engine's part, for which buildah has none: namespaces, a user, no more rights than containers have.
        become = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *([] if self.network else ["--net"])]
        become += ["setpriv", "--bounding-set=-sys_admin"]
        if self.user:
            become += [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return ["buildah", "run", *options, self._name, "--", *become, *entrypoint, *arguments]

    def begin(
        self, *arguments: str, entrypoint: Sequence[str] | None = None, directory: str = ""
    ) -> "subprocess.Popen[str]":
        """Start something in it."""
        process = subprocess.Popen(
            self.command(*arguments, entrypoint=entrypoint, directory=directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def run(
        self, *arguments: str, entrypoint: Sequence[str] | None = None, directory: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run something in it to its end."""
        process = self.begin(*arguments, entrypoint=entrypoint, directory=directory)
        out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def terminate(process: "subprocess.Popen[str]") -> None:
    """Send SIGTERM to process 1 of a container, as engines do to stop it (buildah itself knows only the hard way).

    Args:
        process: what has been begun in the container.
    """
    os.kill(wait_for(lambda: _process_1(process.pid)), signal.SIGTERM)


def _process_1(ancestor: int) -> int | None:
    """The process below another one that is the first of a namespace, and has started what it is there for."""
    parents, firsts = {}, []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue  # it is gone
        pid = int(fields["Pid"])
        parents[pid] = int(fields["PPid"])
        if fields["NSpid"].split()[1:] == ["1"]:
            firsts.append(pid)
    for first in set(firsts) & set(parents.values()):
        pid = first
        while pid in parents and pid != ancestor:
            pid = parents[pid]
        if pid == ancestor:
            return first
    return None
