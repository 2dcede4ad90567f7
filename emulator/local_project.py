"""A project of an emulator as a test uses it: addresses, clients, faults, the clock; all of it gone in the end."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cos_customizer.emulator.compute.references import path_of_link
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Kind
from cos_customizer.emulator.request_log import LoggedRequest
from cos_customizer.emulator.server import Emulator

C = TypeVar("C")

_PATIENCE = 60.0
_CLIENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    # How modules begin, the variable that has their service's address, what else their clients take.
    ("google.cloud.storage", "STORAGE_EMULATOR_HOST", {}),
    ("google.cloud.logging", "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", {"_use_grpc": False}),
    ("google.cloud.secretmanager", "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", {"transport": "rest"}),
    ("google.cloud.kms", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", {"transport": "rest"}),
    ("google.cloud.compute", "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", {"transport": "rest"}),
)
_WITH_PROJECT = ("google.cloud.storage", "google.cloud.logging")


class LocalProject:
    """A project of a local Compute Engine, Cloud Storage, Cloud Logging, Secret Manager and Cloud KMS.

    Args:
        emulator: it runs.
        project: id of the project.

    Attributes:
        emulator: the whole of it, for what this class does not offer.
        project: its id.
        zone: a zone, for tests that do not care which.
    """

    zone = "us-west1-b"

    def __init__(self, emulator: Emulator, project: str) -> None:
        self.emulator = emulator
        self.project = project
        self._since = time.time()
        self._faults, self._scripts, self._stocked_out = self._ordered()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead gcloud and Google's libraries to the project."""
        return {
            **self.emulator.environment(),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "CLOUDSDK_CORE_PROJECT": self.project,
            "CLOUDSDK_AUTH_ACCESS_TOKEN": "none",
        }

    @property
    def url(self) -> str:
        """Address of Compute Engine, Cloud Logging, Secret Manager and Cloud KMS: `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.emulator.port}"

    @property
    def storage_url(self) -> str:
        """Address of Cloud Storage."""
        return self.emulator.environment()["STORAGE_EMULATOR_HOST"]

    @property
    def bucket(self) -> str:
        """Name of a bucket that is there."""
        return f"{self.project}_cloudbuild"

    def client(self, kind: Callable[..., C]) -> C:
        """Make one of Google's clients for the project; `insert(…).result()` of Compute Engine's waits here, too.

        Args:
            kind: a class of google-cloud-compute, -storage, -logging, -secret-manager or -kms, for example
                `compute_v1.InstancesClient`.

        Raises:
            ValueError: it is another one.
        """
        from google.auth.credentials import AnonymousCredentials

        module = kind.__module__
        for start, variable, options in _CLIENTS:
            if module.startswith(start):
                address = self.environment[variable].split("/compute/")[0].rstrip("/")
                credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
                given: dict[str, Any] = {"credentials": credentials, "client_options": {"api_endpoint": address}}
                project = {"project": self.project} if start in _WITH_PROJECT else {}
                made = kind(**given, **project, **options)
                self._lead_operations(made, given)
                return made
        raise ValueError(f"{kind!r} is no client of google-cloud-compute, -storage, -logging, -secret-manager or -kms")

    def _lead_operations(self, client: object, given: Mapping[str, Any]) -> None:
        """Let operations be asked for here: without this, Google's library asks for them at its own address."""
        services = getattr(getattr(client, "transport", None), "_extended_operations_services", None)
        if services is None:
            return
        from google.cloud import compute_v1

        for scope in ("global", "region", "zone"):
            kind = getattr(compute_v1, f"{scope.title()}OperationsClient")
            services[f"{scope}_operations"] = kind(**given, transport="rest")

    def fault(self, kind: Kind, **fields: Any) -> int:
        """Order a fault, for no longer than the project is used; `docs/emulator-api.md` has kinds and fields.

        Returns:
            Its id, for `emulator.faults.clear`.

        Raises:
            ValueError: an unknown field, kind or a bad pattern.
        """
        return self.emulator.faults.add(kind, **fields)

    def stock_out(self, zone: str) -> None:
        """Let a zone be out of machines, for no longer than the project is used."""
        self.emulator.stock_out(zone)

    def script(self, transcript: Any) -> int:
        """Let scripted machines that are made from now on play a transcript, for no longer than the project is used.

        Args:
            transcript: its JSON form (`docs/emulator-api.md`), or a function from instance to events.

        Returns:
            Its id.

        Raises:
            EmulatorError: machines are real.
            ValueError: the JSON form is wrong.
        """
        return self.emulator.scripts.add(transcript)

    def advance(self, seconds: float) -> None:
        """Turn the emulator's clock forward; all that falls due has happened when this returns."""
        self.emulator.clock.advance(seconds)

    def now(self) -> float:
        """Return the time on the emulator's clock, in seconds since the epoch."""
        return self.emulator.clock.now()

    def calls(self, service: str = "", method: str = "", path: str = "") -> list[LoggedRequest]:
        """Return the requests since the project is used that match, the oldest first; see `RequestLog.list`."""
        return [each for each in self.emulator.calls.list(service, method, path) if each.time >= self._since]

    def list(self, kind: str) -> list[dict[str, Any]]:
        """Return the project's resources.

        Args:
            kind: `images`, `instanceTemplates`, or `instances` or `disks` of all zones.
        """
        place = "zones/-" if kind in ("instances", "disks") else "global"
        return self.emulator.list(f"projects/{self.project}/{place}/{kind}")

    def serial_output(self, instance: str, port: int = 1) -> str:
        """Return what an instance has printed, as far as it is kept.

        Args:
            instance: its name.
            port: the serial port, 1 to 4.

        Raises:
            EmulatorError: there is no such instance.
        """
        for each in self.list("instances"):
            if each["name"] == instance:
                return self.emulator.serial_output(path_of_link(each["selfLink"]), port)
        raise EmulatorError(f"{self.project} has no instance {instance!r}")

    def _ordered(self) -> tuple[set[int], set[int], set[str]]:
        """What goes wrong, and what machines do: ids of faults, those of scripts, zones without machines."""
        status = self.emulator.status()
        scripts = self.emulator.scripts.list() if status["machines"] == "scripted" else []
        faults = {each["id"] for each in self.emulator.faults.list()}
        return faults, {each["id"] for each in scripts}, set(status["stockedOut"])

    def close(self) -> None:
        """Take back what was ordered, and remove all that the project has.

        Raises:
            EmulatorError: something cannot be removed.
        """
        faults, scripts, stocked_out = self._ordered()
        for number in faults - self._faults:
            self.emulator.faults.clear(number)
        for zone in stocked_out - self._stocked_out:
            self.emulator.stock_out(zone, on=False)
        for number in scripts - self._scripts:
            self.emulator.scripts.clear(number)
        self.emulator.remove_project(self.project, _PATIENCE)
