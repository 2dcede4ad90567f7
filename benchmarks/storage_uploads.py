"""How long an upload to the local Cloud Storage takes beside a copy of the file, and what memory it costs."""

import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import PROJECT, Cloud, Figure
from benchmarks.build_context import write_noise

_TIMES = 3
_MEMORY = 64
_ADDRESS = "http.client.HTTPConnection(os.environ['STORAGE_EMULATOR_HOST'].rpartition('/')[2])"
_PLAIN = f"""
import http.client, os, sys
with open(sys.argv[1], "rb") as file:
    connection = {_ADDRESS}
    path = "/upload/storage/v1/b/{PROJECT}_cloudbuild/o?uploadType=media&name=benchmark"
    size = os.path.getsize(sys.argv[1])
    headers = {{"Content-Type": "application/octet-stream", "Content-Length": str(size)}}
    connection.request("POST", path, file, headers)
    sys.exit(connection.getresponse().status != 200)
"""
_LIBRARY = f"""
import sys
from google.cloud.storage import Client
Client.create_anonymous_client().bucket("{PROJECT}_cloudbuild").blob("benchmark").upload_from_filename(sys.argv[1])
"""
_COPY = 'cp "$1" "$1.copy" && md5sum "$1.copy" && rm "$1.copy"'


def measure(cloud: Cloud, mib: int) -> Iterator[Figure]:
    """Measure, by turns.

    Args:
        cloud: to run against.
        mib: size of the file.
    """
    file = cloud.directory / "workspace" / "upload"
    write_noise(file, mib)
    commands = {
        "copy": ("sh", "-c", _COPY, "copy", str(file)),
        "plain": (sys.executable, "-c", _PLAIN, str(file)),
        "library": (sys.executable, "-c", _LIBRARY, str(file)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    before = _memory(cloud, "VmRSS")
    try:
        for _ in range(_TIMES):
            for name, command in commands.items():
                seconds[name].append(cloud.run(*command).seconds)
    finally:
        file.unlink()
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    yield Figure(f"cp and md5sum of {mib} MiB", medians["copy"], None, "s")
    yield Figure("upload of it in one request, times of that", medians["plain"] / medians["copy"], 3, "x")
    yield Figure("upload of it by Google's library, times of that", medians["library"] / medians["copy"], 5, "x")
    yield Figure(
        "uploads of it, memory of the emulator above that before", _memory(cloud, "VmHWM") - before, _MEMORY, "MiB"
    )


def _memory(cloud: Cloud, field: str) -> float:
    """MiB of the emulator: resident now (`VmRSS`), or at most so far (`VmHWM`)."""
    status = Path(f"/proc/{cloud.pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
