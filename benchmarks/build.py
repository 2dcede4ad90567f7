"""How long a build takes beyond its VM, what CPU and memory it costs, and how many calls it makes."""

import statistics
import sys
from collections.abc import Iterator

from benchmarks.bench import Cloud, Figure

VM_SECONDS = 3.0
CPU_LIMIT = 4.2
"""Times of the CPU that one `import prefect.context` takes: both processes of a build import it, and more."""
_NONCE = {"nonce": {"metadata": "user-data", "pattern": r"(?m)^\s*nonce=(\w+)"}}


def vm_script(seconds: float) -> dict[str, object]:
    """A builder VM whose one step succeeds after so many seconds, and which then halts."""
    lines = (
        (seconds, 3, "BuildStep[${nonce}]: 1 started run-script preload.sh"),
        (0.0, 3, "BuildStep[${nonce}]: 1 succeeded 0.1"),
        (0.0, 3, "BuildSucceeded[${nonce}]:"),
        (0.0, 1, "reboot: System halted"),
    )
    events = [{"after": after, "port": port, "text": f"\n{text}\n"} for after, port, text in lines]
    return {"match": {"name": "cos-customizer-.*"}, "variables": _NONCE, "events": events}


def measure(cloud: Cloud) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against; its cache is empty.
    """
    cloud.ask("DELETE", "scripts")
    cloud.ask("POST", "scripts", vm_script(VM_SECONDS))
    cloud.steps()
    cold = cloud.finish("cold").seconds
    warm, prefect, calls = [], [], []
    for number in range(3):
        cloud.steps()
        cloud.ask("DELETE", "calls")
        warm.append(cloud.finish(f"warm-{number}"))
        prefect.append(cloud.run(sys.executable, "-c", "import prefect.context").cpu)
        calls.append(cloud.ask("GET", "calls")["count"])
    name = f"finish-image-build, VM of {VM_SECONDS:g} s"
    yield Figure(f"{name}, empty home", cold, None, "s")
    yield Figure(f"{name}, warm", statistics.median(each.seconds for each in warm), 14, "s")
    cpu = statistics.median(each.cpu for each in warm)
    yield Figure(f"{name}, CPU with its Prefect server", cpu, None, "s")
    yield Figure(f"{name}, CPU in times of import prefect", cpu / statistics.median(prefect), CPU_LIMIT, "x")
    yield Figure(f"{name}, memory", max(each.peak_mib for each in warm), 200, "MiB")
    yield Figure(f"{name}, calls to Google", max(calls), 40, "")
