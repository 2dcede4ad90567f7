"""Measures what is promised and prints it against its limits; exit code 1 if something is over."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    build,
    build_context,
    container,
    deletions,
    planning,
    serial_consoles,
    start_up,
    storage_uploads,
    worker,
)
from benchmarks.bench import Cloud, Figure, local_cloud

_CONTEXT_MIB, _FULL_CONTEXT_MIB = 256, 2048
_IMAGES, _ALL_IMAGES = 300, 900
_ON_DEMAND = {"container", "worker"}
_ROW = "{:<64} {:>12} {:>12}  {}"


def figures(cloud: Cloud, only: list[str], full: bool) -> Iterator[Figure]:
    """All that was asked for."""
    context_mib = _FULL_CONTEXT_MIB if full else _CONTEXT_MIB
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "build": lambda: build.measure(cloud),  # the first, while the cache is empty
        "start-up": lambda: start_up.measure(cloud),
        "build-context": lambda: build_context.measure(cloud, context_mib),
        "storage-uploads": lambda: storage_uploads.measure(cloud, context_mib),
        "serial-consoles": lambda: serial_consoles.measure(cloud),
        "deletions": lambda: deletions.measure(cloud, _ALL_IMAGES if full else _IMAGES),
        "planning": lambda: planning.measure(cloud),
        "worker": lambda: worker.measure(cloud),
        "container": container.measure,
    }
    for name, measure in parts.items():
        if name in only or not (only or name in _ON_DEMAND):
            yield from measure()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "part",
        nargs="*",
        help="build, start-up, build-context, storage-uploads, serial-consoles, deletions, planning: these by default; "
        "worker; container",
    )
    parser.add_argument("--full", action="store_true", help=f"{_FULL_CONTEXT_MIB} MiB, {_ALL_IMAGES} images")
    arguments = parser.parse_args()
    over = 0
    print(_ROW.format("", "measured", "limit", ""))
    with tempfile.TemporaryDirectory(prefix="cos-customizer-") as directory, local_cloud(Path(directory)) as cloud:
        for figure in figures(cloud, arguments.part, arguments.full):
            measured = f"{figure.measured:.2f}".rstrip("0").rstrip(".")
            limit = "" if figure.limit is None else f"{figure.limit:g} {figure.unit}"
            print(_ROW.format(figure.name, f"{measured} {figure.unit}", limit, figure.verdict).rstrip(), flush=True)
            over += figure.verdict == "over"
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
