"""A Prefect server, a working tree deployed to it and workers, each a process of its own, as people run them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from support.paths import ROOT
from support.waiting import PATIENCE, wait_for

PREFECT = str(Path(sys.executable).with_name("prefect"))
POOL = "cos-customizer"


class PrefectPlace:
    """Directories, a server and workers; entered, the server answers; left, no process remains.

    Args:
        directory: for all of it; empty.
        database: a migrated one, for the server to begin with: a cold start takes long.
        ui: whether the server has its pages.
    """

    def __init__(self, directory: Path, database: Path | None = None, ui: bool = False) -> None:
        self.checkout = directory / "checkout"
        self._logs = directory
        self._database = database
        self._ui = ui
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = listener.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self._port}"
        self.api = f"{self.origin}/api"
        self._settings = {
            "HOME": str(directory / "home"),
            "PREFECT_HOME": str(directory / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_UI_ENABLED": str(ui),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "2",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_CLI_PROMPT": "false",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "PrefectPlace":
        (self._logs / "home").mkdir()
        Path(self._settings["PREFECT_HOME"]).mkdir()
        if self._database is not None:
            shutil.copy(self._database, Path(self._settings["PREFECT_HOME"], "prefect.db"))
        self.check_out()
        try:
            self._begin("server", "server", "start", "--host", "127.0.0.1", "--port", str(self._port))
            wait_for(self._answers)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check_out(self) -> None:
        """Make a working tree of what a user's repository needs: the flows, prefect.yaml, examples."""
        self.checkout.mkdir()
        shutil.copytree(ROOT / "flows", self.checkout / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "examples", self.checkout / "examples")
        shutil.copy(ROOT / "prefect.yaml", self.checkout)

    @property
    def environment(self) -> dict[str, str]:
        """Of all its processes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return {**inherited, **self._settings, "PWD": str(self.checkout)}

    def prefect(self, *arguments: str) -> str:
        """Run Prefect's command line in the working tree; what it prints."""
        done = subprocess.run(
            [PREFECT, *arguments], cwd=self.checkout, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_worker(self) -> "subprocess.Popen[bytes]":
        """A worker for the pool, in a process group of its own."""
        return self._begin("worker", "worker", "start", "--pool", POOL, "--name", f"worker-{len(self._processes)}")

    def have_worker(self) -> None:
        """Start a worker, unless there is one."""
        if all(process.poll() is not None for process in self._processes[1:]):
            self.start_worker()

    def let_leases_expire(self, resource: Any) -> list[float]:
        """Turn the server's clock as far as leases on this resource are concerned.

        Args:
            resource: id of a concurrency limit.

        Returns:
            Seconds that each of them would have lasted.
        """
        folder = Path(self._settings["PREFECT_HOME"], "concurrency_leases")
        index_file = folder / "expirations.json"
        index: dict[str, str] = json.loads(index_file.read_text())
        left = []
        for name, expiration in list(index.items()):
            file = folder / f"{name}.json"
            lease = json.loads(file.read_text())
            if str(resource) in lease["resource_ids"]:
                left.append((datetime.fromisoformat(expiration) - datetime.now(UTC)).total_seconds())
                index[name] = lease["expiration"] = datetime.fromtimestamp(0, UTC).isoformat()
                file.write_text(json.dumps(lease))
        index_file.write_text(json.dumps(index))
        return left

    def log(self, name: str) -> str:
        """What the server or a worker has printed."""
        return (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def processes_of(self, flow_run_id: Any) -> list[int]:
        """The processes that run a flow run, not the worker that has started them."""
        return [pid for pid, environ in self._environments() if f"FLOW_RUN_ID={flow_run_id}".encode() in environ]

    def kill_everything_but_the_server(self) -> None:
        """What becomes of a worker's machine that loses its power."""
        server = self._processes[0].pid
        for pid, _ in self._environments():
            with suppress(ProcessLookupError):
                if os.getpgid(pid) != os.getpgid(server):
                    os.kill(pid, signal.SIGKILL)
        for process in self._processes[1:]:
            process.wait()
        del self._processes[1:]

    def stop(self) -> None:
        """Stop everything."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        for pid, _ in self._environments():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _begin(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [PREFECT, *arguments],
                cwd=self.checkout,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.api}/health", timeout=PATIENCE):
                return True
        except (urllib.error.URLError, OSError):
            assert self._processes[0].poll() is None, self.log("server")
            return False

    def _environments(self) -> list[tuple[int, bytes]]:
        mine = f"PREFECT_HOME={self._settings['PREFECT_HOME']}".encode()
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                with suppress(OSError):
                    environ = (process / "environ").read_bytes()
                    if mine in environ and int(process.name) != os.getpid():
                        found.append((int(process.name), environ))
        return found
