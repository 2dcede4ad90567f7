"""Where a fleet is built: the server of deploy/compose.yaml, an emulator, workers, deployments of prefect.yaml."""

import contextlib
import inspect
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import yaml
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import EventTrigger, ResourceSpecification
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Posture
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.compute_clients import PROJECT
from support.fleet_figures import Calls, Processes
from support.fleet_recipes import Fleet
from support.fleet_server import DEPLOY, FleetServer
from support.paths import ROOT
from support.waiting import wait_for

from cos_customizer.flows.rebuild_images import rebuild_images

PREFECT = str(Path(sys.executable).with_name("prefect"))
POOL = "cos-customizer"
UPKEEP = ("sweep", "expire-images")
_NAME_LENGTH = 15
"""Characters that Linux keeps of a process's name."""
_MISSED = 3
"""Signs of life after whose absence a flow run counts as crashed."""
_TO_START = 60
"""Seconds that a flow run may take to come to be, on a busy machine."""
_UNSTARTED = 180
"""Seconds after which a flow run counts as crashed that a worker has taken, and whose process has not come to be."""


@dataclass(frozen=True)
class Upkeep:
    """What has come of a deployment's schedule.

    Attributes:
        since: when it began.
        runs: that have ended, in the order of their starts. One that is due while another is at work is cancelled.
    """

    since: datetime
    runs: list[FlowRun]

    @property
    def longest_pause(self) -> float:
        """The most seconds between two starts, from the beginning on."""
        times = [self.since, *(run.start_time for run in self.runs if run.start_time)]
        pauses = ((later - earlier).total_seconds() for earlier, later in pairwise(times))
        return max(pauses, default=math.inf)


