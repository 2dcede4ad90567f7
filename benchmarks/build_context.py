"""How much memory a large build context costs, archived and uploaded."""

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import PROGRAM, PROJECT, Cloud, Figure
from benchmarks.build import vm_script

_LIMIT = 64


def measure(cloud: Cloud, mib: int) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
        mib: size of the large context.
    """
    cloud.ask("DELETE", "scripts")
    cloud.ask("POST", "scripts", vm_script(0))
    large = cloud.directory / "workspace" / "large"
    archive, upload = _peaks(cloud, "context-small")
    write_noise(large, mib)
    try:
        archive_large, upload_large = _peaks(cloud, "context-large")
    finally:
        large.unlink()
    yield Figure(f"archive {mib} MiB of context, memory above that of 1 KiB", archive_large - archive, _LIMIT, "MiB")
    yield Figure(f"upload {mib} MiB of context, memory above that of 1 KiB", upload_large - upload, _LIMIT, "MiB")


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
