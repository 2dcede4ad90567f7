"""The one place that builds Google clients: credentials, and nothing else. Where they lead is in `endpoints`."""

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import google.auth
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1
from requests import Session
from requests.adapters import HTTPAdapter

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.gcp.call_counts import counts
from cos_customizer.gcp.endpoints import Endpoints, look_for_local, pass_by_proxies
from cos_customizer.quick_imports import complete

T = TypeVar("T")

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True)
class Clients:
    """Google's clients, each made when first used.

    Attributes:
        endpoints: where the APIs are.
        credentials: of google-auth.
        adapter: carries every request of Compute Engine's and Cloud Storage's clients in place of their own transport;
            None: that.
    """

    endpoints: Endpoints
    credentials: Any
    adapter: HTTPAdapter | None = None

    def _compute(self, kind: type[T]) -> T:
        make: Any = kind
        options = ClientOptions(api_endpoint=self.endpoints.compute) if self.endpoints.compute else None
        client = make(credentials=self.credentials, client_options=options)
        # The transport offers no way to its session, and takes none.
        self._carry(client.transport._session)  # noqa: SLF001
        known: T = client
        return known

    def _carry(self, session: Session) -> None:
        """Let the adapter have a client's requests, if there is one; count them, if not."""
        if self.adapter is None:
            session.hooks["response"].append(counts.note)
        else:
            for scheme in ("https://", "http://"):
                session.mount(scheme, self.adapter)

    @cached_property
    def images(self) -> "compute_v1.ImagesClient":
        """Images."""
        return self._compute(compute_v1.ImagesClient)

    @cached_property
    def instances(self) -> "compute_v1.InstancesClient":
        """Instances and their serial ports."""
        return self._compute(compute_v1.InstancesClient)

    @cached_property
    def disks(self) -> "compute_v1.DisksClient":
        """Disks."""
        return self._compute(compute_v1.DisksClient)

    @cached_property
    def instance_templates(self) -> "compute_v1.InstanceTemplatesClient":
        """Instance templates."""
        return self._compute(compute_v1.InstanceTemplatesClient)

    @cached_property
    def projects(self) -> "compute_v1.ProjectsClient":
        """Projects: which id a number stands for."""
        return self._compute(compute_v1.ProjectsClient)

    @cached_property
    def accelerator_types(self) -> "compute_v1.AcceleratorTypesClient":
        """Which zone has which GPUs."""
        return self._compute(compute_v1.AcceleratorTypesClient)

    @cached_property
    def machine_types(self) -> "compute_v1.MachineTypesClient":
        """Which zone has which machine types."""
        return self._compute(compute_v1.MachineTypesClient)

    @cached_property
    def zones(self) -> "compute_v1.ZonesClient":
        """Which zones there are."""
        return self._compute(compute_v1.ZonesClient)

    @cached_property
    def zone_operations(self) -> "compute_v1.ZoneOperationsClient":
        """Operations on zonal resources."""
        return self._compute(compute_v1.ZoneOperationsClient)

    @cached_property
    def global_operations(self) -> "compute_v1.GlobalOperationsClient":
        """Operations on images."""
        return self._compute(compute_v1.GlobalOperationsClient)

    @cached_property
    def storage(self) -> Any:
        """Cloud Storage, imported here because the first step of a build can do without."""
        from cos_customizer.gcp.storage_client import storage_client

        client = storage_client(self.credentials, self.endpoints.storage)
        self._carry(client._http)  # noqa: SLF001 - as above
        return client

    def logging(self, project: str) -> Any:
        """Cloud Logging, imported here because few builds use it. It speaks HTTP, as the emulator does.

        Args:
            project: whose logs are written.
        """
        from google.cloud import logging

        local = self.endpoints.logging_is_local
        credentials = AnonymousCredentials() if local else self.credentials  # type: ignore[no-untyped-call]
        options = ClientOptions(api_endpoint=self.endpoints.logging) if self.endpoints.logging else None
        return logging.Client(project=project, credentials=credentials, client_options=options, _use_grpc=False)  # type: ignore[no-untyped-call]


def connect(environment: Mapping[str, str] = os.environ) -> Clients:
    """The clients for the endpoints and credentials that the environment names.

    Args:
        environment: usually `os.environ`.

    Raises:
        UsageError: one endpoint is overridden without the other.
        CustomizerError: there are no credentials, or nothing listens where an endpoint on this machine should be.
    """
    endpoints = Endpoints.from_environment(environment)
    if endpoints.anonymous or endpoints.logging_is_local:
        pass_by_proxies()
    if endpoints.anonymous:
        look_for_local(endpoints)
        return Clients(endpoints, AnonymousCredentials())  # type: ignore[no-untyped-call]
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except (google.auth.exceptions.GoogleAuthError, OSError) as error:
        raise CustomizerError(
            f"no usable Google credentials were found: {str(error).rstrip('.')}",
            "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or try a build without "
            "an account: `cos-customizer emulator start`.",
        ) from error
    return Clients(endpoints, credentials)


def load() -> None:
    """Import what the clients of a build need, while it waits for something else anyway."""
    for client in ("Images", "Instances", "Disks", "MachineTypes", "ZoneOperations", "GlobalOperations"):
        getattr(compute_v1, f"{client}Client")
    importlib.import_module("cos_customizer.gcp.storage_client")
    complete()


_in_use: ContextVar[Clients | None] = ContextVar("clients", default=None)


def clients() -> Clients:
    """The clients to use: those of `using`, or those for the endpoints that the environment names, made once for each.

    Raises:
        CustomizerError: As `connect`.
    """
    return _in_use.get() or _clients_for(Endpoints.from_environment(os.environ))


@contextmanager
def using(clients: Clients) -> Iterator[None]:
    """Use these clients, and no others, while the context lasts.

    Args:
        clients: From then on what `clients()` returns.
    """
    token = _in_use.set(clients)
    try:
        yield
    finally:
        _in_use.reset(token)


@lru_cache(maxsize=8)
def _clients_for(_endpoints: Endpoints) -> Clients:
    return connect()
