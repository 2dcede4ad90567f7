"""Where the APIs are: read from the variables that Google's own tools read, both or neither, never half."""

import os
import socket
import threading
from pathlib import Path

import pytest
from google.oauth2.credentials import Credentials

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.references import ImageRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.endpoints import (
    COMPUTE_OVERRIDE,
    LOGGING_OVERRIDE,
    SECRETS_OVERRIDE,
    STORAGE_OVERRIDE,
    Endpoints,
)
from cos_customizer.gcp.images import find_image

LOCAL = "http://127.0.0.1:8080"


def environment(compute: str | None, storage: str | None) -> dict[str, str]:
    values = {COMPUTE_OVERRIDE: compute, STORAGE_OVERRIDE: storage}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("compute", "storage", "endpoints", "anonymous"),
    [
        (None, None, Endpoints(), False),
        ("", "", Endpoints(), False),
        (f"{LOCAL}/compute/v1/", LOCAL, Endpoints(LOCAL, LOCAL), True),
        (LOCAL, "127.0.0.1:9090", Endpoints(LOCAL, "http://127.0.0.1:9090"), True),
        ("http://localhost:1/compute/v1/", "localhost:2", Endpoints("http://localhost:1", "http://localhost:2"), True),
        ("http://[::1]:1/", "[::1]:2", Endpoints("http://[::1]:1", "http://[::1]:2"), True),
        ("HTTP://127.0.0.1:8080", "Http://127.0.0.1:8080/x?y", Endpoints(LOCAL, LOCAL), True),
        (
            "https://compute-psc.p.googleapis.com/compute/v1/",
            "https://storage-psc.p.googleapis.com",
            Endpoints("https://compute-psc.p.googleapis.com", "https://storage-psc.p.googleapis.com"),
            False,
        ),
        ("https://localhost/", "https://localhost/", Endpoints("https://localhost", "https://localhost"), False),
    ],
)
def test_the_variables_that_gcloud_and_cloud_storage_read_are_read(
    compute: str | None, storage: str | None, endpoints: Endpoints | None, anonymous: bool
) -> None:
    read = Endpoints.from_environment(environment(compute, storage))
    assert endpoints is None or read == endpoints
    assert read.anonymous is anonymous


@pytest.mark.parametrize(
    ("compute", "storage", "message"),
    [
        (LOCAL, None, f"{COMPUTE_OVERRIDE} is set and {STORAGE_OVERRIDE} is not"),
        (None, LOCAL, f"{STORAGE_OVERRIDE} is set and {COMPUTE_OVERRIDE} is not"),
        (LOCAL, "  ", f"{COMPUTE_OVERRIDE} is set and {STORAGE_OVERRIDE} is not"),
        (LOCAL, "https://storage.googleapis.com", "only one of"),
        ("https://compute.googleapis.com", LOCAL, "only one of"),
        ("http://10.0.0.1/", "http://10.0.0.1/", f"{COMPUTE_OVERRIDE} is plain http beyond this machine"),
        ("https://localhost/", "http://127.0.0.1.example.com", f"{STORAGE_OVERRIDE} is plain http beyond"),
        ("http://127.0.0.1@example.com", LOCAL, "credentials would travel in clear"),
        ("127.0.0.1:8080", LOCAL, f"{COMPUTE_OVERRIDE}='127.0.0.1:8080' is not an address"),
        ("http://", LOCAL, "is not an address"),
        ("http://:8080", LOCAL, "is not an address"),
        ("http://127.0.0.1:port", LOCAL, "is not an address"),
        ("http://127.0.0.1:0", LOCAL, "is not an address"),
        ("http://127.0.0.1:99999", LOCAL, "is not an address"),
        ("http://[::1", LOCAL, "is not an address"),
        ("ftp://127.0.0.1", LOCAL, "is not an address"),
        ("http://127.0.0.1 :80", LOCAL, "is not an address"),
        (LOCAL, "http://a\nb", "is not an address"),
        (LOCAL, "/", f"{STORAGE_OVERRIDE}='http:///' is not an address"),
    ],
)
def test_half_an_override_and_what_is_no_address_are_refused(
    compute: str | None, storage: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoints.from_environment(environment(compute, storage))
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("rest", "logging", "endpoint", "allowed"),
    [
        (None, None, None, True),
        (None, f"{LOCAL}/", LOCAL, True),
        (None, "https://logging-psc.p.googleapis.com/", "https://logging-psc.p.googleapis.com", True),
        (LOCAL, f"{LOCAL}/", LOCAL, True),
        (LOCAL, "http://localhost:1", "http://localhost:1", True),
        (LOCAL, None, None, False),
        (LOCAL, "", None, False),
        (LOCAL, "https://logging-psc.p.googleapis.com/", "https://logging-psc.p.googleapis.com", False),
    ],
)
def test_cloud_logging_may_be_elsewhere_but_a_build_on_this_machine_logs_on_it(
    rest: str | None, logging: str | None, endpoint: str | None, allowed: bool
) -> None:
    values = environment(rest, rest) | ({} if logging is None else {LOGGING_OVERRIDE: logging})
    endpoints = Endpoints.from_environment(values)
    assert endpoints.logging == endpoint
    if allowed:
        endpoints.check_logging()
    else:
        with pytest.raises(UsageError, match=LOGGING_OVERRIDE) as caught:
            endpoints.check_logging()
        assert "cloud_logging" in caught.value.hint


