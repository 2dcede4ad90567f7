"""The emulator as a whole: its services on loopback, started and stopped in this process."""

import errno
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cos_customizer.emulator import limits
from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.api import compute_api
from cos_customizer.emulator.compute.batch import batch_api
from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.rate_quotas import RateQuotas
from cos_customizer.emulator.compute.service_usage import service_usage_api
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.control import Controls, control_api, health_api
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.front import FrontHandler
from cos_customizer.emulator.gate import loopback_gate, open_gate
from cos_customizer.emulator.guest_access import check_access
from cos_customizer.emulator.http_server import HttpServer, Transfer
from cos_customizer.emulator.kms.api import kms_api
from cos_customizer.emulator.kms.store import Keys
from cos_customizer.emulator.logging.api import logging_api
from cos_customizer.emulator.logging.entries import LogEntries
from cos_customizer.emulator.machines.backend import Backend, MachineKind
from cos_customizer.emulator.machines.metadata_server import GATEWAY_IP
from cos_customizer.emulator.machines.scripted import ScriptedBackend, Transcripts
from cos_customizer.emulator.overview import overview
from cos_customizer.emulator.page import page
from cos_customizer.emulator.project_removal import remove_project
from cos_customizer.emulator.projects import READ_ONLY_PROJECT, is_project_id
from cos_customizer.emulator.registry.service import Registry
from cos_customizer.emulator.request_log import RequestLog
from cos_customizer.emulator.secret_manager.api import secret_manager_api
from cos_customizer.emulator.secret_manager.store import Secrets
from cos_customizer.emulator.seed.model import Seed
from cos_customizer.emulator.seed.planting import Planting
from cos_customizer.emulator.services import Services, open_services, recover_state
from cos_customizer.emulator.storage.cloud_storage import CloudStorage
from cos_customizer.emulator.turnstile import Turnstile
from cos_customizer.emulator.web import Context, application
from cos_customizer.emulator.whole_state import WholeState

_APP = application(
    compute_api, batch_api, logging_api, secret_manager_api, kms_api, service_usage_api, control_api, health_api, page
)
_APP_FOR_GUESTS = application(secret_manager_api)
_APP_FOR_GUESTS.before_request(check_access)
_LOOPBACK, _EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 (where the user asks for it)


