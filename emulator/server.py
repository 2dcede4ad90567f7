"""The emulator as a whole: its services on loopback, started and stopped in this process."""

import os
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cos_customizer.emulator import limits
from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.api import compute_api
from cos_customizer.emulator.compute.batch import batch_api
from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.control import Controls, control_api
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.gate import loopback_gate
from cos_customizer.emulator.guest_access import check_access, scopes_of
from cos_customizer.emulator.http_server import HttpServer
from cos_customizer.emulator.logging.api import logging_api
from cos_customizer.emulator.logging.entries import LogEntries
from cos_customizer.emulator.machines.backend import Backend, MachineKind
from cos_customizer.emulator.machines.guest_firewall import may_reach
from cos_customizer.emulator.machines.metadata_server import GATEWAY_IP
from cos_customizer.emulator.machines.scripted import ScriptedBackend, Transcripts
from cos_customizer.emulator.projects import READ_ONLY_PROJECT, is_project_id
from cos_customizer.emulator.registry.api import RegistryApi
from cos_customizer.emulator.registry.service import Registry
from cos_customizer.emulator.registry.store import Store as ContainerImages
from cos_customizer.emulator.registry.upstream import MIRRORS, Upstream, mirrors_of
from cos_customizer.emulator.request_log import RequestLog
from cos_customizer.emulator.secret_manager.api import secret_manager_api
from cos_customizer.emulator.secret_manager.store import Secrets
from cos_customizer.emulator.storage.cloud_storage import CloudStorage
from cos_customizer.emulator.web import Context, application

_APP = application(compute_api, batch_api, logging_api, secret_manager_api, control_api)
_APP_FOR_GUESTS = application(secret_manager_api)
_APP_FOR_GUESTS.before_request(check_access)


class Emulator:
    """A local Compute Engine, Cloud Storage, Cloud Logging, Secret Manager and registry of container images.

    A context manager: it answers inside, and leaves no process or port behind.

    Args:
        state_dir: where everything is kept; it goes on from what an earlier emulator has left there.
        backend: the machines, or the name of their kind.
        projects: their buckets `<project>_cloudbuild` exist from the beginning.
        port: port of the Compute Engine API, and of Cloud Logging's and Secret Manager's; 0 takes a free one.
        storage_port: port of Cloud Storage; 0 takes a free one.
        registry_port: port of the registry; 0 takes a free one.
        cache_dir: where the stand-in image is kept from one state directory to another (`qemu` only).
        shutdown: called when a client asks the emulator to end.

    Attributes:
        clock: the emulator's clock, which can be advanced.
        faults: that are ordered.
        calls: the requests that were answered.
        logs: the log entries that were written.
        secrets: of Secret Manager.
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
        shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        state_dir = Path(state_dir)
        self._backend = make_backend(backend, state_dir, cache_dir) if isinstance(backend, str) else backend
        self.clock = Clock()
        self.faults = Faults()
        self.calls = RequestLog()
        self._projects: set[str] = set()
        for project in projects:
            if not is_project_id(project):
                raise EmulatorError(f"{project[:100]!r} is no project id", "-project takes ids such as my-project")
        self._backend.faults = self.faults
        if isinstance(self._backend, ScriptedBackend):
            self._backend.clock = self.clock
        self._engine = ComputeEngine(
            state_dir,
            self.clock,
            self.faults,
            self._backend,
            self._given_attributes,
            lambda: (self.storage_port, self.guest_port, self.registry_guest_port),
            lambda: f"127.0.0.1:{self.storage_port}",
        )
        self.logs = LogEntries(state_dir, self.clock)
        try:
            self.secrets = Secrets(state_dir, self.clock)
            self._storage = CloudStorage(
                state_dir / "storage",
                storage_port,
                self.faults,
                self.calls.record,
                guest_host=GATEWAY_IP,
                longest_body=limits.longest_upload(),
            )
            self._images = ContainerImages(state_dir / "registry", limits.most_registry())
            upstream = Upstream(
                self._images, lambda address: may_reach(IPv4Address(address)), mirrors_of(os.environ.get(MIRRORS, ""))
            )
            api = RegistryApi(self._images, upstream, lambda authorization: scopes_of(self._engine, authorization))
            self._registry = Registry(api, registry_port, self.faults, self.calls.record, GATEWAY_IP)
            for project in projects:
                self._use_project(project)
            services = (self._engine, self.logs, self.secrets, Controls(self.status, shutdown))
            context = Context(services, self.faults, self.calls, self._use_project)
            self._http = HttpServer(context.wsgi(_APP), port, self.calls.record)
            self._guest_http = HttpServer(context.wsgi(_APP_FOR_GUESTS), 0, self.calls.record)
        except (OSError, EmulatorError) as error:
            self.logs.close()
            self._engine.close()
            if isinstance(error, EmulatorError):
                raise
            raise EmulatorError(f"cannot listen on 127.0.0.1: {error}", "choose other ports") from error
        self.port: int = self._http.port
        self.storage_port: int = self._storage.port
        self.registry_port: int = self._registry.port
        self.guest_port: int = self._guest_http.port
        self.registry_guest_port: int = self._registry.guest_port
        self._guest_http.gate = loopback_gate(self.guest_port, f"{GATEWAY_IP}:{self.guest_port}")

    @property
    def quotas(self) -> Quotas:
        """The limits of how many GPUs may run."""
        return self._engine.quotas

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
        """Begin to answer."""
        self._storage.start()
        self._registry.start()
        self._guest_http.start()
        self._http.start()
        return self

    def stop(self) -> None:
        """Stop answering, stop all machines, and keep the state."""
        self._engine.end_waiting()
        self.faults.clear()
        self._http.stop()
        self._guest_http.stop()
        self.logs.close()
        self._engine.close()
        self._storage.stop()
        self._registry.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point clients to this emulator."""
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"http://127.0.0.1:{self.port}/compute/v1/",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.storage_port}",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"http://127.0.0.1:{self.storage_port}/storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"http://127.0.0.1:{self.port}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"http://127.0.0.1:{self.port}/",
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

    def stock_out(self, zone: str, on: bool = True) -> None:
        """Let a zone run out of machines, or have some again."""
        self._engine.instances.stock_out(zone, on)

    def status(self) -> dict[str, Any]:
        """Return counts of resources, ports, kind of machines, and the time."""
        return {
            "machines": self._backend.name,
            "port": self.port,
            "storagePort": self.storage_port,
            "registryPort": self.registry_port,
            "containerImages": {"repositories": len(self._images.repositories()), "bytes": self._images.used},
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

    def _use_project(self, project: str) -> None:
        """Make sure that a project's bucket is there; whoever has deleted it does not have to do without."""
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
