"""What answers at PREFECT_API_URL and is not Prefect's API: each is told apart, with a hint that helps."""

import contextlib
import io
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from cos_customizer.cli import prefect_check
from cos_customizer.cli.messages import report
from cos_customizer.cli.prefect_check import check_api
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.reporting.events import listening

PAGE = "<!doctype html><title>Sign in</title>"


class Answering(ThreadingHTTPServer):
    """A server that gives each path one answer: status, content type, content."""

    daemon_threads = True

    def __init__(
        self, answers: dict[str, tuple[int, str, str]], otherwise: tuple[int, str, str], port: int = 0
    ) -> None:
        self.first = first = list[tuple[int, str, str]]()
        """What it answers to the first requests, whatever they are."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, content = first.pop(0) if first else answers.get(self.path, otherwise)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content.encode())))
                if 300 <= status < 400:
                    self.send_header("Location", "/login")
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)


@contextlib.contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout - -out -"
    file.write_bytes(subprocess.run(command.split(), capture_output=True, check=True).stdout)
    return file


def asked(url: str) -> str:
    """What a command says of the API at an address; empty if nothing is wrong."""
    settings: dict[Any, Any] = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: None, PREFECT_API_KEY: None}
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, temporary_settings(settings), contextlib.redirect_stderr(said):
        patch.setenv("no_proxy", "*")
        code = 0
        try:
            check_api(patience=0)
        except CustomizerError as error:
            code = report(error)
    assert (code == 0) == (said.getvalue() == "")
    return said.getvalue()


JSON = "application/json"
PREFECT = {"/api/health": (200, JSON, "true"), "/api/admin/version": (200, JSON, '"3.99.0"')}
PAGES = (200, "text/html", PAGE)
NOTHING = (404, JSON, '{"detail":"Not Found"}')

ANSWERS: dict[str, tuple[dict[str, tuple[int, str, str]], tuple[int, str, str], str, list[str]]] = {
    "no /api, with pages": (PREFECT, PAGES, "", ["a page for people answers", "PREFECT_API_URL ends in /api: http"]),
    "no /api, without pages": (PREFECT, NOTHING, "", ["404 Not Found", "PREFECT_API_URL ends in /api: http"]),
    "credentials missing": ({}, (401, JSON, "{}"), "/api", ["401 Unauthorized", "PREFECT_API_AUTH_STRING"]),
    "forbidden": ({}, (403, "text/html", PAGE), "/api", ["403 Forbidden", "PREFECT_CLIENT_CUSTOM_HEADERS"]),
    "a login in front": (
        {"/login": PAGES},
        (302, "text/html", ""),
        "/api",
        ["it leads to 127.0.0.1, where one logs in"],
    ),
    "a proxy's page": ({}, PAGES, "/api", ["a page for people answers", "look at the host and port"]),
    "a proxy alone": ({}, (502, "text/html", PAGE), "/api", ["502 Bad Gateway", "the server behind it does not"]),
    "a broken server": ({}, (500, JSON, "{}"), "/api", ["500 Internal Server Error", "the server's log"]),
    "another service": ({}, (200, JSON, '{"a": 1}'), "/api", ["another service answers (application/json)"]),
    "another one without it": ({}, (404, "text/plain", "?"), "/api", ["404", "another service answers (text/plain)"]),
    "TLS is asked for": (
        {},
        (400, "text/plain", "Client sent an HTTP request to an HTTPS server."),
        "/api",
        ["https:"],
    ),
    "an older version": (
        {**PREFECT, "/api/admin/version": (200, JSON, '"2.20.1"')},
        NOTHING,
        "/api",
        ["it is Prefect 2.20.1, and this program has Prefect 3.", "upgrade the server"],
    ),
    "no version": ({**PREFECT, "/api/admin/version": (200, JSON, "[]")}, NOTHING, "/api", ["its version is none"]),
}


@pytest.mark.parametrize(("answers", "otherwise", "path", "said"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_is_not_the_api_is_told_apart(
    answers: dict[str, tuple[int, str, str]],
    otherwise: tuple[int, str, str],
    path: str,
    said: list[str],
) -> None:
    with serving(Answering(answers, otherwise)) as port:
        text = asked(f"http://127.0.0.1:{port}{path}")
    for part in said:
        assert part in text


def test_the_api_of_a_compatible_version_is_taken() -> None:
    with serving(Answering(PREFECT, NOTHING)) as port:
        assert asked(f"http://127.0.0.1:{port}/api") == ""


def test_tls_to_a_plain_port() -> None:
    with serving(Answering(PREFECT, NOTHING)) as port:
        assert "it does not speak TLS: write http:// in PREFECT_API_URL" in asked(f"https://127.0.0.1:{port}/api")


def test_a_plain_request_to_a_port_with_tls(certificate: Path) -> None:
    server = Answering(PREFECT, NOTHING)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        assert "speaks TLS: then write https://" in asked(f"http://127.0.0.1:{port}/api")
        assert "PREFECT_API_SSL_CERT_FILE" in asked(f"https://127.0.0.1:{port}/api")


def test_what_is_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=greet, daemon=True).start()
        text = asked(f"http://127.0.0.1:{listener.getsockname()[1]}/api")
    assert "another service may be on that port" in text


def test_nothing_there() -> None:
    assert "hint: start it, or unset PREFECT_API_URL" in asked("http://127.0.0.1:1/api")


SERVERS_THAT_RESTART = {
    "a proxy in front of it": [(503, "text/html", PAGE), (502, "text/html", PAGE)],
    "the server itself": [(500, JSON, "{}")],
}


@pytest.mark.parametrize("first", SERVERS_THAT_RESTART.values(), ids=SERVERS_THAT_RESTART.keys())
def test_a_server_that_restarts_is_waited_for_and_that_is_said_once(
    first: list[tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_check, "_PAUSE", 0.02)
    server = Answering(PREFECT, NOTHING)
    server.first += first
    notes: list[str] = []
    with (
        serving(server) as port,
        listening(lambda event: notes.append(str(event))),
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}),
    ):
        prefect_check.check_api()
    (note,) = notes
    assert f"{first[0][0]} " in note
    assert "waiting for it" in note


def test_a_server_that_nobody_has_started_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_check, "_PAUSE", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said: list[str] = []
    with contextlib.ExitStack() as stack:

        def start(event: object) -> None:
            said.append(str(event))
            stack.enter_context(serving(Answering(PREFECT, NOTHING, port)))

        stack.enter_context(listening(start))
        stack.enter_context(temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}))
        prefect_check.check_api()
    assert len(said) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_will_not_come_back_is_not_waited_for(status: int) -> None:
    notes: list[object] = []
    with serving(Answering({}, (status, JSON, "{}"))) as port, listening(notes.append):
        address = temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"})
        with address, pytest.raises(CustomizerError, match=f"does not answer: {status} "):
            prefect_check.check_api()
    assert notes == []


SETTINGS = {
    "PREFECT_LOGGING_LEVEL": "loud",
    "PREFECT_API_REQUEST_TIMEOUT": "a while",
    "PREFECT_CLIENT_RETRY_JITTER_FACTOR": "-",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_prefect_does_not_take_are_named(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, name: SETTINGS[name], "PREFECT_HOME": str(tmp_path)}
    program = (
        "from cos_customizer.cli.messages import report\n"
        "from cos_customizer.cli.prefect_check import settings_checked\n"
        "try:\n    with settings_checked():\n        import prefect\n"
        "except Exception as error:\n    raise SystemExit(report(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "cos-customizer: Prefect does not take its settings: " in done.stderr
