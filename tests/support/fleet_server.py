"""The server of deploy/compose.yaml without containers: its commands and variables, with Debian's programs."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from support.paths import ROOT
from support.waiting import PATIENCE, wait_for

DEPLOY = ROOT / "deploy"
PASSWORD = "fleet"
REPLICAS = ("api-1", "api-2")
_PREFECT = ("services", *REPLICAS)
_OF_THE_SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"
"""Directories that not every user's PATH has."""
_TO_END = 30.0
"""Seconds that processes have to end by themselves."""


def composition() -> dict[str, Any]:
    """What the compose file says, with the password in its place."""
    text = re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", PASSWORD, (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    composition: dict[str, Any] = yaml.safe_load(text)
    return composition


def postgres_programs() -> Path | None:
    """The directory of PostgreSQL's programs, the newest version's; Debian keeps them out of the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if versions:
        return versions[-1]
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def missing_packages() -> list[str]:
    """Debian packages that this machine lacks."""
    path = f"{os.environ['PATH']}:{_OF_THE_SYSTEM}"
    missing = [] if postgres_programs() else ["postgresql"]
    return missing + [
        package
        for program, package in (("redis-server", "redis-server"), ("haproxy", "haproxy"))
        if not shutil.which(program, path=path)
    ]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def stop_on_signals() -> None:
    """Let the signals that end a program raise `KeyboardInterrupt`, once: stopping is not interrupted."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    for each in signals:
        signal.signal(each, stop)


class FleetServer:
    """PostgreSQL, Redis, two replicas of Prefect's API, its services, and the proxy; nothing remains once it is left.

    Args:
        directory: for all of it; empty. Other users must be able to enter it: PostgreSQL refuses to run as root.

    Attributes:
        origin: of the proxy, without `/api`.
        processes: by the name of the service in the compose file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._services: dict[str, Any] = composition()["services"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {name: free_port() for name in ("postgres", "redis", "proxy", *REPLICAS)}
        self.origin = f"http://127.0.0.1:{self._ports['proxy']}"
        self.api = f"{self.origin}/api"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def replica(self, name: str) -> str:
        """The address of one replica's API."""
        return f"http://127.0.0.1:{self._ports[name]}/api"

    @property
    def database(self) -> str:
        """The address of the database, for psql."""
        return f"postgresql://prefect:{PASSWORD}@127.0.0.1:{self._ports['postgres']}/prefect"

    def query(self, statement: str) -> list[list[str]]:
        """Rows that a statement of SQL returns."""
        command = [self._postgres("psql"), self.database, "--no-align", "--tuples-only", "--field-separator=\t"]
        done = subprocess.run([*command, "-c", statement], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def redis(self, *command: str) -> str:
        """What Redis answers."""
        whole = ["redis-cli", "-p", str(self._ports["redis"]), *command]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service of Prefect's."""
        mine = {each: value for each, value in os.environ.items() if not each.startswith("PREFECT_")}
        said: dict[str, str] = self._services[name]["environment"]
        mine |= {each: self._here(value) for each, value in said.items()}
        mine |= {
            "PREFECT_HOME": str(self._directory / name),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self._ports.get(name, 0)),
            "DO_NOT_TRACK": "1",
        }
        return mine

    def start_replica(self, name: str) -> None:
        """Start a replica, or start it again, and wait until it answers."""
        self._begin_prefect(name)
        wait_for(partial(self._answers, self.replica(name), name))

    def kill(self, name: str) -> None:
        """Kill a service outright."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> str:
        """What a service has printed."""
        return (self._directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Stop everything, the stores last."""
        for names in (("proxy", *_PREFECT), ("redis", "postgres")):
            ending = [self.processes.pop(name) for name in names if name in self.processes]
            for process in ending:
                # PostgreSQL's fast shutdown; the others take it as Ctrl-C.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            end = time.monotonic() + _TO_END
            for process in ending:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end - time.monotonic()))
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self) -> None:
        self._start_postgres()
        self._directory.joinpath("redis").mkdir()
        where = ["--bind", "127.0.0.1", "--port", str(self._ports["redis"]), "--dir", str(self._directory / "redis")]
        self._begin("redis", [*shlex.split(self._services["redis"]["command"]), *where])
        wait_for(lambda: self._listens("redis"))
        migrate = self._prefect(self._services["migrate"]["command"])
        done = subprocess.run(
            migrate, env=self.environment("migrate"), capture_output=True, text=True, check=False, timeout=PATIENCE * 5
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for name in _PREFECT:
            self._begin_prefect(name)
        for name in REPLICAS:
            wait_for(partial(self._answers, self.replica(name), name))
        wait_for(self._evaluates_triggers, lambda: "a service of Prefect's has ended without a word")
        settings = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
        settings = settings.replace("bind :4200", f"bind 127.0.0.1:{self._ports['proxy']}")
        (self._directory / "haproxy.cfg").write_text(self._here(settings), encoding="utf-8")
        self._begin("proxy", ["haproxy", "-f", str(self._directory / "haproxy.cfg")])
        wait_for(lambda: self._answers(self.api, "proxy"))

    def _start_postgres(self) -> None:
        data, secret = self._directory / "postgres", self._directory / "password"
        secret.write_text(PASSWORD)
        data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(data, "postgres")
            shutil.chown(secret, "postgres")
        make = [*self._as_postgres(), self._postgres("initdb"), "--username=prefect", "--auth=scram-sha-256"]
        make += ["--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={secret}", f"--pgdata={data}"]
        done = subprocess.run(make, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        where = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        where += ["-p", str(self._ports["postgres"])]
        self._begin("postgres", [*self._as_postgres(), self._postgres("postgres"), "-D", str(data), *where])
        wait_for(lambda: self._listens("postgres"))
        create = [self._postgres("createdb"), f"--maintenance-db={self.database.removesuffix('prefect')}postgres"]
        wait_for(lambda: subprocess.run([*create, "prefect"], capture_output=True, check=False).returncode == 0)

    def _as_postgres(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]

    def _postgres(self, program: str) -> str:
        programs = postgres_programs()
        assert programs, "there is no PostgreSQL"
        return str(programs / program)

    def _prefect(self, command: str) -> list[str]:
        program, *arguments = shlex.split(command)
        return [str(Path(sys.executable).with_name(program)), *arguments]

    def _begin_prefect(self, name: str) -> None:
        self._begin(name, self._prefect(self._services[name]["command"]), self.environment(name))

    def _here(self, text: str) -> str:
        """A text of the compose file, with the addresses of this machine instead of its services' names."""
        for name, port in self._ports.items():
            text = re.sub(rf"\b{name}:\d+\b", f"127.0.0.1:{port}", text)
        return text

    def _begin(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        inherited = environment or dict(os.environ)
        with (self._directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env={**inherited, "PATH": f"{inherited['PATH']}:{_OF_THE_SYSTEM}"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _listens(self, name: str) -> bool:
        assert self.processes[name].poll() is None, self.log(name)
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._ports[name])):
            return True
        return False

    def _evaluates_triggers(self) -> bool:
        """Whether the service of automations is at work, which reads events after it has read its automations."""
        return "reactive-triggers" in self.redis("xinfo", "groups", "events")

    def _answers(self, api: str, name: str) -> bool:
        assert self.processes[name].poll() is None, self.log(name)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{api}/health", timeout=PATIENCE):
                return True
        except (urllib.error.URLError, OSError):
            return False
