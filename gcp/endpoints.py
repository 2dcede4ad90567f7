"""Where the APIs are: Google's own addresses, or what the environment names instead. Imports nothing of Google's."""

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.fields import FieldPath, Message

COMPUTE_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"
STORAGE_OVERRIDE = "STORAGE_EMULATOR_HOST"
LOGGING_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING"
KMS_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
SECRETS_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Endpoints:
    """Where the APIs are; None means Google's own address.

    Attributes:
        compute: scheme, host and port of Compute Engine, without a path.
        storage: scheme, host and port of Cloud Storage.
        logging: scheme, host and port of Cloud Logging. It goes its own way: to override it alone harms nobody.
        secret_manager: scheme, host and port of Secret Manager, which VMs call, and nobody here.
        kms: scheme, host and port of Cloud KMS.
    """

    compute: str | None = None
    storage: str | None = None
    logging: str | None = None
    secret_manager: str | None = None
    kms: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Endpoints":
        """Read the variables that gcloud and google-cloud-storage read.

        Args:
            environment: usually `os.environ`.

        Raises:
            UsageError: one is set without the other, one is on this machine and the other is not, or one is not an
                address.
        """
        compute = environment.get(COMPUTE_OVERRIDE, "").strip()
        storage_host = environment.get(STORAGE_OVERRIDE, "").strip()
        if bool(compute) != bool(storage_host) and not (compute and _is_googles(compute)):
            there, missing = (COMPUTE_OVERRIDE, STORAGE_OVERRIDE) if compute else (STORAGE_OVERRIDE, COMPUTE_OVERRIDE)
            raise UsageError(
                f"{there} is set and {missing} is not: half of the build would happen elsewhere",
                "set both (`cos-customizer emulator env` prints them), or neither.",
            )
        if storage_host and "://" not in storage_host:
            storage_host = f"http://{storage_host}"
        logging = environment.get(LOGGING_OVERRIDE, "").strip()
        secret_manager = environment.get(SECRETS_OVERRIDE, "").strip()
        endpoints = cls(
            _origin(COMPUTE_OVERRIDE, compute),
            _origin(STORAGE_OVERRIDE, storage_host),
            _origin(LOGGING_OVERRIDE, logging),
            _origin(SECRETS_OVERRIDE, secret_manager),
            _origin(KMS_OVERRIDE, environment.get(KMS_OVERRIDE, "").strip()),
        )
        if _is_local(endpoints.compute) != _is_local(endpoints.storage):
            raise UsageError(
                f"only one of {COMPUTE_OVERRIDE} and {STORAGE_OVERRIDE} is on this machine: half of the build would "
                "happen elsewhere",
                "point both at the local Compute Engine (`cos-customizer emulator env` prints them), or neither.",
            )
        return endpoints

    @property
    def anonymous(self) -> bool:
        """Whether both are plain http on this machine, where no credentials are needed (nor should be sent)."""
        return all(_is_local(endpoint) for endpoint in (self.compute, self.storage))

    @property
    def logging_is_local(self) -> bool:
        """Whether Cloud Logging is plain http on this machine, whatever the rest is."""
        return _is_local(self.logging)

    def check_logging(self) -> None:
        """Make sure that the log entries of a build on this machine stay there.

        Raises:
            UsageError: they would go to Google.
        """
        if self.anonymous and not self.logging_is_local:
            raise UsageError(
                f"the build happens on this machine, and its log entries would go to {self.logging or 'Google Cloud'}: "
                f"{LOGGING_OVERRIDE} does not lead here",
                Message(
                    "set it (`cos-customizer emulator env` prints it), or leave out {}.", FieldPath("cloud_logging")
                ),
            )

    def kms_url(self) -> str:
        """Scheme and host of Cloud KMS.

        Raises:
            UsageError: image and key would be on two clouds, this machine's and Google's.
        """
        if self.anonymous != _is_local(self.kms) and (self.kms or self.anonymous):
            where = "on this machine" if self.anonymous else "in Google Cloud"
            raise UsageError(
                f"the images are {where}, and {KMS_OVERRIDE} leads to {self.kms or 'Google Cloud'}",
                "set it (`cos-customizer emulator env` prints it for images on this machine), or unset it.",
            )
        return self.kms or "https://cloudkms.googleapis.com"

    def secret_manager_of_vms(self) -> str | None:
        """Where VMs are to be told that Secret Manager is; None if they know: the emulator tells its own.

        Raises:
            UsageError: the VM and its secrets would be on two clouds, this machine's and Google's.
        """
        if self.secret_manager and self.anonymous != _is_local(self.secret_manager):
            where = "on this machine" if self.anonymous else "in Google Cloud"
            raise UsageError(
                f"the build happens {where}, and {SECRETS_OVERRIDE} leads to {self.secret_manager}",
                "set it (`cos-customizer emulator env` prints it for builds on this machine), or unset it.",
            )
        return None if self.anonymous else self.secret_manager


def _origin(variable: str, url: str) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket too few
        valid = False
    if not valid or re.search(r"[\s\x00-\x1f]", url):
        raise UsageError(f"{variable}={url!r} is not an address", "write http://host:port/ or https://host/.")
    origin = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme == "http" and not _is_local(origin):
        raise UsageError(
            f"{variable} is plain http beyond this machine: credentials would travel in clear",
            "write https://…, or point it at this machine.",
        )
    return origin


def _is_googles(url: str) -> bool:
    """Whether an address is another one of Google's own, such as that of a Private Service Connect endpoint.

    Source: https://cloud.google.com/vpc/docs/configure-private-service-connect-apis#using-endpoints.
    """
    try:
        return (urlsplit(url).hostname or "").endswith(".googleapis.com")
    except ValueError:
        return False


@contextlib.contextmanager
def endpoint_of_compute(url: str, name: str) -> Iterator[None]:
    """Let Compute Engine's API be at an address for as long as the context lasts, whatever the environment says.

    Args:
        url: the address; a path behind it is that of the API, and known.
        name: what to call it in messages.

    Raises:
        UsageError: it is not an address.
    """
    _origin(name, url)
    before = os.environ.get(COMPUTE_OVERRIDE)
    os.environ[COMPUTE_OVERRIDE] = url
    try:
        yield
    finally:
        del os.environ[COMPUTE_OVERRIDE]
        if before is not None:
            os.environ[COMPUTE_OVERRIDE] = before


def _is_local(endpoint: str | None) -> bool:
    if endpoint is None:
        return False
    parts = urlsplit(endpoint)
    return parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS


def look_for_local(endpoints: Endpoints) -> None:
    """Make sure that endpoints on this machine can be reached, before a first call that would be retried for minutes.

    Args:
        endpoints: those that are plain http on this machine.

    Raises:
        CustomizerError: nothing listens where one of them should be.
    """
    for endpoint in (endpoints.compute, endpoints.storage):
        _check_listens(str(endpoint))


def pass_by_proxies() -> None:
    """Let no proxy that the environment names stand between us and this machine; the libraries read it there only."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, *_LOCAL_HOSTS]))


def _check_listens(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname, parts.port or 80), timeout=5).close()
    except OSError as error:
        raise CustomizerError(
            f"nothing answers at {endpoint} ({error.strerror or error})",
            "is the local Compute Engine running? `cos-customizer emulator status`, `cos-customizer emulator start`; "
            f"to build in Google Cloud, unset {COMPUTE_OVERRIDE} and {STORAGE_OVERRIDE}.",
        ) from error
