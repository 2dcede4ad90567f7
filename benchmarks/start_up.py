"""How long light commands take, and what commands import."""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import PROGRAM, Cloud, Figure

_TIMES = 9
_START = 18
"""Times of `import click` that start-image-build takes, which imports Google's clients and asks for an image."""


def measure(cloud: Cloud) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
    """
    cloud.steps()
    click = _median(cloud, sys.executable, "-c", "import click")
    yield Figure("python -c 'import click'", click, None, "s")
    light = (("run-script", "-script=preload.sh"), ("install-gpu", "-version=latest"), ("--help",))
    for command in light:
        seconds = _median(cloud, PROGRAM, *command, anew=command[0] == "install-gpu")
        yield Figure(f"{command[0]}, times of import click", seconds / click, 4, "x")
    start = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", "-gcs-workdir=benchmark")
    arguments = ("start-image-build", "-force", f"-gcs-bucket={'my-project'}_cloudbuild", *start)
    seconds = _median(cloud, PROGRAM, *arguments)
    yield Figure("start-image-build", seconds, None, "s")
    yield Figure("start-image-build, times of import click", seconds / click, _START, "x")
    yield Figure("start-image-build, modules of Prefect", _imports(cloud, ("prefect",), *arguments), 0, "")
    emulator = statistics.median(_emulator_starts(cloud.directory))
    yield Figure("an emulator's start and end, times of import click", emulator / click, 2, "x")
    versions = _median(cloud, PROGRAM, "install-gpu", "-get-driver-version")
    yield Figure("install-gpu -get-driver-version", versions, 2, "s")
    for command in light:
        cloud.steps()
        count = _imports(cloud, ("prefect", "google", "grpc"), *command)
        yield Figure(f"{command[0]}, modules of Prefect and Google", count, 0, "")


def _emulator_starts(directory: Path) -> Iterator[float]:
    """Seconds that an emulator takes to start and to end in this process, each time anew."""
    from cos_customizer.emulator.server import Emulator

    for number in range(_TIMES):
        began = time.monotonic()
        with Emulator(directory / f"emulator-{number}"):
            pass
        yield time.monotonic() - began


def _median(cloud: Cloud, *command: str, anew: bool = False) -> float:
    """Seconds that a command takes; with `anew`, a build is begun before each run (it can be given once in a build)."""
    seconds = []
    for _ in range(_TIMES):
        if anew:
            cloud.steps()
        seconds.append(cloud.run(*command).seconds)
    return statistics.median(seconds)


def _imports(cloud: Cloud, packages: tuple[str, ...], *command: str) -> int:
    """How many modules of these packages a command imports."""
    code = "import sys; from cos_customizer.cli.main import main; sys.exit(main())"
    lines = cloud.run(sys.executable, "-X", "importtime", "-c", code, *command).err.splitlines()
    modules = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    assert "click" in modules
    return sum(module.partition(".")[0] in packages for module in modules)