class Emulator(WholeState):
    """A local Compute Engine, Cloud Storage, Cloud Logging, Secret Manager, Cloud KMS and registry of container images.

    A context manager: it answers inside, and leaves no process or port behind.

    Args:
        state_dir: where everything is kept; it goes on from what an earlier emulator has left there.
        backend: the machines, or the name of their kind.
        projects: their buckets `<project>_cloudbuild` exist from the beginning.
        port: port of the Compute Engine API, and of Cloud Logging's, Secret Manager's and Cloud KMS'; 0: a free one.
        storage_port: port of Cloud Storage; 0 takes a free one.
        registry_port: port of the registry; 0 takes a free one.
        cache_dir: where the stand-in image is kept from one state directory to another (`qemu` only).
        seed: what is there from the beginning, and again after a reset.
        host: the address that `port` listens on, beside 127.0.0.1; it serves all services, and the others' ports stay
            on loopback. If it is not loopback, whoever reaches it may do everything.
        host_names: what clients may call that address, beside `localhost` and `127.0.0.1`.
        shutdown: called when a client asks the emulator to end.

    Attributes:
        clock: the emulator's clock, which can be advanced.
        faults: that are ordered.
        calls: the requests that were answered.
        port: port of the Compute Engine API.
        storage_port: port of Cloud Storage.
        registry_port: port of the registry.
        guest_port: port of Secret Manager for guests.
        registry_guest_port: port of the registry for guests.

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
        registry_port: int = 0,
        cache_dir: Path | None = None,
        seed: Seed | None = None,
        host: str = _LOOPBACK,
        host_names: tuple[str, ...] = (),
        shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        self._state_dir = state_dir = Path(state_dir)
        self._seed = seed
        self._is_ready = False
        self._given_backend, self._cache_dir = backend, cache_dir
        self.clock = Clock()
        self.faults = Faults()
        self.calls = RequestLog()
        self._turnstile = Turnstile()
        self._given_projects = projects
        self._projects: set[str] = set()
        for project in projects:
            if not is_project_id(project):
                raise EmulatorError(f"{project[:100]!r} is no project id", "-project takes ids such as my-project")
        recover_state(state_dir)
        self._services = self._open()
        try:
            self._storage = CloudStorage(
                state_dir / "storage",
                storage_port,
                self.faults,
                self.calls.record,
                guest_host=GATEWAY_IP,
                longest_body=limits.longest_upload(),
            )
            self._registry = Registry(
                self._services.registry, registry_port, self.faults, self.calls.record, GATEWAY_IP
            )
            self._controls = Controls(
                self.status,
                shutdown,
                self.reset,
                lambda: overview(self._services, self._storage.store),
                lambda: self._is_ready,
            )
            self._context = Context((), self.faults, self.calls, self.use_project)
            self._take_up()
            self._host = host
            app = self._context.wsgi(_APP)
            self._doors: list[HttpServer] = []
            for address in (host,) if host in (_LOOPBACK, _EVERYWHERE) else (_LOOPBACK, host):
                port = self._doors[0].port if self._doors else port
                door = HttpServer(app, port, self.calls.record, host=address, handler=FrontHandler)
                door.services = {"storage": self._storage.served, "registry": self._registry.served}
                if host != _LOOPBACK or host_names:
                    door.gate = open_gate(door.port, (host, *host_names))
                door.transfers = {"/emulator/state": Transfer(self.saved, self.load, limits.longest_upload())}
                self._doors.append(door)
            self._guest_http = HttpServer(self._context.wsgi(_APP_FOR_GUESTS), 0, self.calls.record)
        except (OSError, EmulatorError) as error:
            self._services.close()
            if isinstance(error, EmulatorError):
                raise
            hint = "choose other ports" if error.errno == errno.EADDRINUSE else "choose an address of this machine"
            raise EmulatorError(f"cannot listen on {host}: {error}", hint) from error
        for server in (*self._doors, self._guest_http, self._storage.server):
            server.turnstile = self._turnstile
        self._registry.pass_by(self._turnstile)
        self.port: int = self._doors[0].port
        self.storage_port: int = self._storage.port
        self.registry_port: int = self._registry.port
        self.guest_port: int = self._guest_http.port
        self.registry_guest_port: int = self._registry.guest_port
        self._guest_http.gate = loopback_gate(self.guest_port, f"{GATEWAY_IP}:{self.guest_port}")

    def _open(self) -> Services:
        """Open the services on what is in the state directory."""
        given = self._given_backend
        self._backend = make_backend(given, self._state_dir, self._cache_dir) if isinstance(given, str) else given
        if isinstance(self._backend, ScriptedBackend):
            self._backend.send = lambda address, content: self._storage.send(address, content)
        return open_services(
            self._state_dir,
            self.clock,
            self.faults,
            self._backend,
            self._given_attributes,
            lambda: (self.storage_port, self.guest_port, self.registry_guest_port),
            lambda: f"127.0.0.1:{self.storage_port}",
        )

    def _take_up(self) -> None:
        """Let requests reach the services that are open now."""
        services = self._services
        self._registry.use(services.registry)
        self._context.services = (
            services.engine,
            services.logs,
            services.secrets,
            services.keys,
            self._controls,
        )
        for project in self._given_projects:
            self.use_project(project)

    @property
    def _engine(self) -> ComputeEngine:
        return self._services.engine

    @property
    def logs(self) -> LogEntries:
        """The log entries that were written."""
        return self._services.logs

    @property
    def secrets(self) -> Secrets:
        """Those of Secret Manager."""
        return self._services.secrets

    @property
    def keys(self) -> Keys:
        """Those of Cloud KMS."""
        return self._services.keys

    @property
    def quotas(self) -> Quotas:
        """The limits of how many GPUs may run."""
        return self._engine.quotas

    @property
    def rates(self) -> RateQuotas:
        """The limits of how many requests a project may make in a minute."""
        return self._engine.rates

    @property
    def scripts(self) -> Transcripts:
        """The transcripts that scripted machines play.

        Raises:
            EmulatorError: the machines are of another kind.
        """
        if not isinstance(self._backend, ScriptedBackend):
            raise EmulatorError(f"scripts are for scripted machines; these are {self._backend.name}")
        return self._backend.transcripts

    def prepare(self) -> None:
        """Make sure that machines can run. The first time this may build the stand-in image, which takes a minute.

        Raises:
            EmulatorError: something is missing.
        """
        self._backend.prepare()

    def start(self) -> Self:
        """Begin to answer, and put in what the seed says.

        Raises:
            EmulatorError: that cannot be made; nothing runs then.
        """
        self._storage.start()
        self._registry.start()
        self._guest_http.start()
        for door in self._doors:
            door.start()
        try:
            self._plant()
        except BaseException:
            self.stop()
            raise
        return self

    def _plant(self) -> None:
        if self._seed is not None:
            Planting(self.port, self.storage_port, self._state_dir).plant(self._seed)
            for fault in self._seed.faults:
                self.faults.add(**fault)
            self.calls.clear()
        self._is_ready = True

    def stop(self) -> None:
        """Stop answering, stop all machines, and keep the state."""
        self._turnstile.shut()  # a connection that is kept may bring a request at any moment
        self._engine.end_waiting()
        self.faults.clear()
        for door in self._doors:
            door.stop()
        self._guest_http.stop()
        self._services.close()
        self._storage.stop()
        self._registry.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point clients to this emulator.

        With a `host` of its own all lead to the one port: the others are not to be seen from there.
        """
        storage = self.storage_port if self._host == _LOOPBACK else self.port
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"http://127.0.0.1:{self.port}/compute/v1/",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage}",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"http://127.0.0.1:{storage}/storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"http://127.0.0.1:{self.port}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"http://127.0.0.1:{self.port}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": f"http://127.0.0.1:{self.port}/",
        }

    def get(self, path: str) -> Resource:
        """Return a resource of Compute Engine, for example `projects/p/zones/z/instances/i`.

        Raises:
            ApiError: 404.
        """
        return self._engine.get(path)

    def list(self, collection: str) -> list[Resource]:
        """Return the resources of a collection, for example `projects/p/global/images`; a zone `-` means all zones."""
        return [resource for _, resource in self._engine.under(collection)]

    def serial_output(self, path: str, port: int) -> str:
        """Return what an instance has printed on a serial port, as far as it is kept.

        Args:
            path: for example `projects/p/zones/z/instances/i`.
            port: 1 to 4.

        Raises:
            ApiError: 400 or 404.
        """
        return str(self._engine.instances.serial_output(path, port, 0)["contents"])

    def remove_project(self, project: str, seconds: float) -> None:
        """Remove all that a project has.

        Args:
            project: its id.
            seconds: how long that may take.

        Raises:
            EmulatorError: something cannot be removed, or is not done in time.
        """
        remove_project(self._services, self._storage.store, self.port, project, seconds)
        self._projects.discard(project)

    def stock_out(self, zone: str, on: bool = True) -> None:
        """Let a zone run out of machines, or have some again."""
        self._engine.instances.stock_out(zone, on)

    def status(self) -> dict[str, Any]:
        """Return counts of resources, ports, kind of machines, and the time."""
        images = self._services.images
        return {
            "machines": self._backend.name,
            "port": self.port,
            "storagePort": self.storage_port,
            "registryPort": self.registry_port,
            "containerImages": {"repositories": len(images.repositories()), "bytes": images.used},
            "projects": sorted({*self._projects, *self._engine.shared.store.projects()}),
            "clock": self.clock.timestamp(),
            **self._engine.status(),
        }

    def _given_attributes(self) -> dict[str, str]:
        return {
            "storage-endpoint": f"http://{GATEWAY_IP}:{self.storage_port}",
            "secretmanager-endpoint": f"http://{GATEWAY_IP}:{self.guest_port}",
            "registry-endpoint": f"http://{GATEWAY_IP}:{self.registry_guest_port}",
        }

    def use_project(self, project: str) -> None:
        """Make sure that a project's bucket `<project>_cloudbuild` is there, even if it was deleted."""
        if not is_project_id(project) or project == READ_ONLY_PROJECT:
            return
        self._projects.add(project)
        self._storage.ensure_bucket(f"{project}_cloudbuild", project)


def make_backend(kind: MachineKind, state_dir: Path, cache_dir: Path | None) -> Backend:
    """Return the machines of a kind.

    Args:
        kind: `qemu` or `scripted`.
        state_dir: the emulator's state directory.
        cache_dir: see `Emulator`.
    """
    if kind == "scripted":
        return ScriptedBackend()
    from cos_customizer.emulator.machines.qemu import QemuBackend  # only where it is used

    return QemuBackend(state_dir / "machines", cache_dir or state_dir / "cache")