@pytest.mark.parametrize(
    ("logging", "message"), [("http://10.0.0.1/", "credentials would travel in clear"), ("x", "is not an address")]
)
def test_an_address_of_cloud_logging_that_is_none_is_refused(logging: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"{LOGGING_OVERRIDE}.*{message}"):
        Endpoints.from_environment({LOGGING_OVERRIDE: logging})


@pytest.mark.parametrize(
    ("rest", "secret_manager", "told"),
    [
        # where the build happens, where the variable leads, what VMs are told (None: nothing; False: it is refused)
        (None, None, None),
        (None, "https://secretmanager-psc.p.googleapis.com/", "https://secretmanager-psc.p.googleapis.com"),
        (None, f"{LOCAL}/", False),
        (LOCAL, None, None),
        (LOCAL, f"{LOCAL}/", None),
        (LOCAL, "https://secretmanager.googleapis.com/", False),
    ],
)
def test_vms_find_the_secret_manager_of_the_cloud_that_they_are_in(
    rest: str | None, secret_manager: str | None, told: str | bool | None
) -> None:
    values = environment(rest, rest) | ({SECRETS_OVERRIDE: secret_manager} if secret_manager else {})
    endpoints = Endpoints.from_environment(values)
    if told is False:
        with pytest.raises(UsageError, match=f"{SECRETS_OVERRIDE} leads to "):
            endpoints.secret_manager_of_vms()
    else:
        assert endpoints.secret_manager_of_vms() == told


def test_a_local_cloud_logging_gets_no_credentials_whatever_the_rest_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.auth.default", lambda **_: (Credentials("secret"), "p"))
    there = connect({}).logging("my-project")
    assert there._connection.API_BASE_URL == "https://logging.googleapis.com"
    assert there._credentials.token == "secret"
    here = connect({LOGGING_OVERRIDE: f"{LOCAL}/"}).logging("my-project")
    assert here._connection.API_BASE_URL == LOCAL
    assert type(here._credentials).__name__ == "AnonymousCredentials"


def test_a_local_compute_engine_that_is_not_running_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(CustomizerError, match=f"nothing answers at {nowhere} .*refused") as caught:
            connect(environment(nowhere, nowhere))
    assert "emulator start" in caught.value.hint


def test_clients_of_a_local_compute_engine_have_its_address_and_carry_no_credentials() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        local = f"http://127.0.0.1:{server.getsockname()[1]}"
        clients = connect(environment(f"{local}/compute/v1/", local))
    assert clients.endpoints == Endpoints(local, local)
    assert clients.images.transport.host == local
    assert clients.global_operations.transport.host == local
    assert type(clients.credentials).__name__ == "AnonymousCredentials"
    assert clients.images is clients.images


@pytest.mark.parametrize(
    ("name", "why"), [("missing", "was not found"), ("broken", "not a valid json"), (".", "Is a dir")]
)
def test_credentials_that_cannot_be_used_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    (tmp_path / "broken").write_text("{")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / name))
    with pytest.raises(CustomizerError, match=f"no usable Google credentials were found: .*{why}") as caught:
        connect({})
    assert "gcloud auth application-default login" in caught.value.hint


def test_no_proxy_stands_between_us_and_this_machine(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("no_proxy", "example.com")
    clients = connect()
    assert find_image(clients, ImageRef("cos-cloud", "cos-stable-68-10718-86-0"))
    assert list(clients.storage.list_blobs("my-project_cloudbuild")) == []
    assert os.environ["no_proxy"].startswith("example.com,")


def test_another_address_of_google_s_own_needs_no_emulator_beside_it() -> None:
    endpoints = Endpoints.from_environment(
        {"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "https://compute-build.p.googleapis.com/compute/v1/projects/"}
    )
    assert (endpoints.compute, endpoints.storage) == ("https://compute-build.p.googleapis.com", None)
    assert not endpoints.anonymous


def test_cloud_storage_is_asked_for_nothing_behind_a_build_s_back(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA")
    begun: list[str] = []
    begin = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        begun.append(getattr(getattr(thread, "_target", None), "__module__", ""))
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    assert list(connect().storage.list_blobs("my-project_cloudbuild")) == []
    assert [module for module in begun if module.startswith("google.")] == []
