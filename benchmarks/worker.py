"""What a build costs on a worker: on Prefect's process worker and on ours, one after another and many at once.

A hundred at once need a database that takes many writers: BENCH_DATABASE is the address of an empty one
(postgresql+asyncpg://USER:PASSWORD@HOST:PORT/NAME). Without it there are ten.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import serial_consoles
from benchmarks.bench import PROJECT, ZONE, Cloud, Figure, request
from benchmarks.build import vm_script

_PREFECT = str(Path(sys.executable).with_name("prefect"))
_TYPES = ("process", "cos-customizer")
_BUILDS = 6
"""One after another on each worker; the first of each, which may be a cold one, does not count."""
_DATABASE = os.environ.get("BENCH_DATABASE")
_AT_ONCE = 100 if _DATABASE else 10
_VM_SECONDS = 3.0
_LONG_VM_SECONDS = 1.5 * _AT_ONCE
"""Of VMs that are to run at the same time: longer than it takes to start them all."""
_TICKS = os.sysconf("SC_CLK_TCK")
_QUOTA = 1500
"""Calls a minute of one group of methods (https://cloud.google.com/compute/api-quota)."""


@dataclass
class _Usage:
    """What the processes of a worker have taken.

    Attributes:
        cpu: seconds, of the worker and everything below it, ended processes included.
        private: most MiB of its own that a run's process had, by its id.
        together: most MiB of all of them together, what they share counted once.
    """

    cpu: float = 0.0
    private: dict[int, float] = field(default_factory=dict)
    together: float = 0.0


class _Place:
    """A Prefect server, pools of both types and a deployment for each."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._home = cloud.directory / "prefect"
        self._checkout = cloud.directory / "checkout"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self._api = f"http://127.0.0.1:{port}/api"
        self._environment = cloud.environment | {
            "PREFECT_API_URL": self._api,
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_CLI_PROMPT": "false",
            "NO_PROXY": "127.0.0.1",
        }
        if _DATABASE:
            self._environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = _DATABASE
        self._port = str(port)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The server answers as long as the context lasts."""
        self._home.mkdir()
        (self._checkout / "flows").mkdir(parents=True)
        (self._checkout / "context").mkdir()
        (self._checkout / "context" / "preload.sh").write_text("true\n")
        flow = "from cos_customizer.flows.build_image import build_image\n"
        (self._checkout / "flows" / "build.py").write_text(flow)
        server = self._start("server", "server", "start", "--no-ui", "--port", self._port)
        try:
            while not self._answers():
                time.sleep(0.2)
            for name in _TYPES:
                self._prefect("work-pool", "create", "--type", name, name)
            (self._checkout / "prefect.yaml").write_text(json.dumps(self._deployments()))
            self._prefect("deploy", "--all")
            yield
        finally:
            _stop(server)

    def _answers(self) -> bool:
        with suppress(urllib.error.URLError, ConnectionError):
            request("GET", f"{self._api}/health")
            return True
        return False

    def _deployments(self) -> dict[str, object]:
        pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(self._checkout)}}]
        entrypoint = "flows/build.py:build_image"
        deployments = [{"name": name, "entrypoint": entrypoint, "work_pool": {"name": name}} for name in _TYPES]
        return {"name": "benchmark", "pull": pull, "deployments": deployments}

    def _start(self, log: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._cloud.directory / f"{log}.log").open("ab") as out:
            return subprocess.Popen(
                [_PREFECT, *arguments],
                cwd=self._checkout,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _prefect(self, *arguments: str) -> None:
        done = subprocess.run(
            [_PREFECT, "--no-prompt", *arguments],
            cwd=self._checkout,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    @contextmanager
    def worker(self, kind: str) -> Iterator[int]:
        """A worker for the pool of a type; its process."""
        process = self._start(kind, "worker", "start", "--pool", kind)
        try:
            yield process.pid
        finally:
            _stop(process)

    def start_build(self, kind: str, image: str) -> str:
        """Let a worker of this type make an image; the run's id."""
        deployment = request("GET", f"{self._api}/deployments/name/build-image/{kind}")["id"]
        spec = {
            "source": {"project": "cos-cloud", "family": "cos-125-lts"},
            "context": {"path": "context"},
            "scratch": {"bucket": f"{PROJECT}_cloudbuild", "workdir": image},
            "steps": [{"script": "preload.sh"}],
            "builder": {"project": PROJECT, "zones": [ZONE]},
            "output": {"project": PROJECT, "name": image},
            "timeout": "30m",
        }
        body = {"parameters": {"spec": spec}, "state": {"type": "SCHEDULED"}}
        found: str = request("POST", f"{self._api}/deployments/{deployment}/create_flow_run", body)["id"]
        return found

    def unfinished(self, runs: list[str]) -> list[str]:
        """Those of the runs that are not over.

        Raises:
            RuntimeError: one of them has failed.
        """
        query = {"flow_runs": {"id": {"any_": runs}}, "limit": 200}
        left = []
        answer: Any = request("POST", f"{self._api}/flow_runs/filter", query)
        for run in answer:
            if run["state_type"] in ("FAILED", "CRASHED", "CANCELLED"):
                raise RuntimeError(f"{run['name']}: {run['state']['message']}")
            if run["state_type"] != "COMPLETED":
                left.append(run["id"])
        return left

    def build(self, kind: str, worker: int, images: list[str]) -> _Usage:
        """Make images at the same time.

        Args:
            kind: of the worker.
            worker: its process.
            images: names.
        """
        usage = _Usage()
        before = _cpu(worker)
        runs = [self.start_build(kind, image) for image in images]
        while self.unfinished(runs):
            _observe(worker, usage)
            time.sleep(1.0 if len(runs) > 1 else 0.2)
        time.sleep(2.0)  # the processes end a moment after their runs
        usage.cpu = _cpu(worker) - before
        return usage


def measure(cloud: Cloud) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
    """
    place = _Place(cloud)
    with place.running():
        cloud.ask("DELETE", "scripts")
        cloud.ask("POST", "scripts", vm_script(_VM_SECONDS))
        cpu: dict[str, list[float]] = {kind: [] for kind in _TYPES}
        private: dict[str, list[float]] = {kind: [] for kind in _TYPES}
        with place.worker("process") as process, place.worker("cos-customizer") as ours:
            for number in range(_BUILDS):
                for kind, worker in zip(_TYPES, (process, ours), strict=True):
                    usage = place.build(kind, worker, [f"{kind}-{number}"])
                    if number:
                        cpu[kind].append(usage.cpu)
                        private[kind].append(max(usage.private.values()))
        for kind in _TYPES:
            yield Figure(f"a build on a worker of type {kind}, CPU", statistics.median(cpu[kind]), None, "s")
            yield Figure(f"a build on a worker of type {kind}, memory", statistics.median(private[kind]), None, "MiB")
        ratio = statistics.median(cpu["cos-customizer"]) / statistics.median(cpu["process"])
        yield Figure("CPU of a build on ours, of one on a process worker", ratio, 0.35, "x")
        yield from _hundred(cloud, place)


def _hundred(cloud: Cloud, place: _Place) -> Iterator[Figure]:
    cloud.ask("DELETE", "scripts")
    cloud.ask("POST", "scripts", vm_script(_LONG_VM_SECONDS))
    cloud.ask("DELETE", "calls")
    cloud.ask("POST", "quotas", {"metric": serial_consoles.METRIC, "limit": _QUOTA})
    began = time.monotonic()
    with place.worker("cos-customizer") as worker:
        usage = place.build("cos-customizer", worker, [f"image-{number}" for number in range(_AT_ONCE)])
    minutes = (time.monotonic() - began) / 60
    cloud.ask("POST", "quotas", {"metric": serial_consoles.METRIC, "limit": -1})
    name = f"{_AT_ONCE} builds at once"
    yield Figure(f"{name}, CPU of each, the worker's share included", usage.cpu / _AT_ONCE, None, "s")
    yield Figure(f"{name}, memory of the largest", max(usage.private.values()), 60, "MiB")
    yield Figure(f"{name}, memory of all, worker included", usage.together, 8192, "MiB")
    yield Figure(f"{name}, minutes", minutes, None, "min")
    calls = cloud.ask("GET", "calls")["count"]
    reads = cloud.ask("GET", "calls?path=/serialPort")["count"]
    yield Figure(f"{name}, reads of serial consoles", reads / minutes, _QUOTA / 2, "/min")
    yield Figure(f"{name}, other calls, which have several quotas", (calls - reads) / minutes, _QUOTA, "/min")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _cpu(root: int) -> float:
    """Seconds of processor time of a process and all below it, those that have ended included."""
    ticks = 0
    for pid in _tree(root):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(each) for each in fields[11:15])
    return ticks / _TICKS


def _observe(root: int, usage: _Usage) -> None:
    together = 0.0
    for pid in _tree(root):
        with suppress(OSError):
            sizes = {}
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, size, *_ = line.split()
                sizes[name] = int(size) / 1024
            together += sizes["Pss:"]
            if Path(f"/proc/{pid}/comm").read_text().startswith("run-") or b"prefect" in _command(pid):
                own = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
                usage.private[pid] = max(usage.private.get(pid, 0.0), own)
    usage.together = max(usage.together, together)


def _command(pid: int) -> bytes:
    """The command line of a process worker's run."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return command if b"prefect.engine" in command or b"_workspace_supervisor" in command else b""
