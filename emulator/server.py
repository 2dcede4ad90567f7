"""The emulator as a whole: its services on loopback, started and stopped in this process."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from flask import Flask

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.api import Context, api
from cos_customizer.emulator.compute.batch import batch
from cos_customizer.emulator.compute.engine import Compute
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.resources import READ_ONLY_PROJECT, Resource
from cos_customizer.emulator.control import control
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.http_server import HttpServer
from cos_customizer.emulator.logging.api import log_api
from cos_customizer.emulator.logging.entries import Logs
from cos_customizer.emulator.machines.backend import Backend, EmulatorError
from cos_customizer.emulator.machines.scripted import ScriptedBackend, Scripts
from cos_customizer.emulator.request_log import Calls
from cos_customizer.emulator.storage.server import CloudStorage

GUEST_HOST = "169.254.169.1"
"""The host's loopback interface as a guest sees it."""

MachineKind = Literal["qemu", "scripted"]

_APP = Flask("emulator")
_APP.url_map.strict_slashes = False
for _blueprint in (api, batch, control, log_api):
    _APP.register_blueprint(_blueprint)


class Emulator:
    """A local Compute Engine, Cloud Storage and Cloud Logging.

    A context manager: entered, it answers; left, nothing remains.

    Args:
        state_dir: where everything is kept; what a former emulator left there is taken over.
        backend: the machines, or the name of a kind.
        projects: their buckets `<project>_cloudbuild` exist from the beginning.
        port: port of the Compute Engine API, and of Cloud Logging's; 0 takes a free one.
        storage_port: port of Cloud Storage; 0 takes a free one.
        cache_dir: where the stand-in image is kept from one state directory to another (`qemu` only).
        shutdown: called when a client asks the emulator to end.

    Attributes:
        clock: the emulator's clock, which can be advanced.
        faults: what is to go wrong.
        calls: the requests that were answered.
        logs: the log entries that were written.
        port: port of the Compute Engine API.
        storage_port: port of Cloud Storage.

    Raises:
        EmulatorError: the state directory is in use or of another kind, or a port is taken.
    """

    def __init__(
        self,
        state_dir: Path,
        backend: Backend | MachineKind = "scripted",
        projects: tuple[str, ...] = ("my-project",),
        port: int = 0,
        *,
        storage_port: int = 0,
        cache_dir: Path | None = None,
        shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        state_dir = Path(state_dir)
        self._backend = make_backend(backend, state_dir, cache_dir) if isinstance(backend, str) else backend
        self.faults = Faults()
        self.calls = Calls()
        self._projects: set[str] = set()
        self._compute = Compute(state_dir, self._backend, self.faults, self._given_attributes)
        if isinstance(self._backend, ScriptedBackend):
            self._backend.clock = self._compute.clock
        self.logs = Logs(state_dir, self._compute.clock)
        try:
            self._storage = CloudStorage(state_dir / "storage", storage_port, self.faults, self.calls.record)
            for project in projects:
                self._use_project(project)
            context = Context(self._compute, self.logs, self.calls, self._use_project, self.status, shutdown)
            self._http = HttpServer(context.wsgi(_APP), port, self.calls.record)
        except OSError as error:
            self.logs.close()
            self._compute.close()
            raise EmulatorError(f"cannot listen on 127.0.0.1: {error}", "choose other ports") from error
        self.port: int = self._http.port
        self.storage_port: int = self._storage.port

    @property
    def clock(self) -> Clock:
        """The emulator's clock."""
        return self._compute.clock

    @property
    def quotas(self) -> Quotas:
        """How many GPUs may run."""
        return self._compute.quotas

    @property
    def scripts(self) -> Scripts:
        """What scripted machines do.

        Raises:
            EmulatorError: the machines are of another kind.
        """
        if not isinstance(self._backend, ScriptedBackend):
            raise EmulatorError(f"scripts are for scripted machines; these are {self._backend.name}")
        return self._backend.scripts

    def prepare(self) -> None:
        """Make sure that machines can run; the first time this may build the stand-in image, which takes a minute.

        Raises:
            EmulatorError: something is missing.
        """
        self._backend.prepare()

    def start(self) -> Self:
        """Begin to answer."""
        self._storage.start()
        self._http.start()
        return self

    def stop(self) -> None:
        """Answer nobody any more, stop all machines, keep the state."""
        self._compute.end_waiting()
        self._http.stop()
        self.logs.close()
        self._compute.close()
        self._storage.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """The environment variables that point clients here."""
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"http://127.0.0.1:{self.port}/compute/v1/",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.storage_port}",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"http://127.0.0.1:{self.port}/",
        }

    def compute(self, path: str) -> Resource:
        """A resource, for example `projects/p/zones/z/instances/i`.

        Raises:
            ApiError: 404.
        """
        return self._compute.get(path)

    def list(self, collection: str) -> list[Resource]:
        """The resources of a collection, for example `projects/p/global/images`; a zone `-` means all zones."""
        return [resource for _, resource in self._compute.under(collection)]

    def stock_out(self, zone: str, on: bool = True) -> None:
        """Let a zone have no machines left to offer, or again some."""
        self._compute.instances.stock_out(zone, on)

    def status(self) -> dict[str, Any]:
        """What there is: counts of resources, ports, kind of machines, clock."""
        return {
            "machines": self._backend.name,
            "port": self.port,
            "storagePort": self.storage_port,
            "projects": sorted(self._projects),
            "clock": self.clock.timestamp(),
            **self._compute.status(),
        }

    def _given_attributes(self) -> dict[str, str]:
        return {"storage-endpoint": f"http://{GUEST_HOST}:{self.storage_port}"}

    def _use_project(self, project: str) -> None:
        if project not in self._projects and project != READ_ONLY_PROJECT:
            self._projects.add(project)
            self._storage.ensure_bucket(f"{project}_cloudbuild")


def make_backend(kind: MachineKind, state_dir: Path, cache_dir: Path | None) -> Backend:
    """The machines of a kind.

    Args:
        kind: `qemu` or `scripted`.
        state_dir: the emulator's state directory.
        cache_dir: see `Emulator`.
    """
    if kind == "scripted":
        return ScriptedBackend()
    from cos_customizer.emulator.machines.qemu import QemuBackend  # only where it is used

    return QemuBackend(state_dir / "machines", cache_dir or state_dir / "cache")