class FleetPlace:
    """All that takes part; nothing of it remains once it is left.

    Args:
        directory: for all of it; empty. Other users must be able to enter it.
        fleet: the recipes.
        pool_type: type of the work pool and its workers.
        at_once: how many builds there may be at once, by the limit of their queue.
        upkeep_interval: seconds between two runs of `sweep`, and of `expire-images`.

    Attributes:
        server: of Prefect.
        calls: to the emulator.
        processes: of all parts.
        patience: seconds without a run of upkeep beyond which it counts as starved: one run may fall out, since the one
            before is still at work.
    """

    def __init__(self, directory: Path, fleet: Fleet, pool_type: str, at_once: int, upkeep_interval: float) -> None:
        self._directory = directory
        self.checkout = directory / "checkout"
        self._fleet = fleet
        self._pool_type = pool_type
        self._at_once = at_once
        self._upkeep_interval = upkeep_interval
        self.patience = 2 * upkeep_interval + _TO_START
        self.processes = Processes()
        self._stack = contextlib.ExitStack()
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._emulator = stack.enter_context(self._start_emulator())
            (self._directory / "server").mkdir()
            (self._directory / "server").chmod(0o711)
            self.server = stack.enter_context(FleetServer(self._directory / "server"))
            for name, process in self.server.processes.items():
                self.processes.add(name, process.pid)
            stack.callback(self._stop_workers)
            stack.enter_context(temporary_settings({PREFECT_API_URL: self.server.api}))
            self.client: SyncPrefectClient = stack.enter_context(get_client(sync_client=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def deploy(self) -> None:
        """Make the work pool and the deployments; upkeep begins at once."""
        shutil.copytree(ROOT / "flows", self.checkout / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())
        parameters = {
            "sweep": {"project": PROJECT},
            "expire-images": {"project": PROJECT, "image_families": self._fleet.families, "keep_last": 1},
        }
        for each in deployments["deployments"]:
            if given := parameters.get(each["name"]):
                each |= {"parameters": given, "schedules": [{"interval": self._upkeep_interval, "active": True}]}
        (self.checkout / "prefect.yaml").write_text(yaml.safe_dump(deployments))
        self._prefect("work-pool", "create", "--type", self._pool_type, POOL)
        self._prefect("deploy", "--all")
        self._prefect("work-queue", "set-concurrency-limit", "--pool", POOL, "builds", str(self._at_once))
        for each in _automations():
            each.create()
        self._deployed = datetime.now(UTC)

    def start_worker(self) -> str:
        """Start a worker; its name."""
        name = f"worker-{len(self._workers) + 1}"
        with (self._directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [PREFECT, "worker", "start", "--pool", POOL, "--name", name, "--type", self._pool_type],
                cwd=self.checkout,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers[name] = process
        self.processes.add("workers", process.pid)
        return name

    def kill_worker(self, sparing: UUID) -> str:
        """Kill a worker and its flow runs, as a machine loses its power: one that does not run a given flow run."""
        for name, process in self._workers.items():
            found = [(pid, environ) for pid, environ in _environments() if f"FLEET_WORKER={name}\0".encode() in environ]
            if process.poll() is None and not any(has_run(pid, environ, sparing) for pid, environ in found):
                self.processes.look()
                _kill(found)
                process.wait()
                return name
        raise AssertionError("no worker is left to be killed")

    @contextlib.contextmanager
    def stalled_emulator(self) -> Iterator[None]:
        """Google's API answers nothing meanwhile."""
        self._emulator.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._emulator.send_signal(signal.SIGCONT)

    def start_rebuild(self) -> UUID:
        """Start a run of `rebuild-images` for all recipes."""
        deployment = self.client.read_deployment_by_name("rebuild-images/rebuild-images")
        parameters: dict[str, Any] = {"recipes": ["recipes/*.yaml"]}
        if "max_in_flight" in inspect.signature(rebuild_images.fn).parameters:
            parameters["max_in_flight"] = self._at_once
        return self.client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def table(self, run_id: UUID) -> list[dict[str, Any]]:
        """The report of a run of `rebuild-images`."""
        which = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=["rebuild-images"])
        )
        rows: list[dict[str, Any]] = []
        for artifact in self.client.read_artifacts(artifact_filter=which):
            rows = json.loads(str(artifact.data))
        return rows

    def upkeep(self, name: str) -> "Upkeep":
        """What has come of a deployment's schedule."""
        ended = FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED, StateType.CRASHED])
        runs = self.client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=ended)),
            sort=FlowRunSort.START_TIME_ASC,
        )
        return Upkeep(self._deployed, runs)

    def await_upkeep(self) -> None:
        """Wait until upkeep has run once more: a short run of a fleet may have been shorter than its interval."""
        before = {name: len(self.upkeep(name).runs) for name in UPKEEP}
        wait_for(
            lambda: all(len(self.upkeep(name).runs) > before[name] for name in UPKEEP), lambda: "upkeep does not run"
        )

    def log_of_worker(self, name: str) -> str:
        """What a worker has printed."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def _environment(self, name: str) -> dict[str, str]:
        mine = {each: value for each, value in os.environ.items() if not each.startswith("PREFECT_")}
        return (
            mine
            | of_workers()
            | {
                "FLEET_WORKER": name,
                "HOME": str(self._directory / "home"),
                "PREFECT_HOME": str(self._directory / name),
                "PREFECT_API_URL": self.server.api,
                "PREFECT_CLI_PROMPT": "false",
                "DO_NOT_TRACK": "1",
                "PWD": str(self.checkout),
            }
        )

    def _prefect(self, *arguments: str) -> None:
        done = subprocess.run(
            [PREFECT, *arguments],
            cwd=self.checkout,
            env=self._environment("deployer"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextlib.contextmanager
    def _start_emulator(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-m", "support.fleet_emulator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._directory / "emulator.log").open("w"),
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            said = process.stdout.readline()
            assert said, (self._directory / "emulator.log").read_text()
            where = json.loads(said)
            os.environ.update(where["environment"])
            os.environ.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
            self.calls = Calls(where["port"])
            self.processes.add("emulator", process.pid)
            try:
                yield process
            finally:
                process.stdin.close()

    def _stop_workers(self) -> None:
        mine = f"HOME={self._directory / 'home'}\0".encode()
        _kill((pid, environ) for pid, environ in _environments() if b"FLEET_WORKER=" in environ and mine in environ)
        for process in self._workers.values():
            process.wait()


def of_workers() -> dict[str, str]:
    """The variables of a fleet's workers."""
    lines = (DEPLOY / "worker.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _automations() -> list[Automation]:
    """What lets flow runs count as crashed whose process has gone: nobody else says so."""
    ended = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")]
    heartbeat = "prefect.flow-run.heartbeat"
    interval = int(of_workers()["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    crash = ChangeFlowRunState(state=StateType.CRASHED, message="its process has gone")

    def unless(name: str, after: str, comes: list[str], seconds: float) -> Automation:
        trigger = EventTrigger(
            posture=Posture.Proactive,
            after={after},
            expect=set(comes),
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=seconds),
        )
        return Automation(name=name, trigger=trigger, actions=[crash])

    begun = [heartbeat, "prefect.flow-run.Running", *ended]
    return [
        unless("no heartbeat", heartbeat, [heartbeat, *ended], _MISSED * interval),
        unless("never started", "prefect.flow-run.Pending", begun, _UNSTARTED),
    ]


def _environments() -> Iterator[tuple[int, bytes]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "environ").read_bytes()


def has_run(pid: int, environ: bytes, run_id: UUID) -> bool:
    """Whether a process has a flow run: its variables say so, or the name of a fork, which was started without them.

    Args:
        pid: of the process.
        environ: the variables that it was started with.
        run_id: of the flow run.
    """
    with contextlib.suppress(OSError):
        name = f"run-{run_id}"[:_NAME_LENGTH]
        return str(run_id).encode() in environ or Path(f"/proc/{pid}/comm").read_text().strip() == name
    return False


def _kill(processes: Any) -> None:
    for pid, _ in list(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
