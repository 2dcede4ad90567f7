"""What a large build context costs, archived and uploaded, and how long one takes beside tar."""

import os
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench import PROGRAM, PROJECT, Cloud, Figure
from benchmarks.build import vm_script

_LIMIT = 64
_TIMES = 3
_NOISE_LIMIT, _FILES_LIMIT = 5.0, 4.0
"""Of what tar takes, which compresses nothing and has no digest to take."""


def measure(cloud: Cloud, mib: int) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
        mib: size of the large context.
    """
    cloud.ask("DELETE", "scripts")
    cloud.ask("POST", "scripts", vm_script(0))
    large = cloud.directory / "workspace" / "large"
    yield from _beside_tar(cloud, mib, 50 * mib)
    archive, upload = _peaks(cloud, "context-small")
    write_noise(large, mib)
    try:
        archive_large, upload_large = _peaks(cloud, "context-large")
    finally:
        large.unlink()
    yield Figure(f"archive {mib} MiB of context, memory above that of 1 KiB", archive_large - archive, _LIMIT, "MiB")
    yield Figure(f"upload {mib} MiB of context, memory above that of 1 KiB", upload_large - upload, _LIMIT, "MiB")


def _beside_tar(cloud: Cloud, mib: int, files: int) -> Iterator[Figure]:
    """Archive noise, and small files, in turn with tar; without what the command takes on nothing."""
    context, archive = cloud.directory / "context", cloud.directory / "context.tar"
    tar = ("tar", "--create", f"--file={archive}", f"--directory={context}", ".")
    start = (PROGRAM, "start-image-build", "-force", f"-gcs-bucket={PROJECT}_cloudbuild", "-gcs-workdir=benchmark")
    ours = (*start, "-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", f"-build-context={context}")
    context.mkdir()
    nothing = statistics.median(cloud.run(*ours).seconds for _ in range(_TIMES))
    yield Figure("start-image-build on nothing", nothing, None, "s")
    contents: tuple[tuple[str, Callable[[], None], float], ...] = (
        (f"{mib} MiB of noise", lambda: write_noise(context / "noise", mib), _NOISE_LIMIT),
        (f"{files} small files", lambda: _write_small_files(context, files), _FILES_LIMIT),
    )
    for what, fill, limit in contents:
        fill()
        took: dict[tuple[str, ...], list[float]] = {ours: [], tar: []}
        for _ in range(_TIMES):
            for command, seconds in took.items():
                seconds.append(cloud.run(*command).seconds)
        shutil.rmtree(context)
        context.mkdir()
        archive.unlink()
        median, plain = (statistics.median(seconds) for seconds in took.values())
        yield Figure(f"archive {what}", median, None, "s")
        yield Figure(f"archive {what}, above nothing, beside tar", (median - nothing) / plain, limit, "")
    context.rmdir()


def _write_small_files(directory: Path, number: int) -> None:
    for place in range(0, number, 1000):
        (directory / str(place)).mkdir()
        for file in range(place, min(place + 1000, number)):
            (directory / str(place) / f"{file}.txt").write_text(f"{file}\n" * 20)


def _peaks(cloud: Cloud, image: str) -> tuple[float, float]:
    start = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", "-gcs-workdir=benchmark")
    archive = cloud.run(PROGRAM, "start-image-build", "-force", f"-gcs-bucket={PROJECT}_cloudbuild", *start)
    cloud.run(PROGRAM, "run-script", "-script=preload.sh")
    return archive.peak_mib, cloud.finish(image).peak_mib


def write_noise(path: Path, mib: int) -> None:
    """Write bytes that no compression makes smaller: a repetition is farther away than gzip looks back.

    Args:
        path: of the file.
        mib: its size.
    """
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
