"""How long light commands take, and what commands import."""

import statistics
import sys
from collections.abc import Iterator

from benchmarks.bench import PROGRAM, Cloud, Figure

_TIMES = 9


def measure(cloud: Cloud) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
    """
    cloud.steps()
    click = _median(cloud, sys.executable, "-c", "import click")
    yield Figure("python -c 'import click'", click, None, "s")
    for command in (("run-script", "-script=preload.sh"), ("--help",)):
        seconds = _median(cloud, PROGRAM, *command)
        yield Figure(f"{command[0]}, times of import click", seconds / click, 4, "x")
    start = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", "-gcs-workdir=benchmark")
    arguments = ("start-image-build", "-force", f"-gcs-bucket={'my-project'}_cloudbuild", *start)
    yield Figure("start-image-build", cloud.run(PROGRAM, *arguments).seconds, None, "s")
    yield Figure("start-image-build, modules of Prefect", _imports(cloud, ("prefect",), *arguments), 0, "")
    for command in (("run-script", "-script=preload.sh"), ("--help",)):
        count = _imports(cloud, ("prefect", "google", "grpc"), *command)
        yield Figure(f"{command[0]}, modules of Prefect and Google", count, 0, "")


def _median(cloud: Cloud, *command: str) -> float:
    return statistics.median(cloud.run(*command).seconds for _ in range(_TIMES))


def _imports(cloud: Cloud, packages: tuple[str, ...], *command: str) -> int:
    """How many modules of these packages a command imports."""
    code = "import sys; from cos_customizer.cli.main import main; sys.exit(main())"
    lines = cloud.run(sys.executable, "-X", "importtime", "-c", code, *command).err.splitlines()
    modules = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    assert "click" in modules
    return sum(module.partition(".")[0] in packages for module in modules)
