"""What the benchmarks share: a figure with its limit, a program measured, a local Compute Engine to run against."""

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cos_customizer.emulator.background import find

PROGRAM = str(Path(sys.executable).with_name("cos-customizer"))
ZONE = "us-west1-b"
PROJECT = "my-project"


@dataclass(frozen=True)
class Figure:
    """Something measured.

    Attributes:
        name: what it is.
        measured: its value.
        limit: what it must not exceed; None where nothing was promised.
        unit: of both.
    """

    name: str
    measured: float
    limit: float | None
    unit: str

    @property
    def verdict(self) -> str:
        """`ok`, `over`, or nothing."""
        if self.limit is None:
            return ""
        return "ok" if self.measured <= self.limit else "over"


@dataclass(frozen=True)
class Ran:
    """What a program took.

    Attributes:
        seconds: wall clock.
        cpu: seconds of CPU, its children's included.
        peak_mib: the most memory it held at a time (resident, without its children).
        err: its standard error.
    """

    seconds: float
    cpu: float
    peak_mib: float
    err: str


@dataclass(frozen=True)
class Cloud:
    """A local Compute Engine with scripted machines, in a process of its own, and a home to run commands in.

    Attributes:
        directory: temporary; holds `home`, `workspace` (the working directory) and `cache`.
        environment: of the commands.
        control: address of the emulator's own API.
        pid: of the emulator.
    """

    directory: Path
    environment: dict[str, str]
    control: str
    pid: int
    extra: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str) -> Ran:
        """Run a program to its end.

        Raises:
            RuntimeError: it failed.
        """
        return run(command, {**self.environment, **self.extra}, self.directory / "workspace")

    def steps(self, *flags: str) -> None:
        """Begin an image build of one script."""
        start = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", "-gcs-workdir=benchmark", *flags)
        self.run(PROGRAM, "start-image-build", "-force", f"-gcs-bucket={PROJECT}_cloudbuild", *start)
        self.run(PROGRAM, "run-script", "-script=preload.sh")

    def finish(self, image: str) -> Ran:
        """Build it."""
        return self.run(
            PROGRAM, "finish-image-build", f"-zone={ZONE}", f"-project={PROJECT}", f"-image-name={image}", "-timeout=5m"
        )

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """A request to the emulator's own API."""
        return request(method, self.control + path, body)


def run(command: Sequence[str], environment: dict[str, str], directory: Path) -> Ran:
    """Run a program and measure it.

    Raises:
        RuntimeError: it failed.
    """
    began = time.monotonic()
    with (directory.parent / "stderr").open("w+") as err:
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        err.seek(0)
        text = err.read()
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} exited with {process.returncode}:\n{text}")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def request(method: str, url: str, body: object = None) -> dict[str, Any]:
    """A JSON request."""
    data = json.dumps(body).encode() if body is not None else None
    message = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(message, timeout=150) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


@contextmanager
def local_cloud(directory: Path) -> Iterator[Cloud]:
    """A cloud that lasts as long as the context."""
    for name in ("home", "workspace", "cache"):
        (directory / name).mkdir()
    (directory / "workspace" / "preload.sh").write_text('echo "Hello, World!" > /var/lib/hello\n')
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"HOME": str(directory / "home"), "XDG_CACHE_HOME": str(directory / "cache")}
    state = f"-state-dir={directory / 'state'}"
    try:
        started = subprocess.run(
            [PROGRAM, "emulator", "start", "-machines=scripted", state],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        for line in started.stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = shlex.split(value)[0]
        running = find(directory / "state")
        assert running is not None
        yield Cloud(directory, environment, running.control, running.pid)
    finally:
        subprocess.run([PROGRAM, "emulator", "stop", state], env=environment, check=False, capture_output=True)
