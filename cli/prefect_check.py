"""What answers at the configured Prefect API: whether it is one, and if not, what there is and what to do about it."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.reporting.events import Note, publish

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

_OWN = "or unset PREFECT_API_URL (also in the active profile): then a build brings its own server."
_PATIENCE = 15.0
"""Seconds for each answer: a service that says nothing is none of Prefect's."""


_RESTART = 25.0
"""Seconds for which a server is waited for that cannot answer: it restarts, or does so behind a proxy."""
_REFUSAL = 10.0
"""The same where nothing listens at all: most often there is no server."""
_PAUSE = 1.0


def check_api(patience: float = _RESTART) -> None:
    """See whether the configured Prefect API answers, and is one that this program can talk to.

    One that cannot answer at the moment is waited for.

    Args:
        patience: seconds to wait at most.

    Raises:
        CustomizerError: it does not, or is not; the hint says what may be wrong with its address, or what it asks for.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    began = time.monotonic()
    told = False
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        url = str(client.api_url)
        while True:
            try:
                problem = _problem_of(client)
                break
            except Exception as error:
                what, hint = _explain(error, url)
                what = what or str(error).partition("\n")[0] or type(error).__name__
                left = deadline.left(began + min(patience, _patience_with(error)) - time.monotonic())
                if left <= 0:
                    raise CustomizerError(f"the Prefect API at {url} does not answer: {what}", hint) from error
                if not told:
                    publish(Note("Prefect", f"the API at {url} does not answer ({what}); waiting for it", "warning"))
                told = True
                deadline.pause(min(_PAUSE, left))
    if problem:
        what, hint = problem
        raise CustomizerError(f"what answers at {url} is not the Prefect API: {what}", hint)


def _problem_of(client: "SyncPrefectClient") -> tuple[str, str] | None:
    """What is wrong with an API that answers; what to do about it. None: nothing.

    Raises:
        Exception: it does not answer.
    """
    from prefect.client.base import ServerType

    url = str(client.api_url)
    health = client.request("GET", "/health", timeout=deadline.left(_PATIENCE))
    if client.server_type == ServerType.CLOUD:
        return None
    if _json_of(health) is not True:
        return _kind_of(health), _address_hint(url)
    version = _json_of(client.request("GET", "/admin/version", timeout=deadline.left(_PATIENCE)))
    ours = client.client_version()
    if not isinstance(version, str) or not version[:1].isdigit():
        return "its version is none", _address_hint(url)
    if version.partition(".")[0] != ours.partition(".")[0]:
        return (
            f"it is Prefect {version}, and this program has Prefect {ours}",
            f"upgrade the server to {ours.partition('.')[0]}.x, {_OWN}",
        )
    return None


def _patience_with(error: Exception) -> float:
    """Seconds for which an API that fails in this way may still come."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return _RESTART if error.response.status_code >= 500 else 0.0
    if isinstance(error, httpx.ConnectError):
        return _REFUSAL if "Connection refused" in str(error) else 0.0
    # What hangs up before it has said anything: a server that stops, or a proxy in front of one.
    return _PAUSE if isinstance(error, httpx.ReadError | httpx.RemoteProtocolError) else 0.0


def _explain(error: Exception, url: str) -> tuple[str, str]:
    """What an error of the client says of whatever is at an address, and what to do about it."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return _refused(error.response, url)
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time", f"another service may be on that port. {_address_hint(url)}"
    text = f"{error} {_tls_error(error) or ''}"
    https = urlsplit(url).scheme == "https"
    if https and "CERTIFICATE_VERIFY_FAILED" in text:
        return "", f"PREFECT_API_SSL_CERT_FILE names the certificate of who has signed its certificate, {_OWN}"
    if https and ("SSL" in text or "TLS" in text):
        return "", f"it does not speak TLS: write http:// in PREFECT_API_URL, {_OWN}"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "", (
            "another service may be on that port, or one that speaks TLS: then write https:// in PREFECT_API_URL, "
            f"{_OWN}"
        )
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return "it is no address", f"PREFECT_API_URL is written http://host:4200/api, {_OWN}"
    return "", f"start it, {_OWN}"


def _refused(response: "httpx.Response", url: str) -> tuple[str, str]:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code == 401:
        return status, (
            "it asks for credentials: PREFECT_API_AUTH_STRING has those of a server with a password, PREFECT_API_KEY "
            "those of Prefect Cloud."
        )
    if response.status_code == 403:
        return status, (
            "these credentials may not use it, or something in front of it lets nobody through: see PREFECT_API_KEY, "
            "PREFECT_API_AUTH_STRING and PREFECT_CLIENT_CUSTOM_HEADERS."
        )
    if response.status_code == 407:
        return status, "a proxy asks for credentials: see HTTPS_PROXY and NO_PROXY."
    if response.status_code == 400 and urlsplit(url).scheme == "http" and "https" in response.text[:2000].lower():
        return status, f"it speaks TLS: write https:// in PREFECT_API_URL, {_OWN}"
    if response.status_code in (502, 503, 504):
        return status, f"a proxy answers, and the server behind it does not: start it, {_OWN}"
    if response.status_code >= 500:
        return status, f"the server's log says why, {_OWN}"
    return status, f"{_kind_of(response)}. {_address_hint(url)}"


def _address_hint(url: str) -> str:
    """What to do where something else answers."""
    path = urlsplit(url).path.rstrip("/")
    if not path.endswith("/api") and "/accounts/" not in path:
        return f"PREFECT_API_URL ends in /api: {url.rstrip('/')}/api may be meant, {_OWN}"
    return f"look at the host and port of PREFECT_API_URL, {_OWN}"


def _kind_of(response: "httpx.Response") -> str:
    """What an answer is, in words."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.history:
        return f"it leads to {response.url.host}, where one logs in perhaps"
    if kind == "text/html":
        return "a page for people answers"
    return f"another service answers ({kind or 'no content type'})"


def _json_of(response: "httpx.Response") -> object:
    try:
        return response.json()
    except ValueError:
        return None


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def settings_checked() -> Iterator[None]:
    """Prefect's settings are read once it is imported: what it refuses of them is the user's to mend.

    Raises:
        UsageError: a variable `PREFECT_…`, or a profile, is not what Prefect takes.
    """
    try:
        yield
        from prefect.settings import get_current_settings

        get_current_settings()
    except Exception as error:
        name = type(error).__name__
        if not (name in ("ValidationError", "SettingsError", "ProfileSettingsValidationError") or _in_settings(error)):
            raise
        details: list[dict[str, Any]] = getattr(error, "errors", list)()
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in details] or [
            str(error).partition("\n")[0]
        ]
        raise UsageError(
            f"Prefect does not take its settings: {'; '.join(faults)}",
            "they come from variables PREFECT_…, a file .env or prefect.toml here, and the active profile.",
        ) from error


def _in_settings(error: BaseException) -> bool:
    """Whether an error comes from Prefect's reading of its settings."""
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith("prefect.settings"):
            return True
        trace = trace.tb_next
    return False
