"""How large the container image is, how soon it answers. Needs root, and buildah, which `make container` installs."""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Figure

_BASE = "docker.io/library/debian:bookworm-slim"
_IMAGE = "localhost/cos-customizer:bench"
_TIMES = 5
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def measure() -> Iterator[Figure]:
    """Build the image and measure it."""
    settings = {"CONTAINER_TOOL": "buildah", "IMAGE": "cos-customizer", "TAG": "bench", "SBOM": ""}
    subprocess.run(["make/container.sh"], env={**os.environ, **settings}, check=True, stdout=subprocess.DEVNULL)
    base, container = _buildah("from", "--pull-never", _BASE), _buildah("from", "--pull-never", _IMAGE)
    try:
        sizes = [_size(Path(_buildah("mount", each))) for each in (base, container)]
        yield Figure("image, unpacked", sizes[1] / 1e6, None, "MB")
        yield Figure("image, beyond its base", (sizes[1] - sizes[0]) / 1e6, 350, "MB")
        cold, warm = ([_help(container, cold) for _ in range(_TIMES)] for cold in (True, False))
        yield Figure("help in a container, nothing in the page cache", statistics.median(cold), 1.5, "s")
        yield Figure("help in a container, warm", statistics.median(warm), None, "s")
    finally:
        _buildah("rm", base, container)


def _help(container: str, cold: bool) -> float:
    """Seconds that it takes, buildah's own included."""
    if cold:
        os.sync()
        _DROP_CACHES.write_text("3")
    began = time.monotonic()
    _buildah("run", "--isolation=chroot", container, "--", "tini", "-s", "--", "entrypoint", "help")
    return time.monotonic() - began


def _buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _size(root: Path) -> int:
    """Bytes in a directory, each file once."""
    files = {}
    for directory, names, others in os.walk(root):
        for name in (*names, *others):
            status = Path(directory, name).lstat()
            files[status.st_ino] = status.st_size
    return sum(files.values())
