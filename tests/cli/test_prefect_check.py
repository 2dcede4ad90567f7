"""What answers at PREFECT_API_URL and is not Prefect's API: each is told apart, with a hint that helps."""

import contextlib
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

pytestmark = pytest.mark.slow

PAGE = "<!doctype html><title>Sign in</title>"
ASK = "from cos_customizer.cli.prefect_check import check_api\ncheck_api()"


class Answering(ThreadingHTTPServer):
    """A server that gives each path one answer: status, content type, content."""

    daemon_threads = True

    def __init__(self, answers: dict[str, tuple[int, str, str]], otherwise: tuple[int, str, str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, content = answers.get(self.path, otherwise)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content.encode())))
                if 300 <= status < 400:
                    self.send_header("Location", "/login")
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


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


def asked(url: str, tmp_path: Path, **more: str) -> str:
    """What a command says of the API at an address; empty if nothing is wrong."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**inherited, "PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path), "no_proxy": "*", **more}
    program = (
        "from cos_customizer.cli.messages import report\n"
        "try:\n"
        f"    {ASK.replace(chr(10), '; ')}\n"
        "except BaseException as error:\n    raise SystemExit(report(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


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
    tmp_path: Path,
) -> None:
    with serving(Answering(answers, otherwise)) as port:
        text = asked(f"http://127.0.0.1:{port}{path}", tmp_path)
    for part in said:
        assert part in text


def test_the_api_of_a_compatible_version_is_taken(tmp_path: Path) -> None:
    with serving(Answering(PREFECT, NOTHING)) as port:
        assert asked(f"http://127.0.0.1:{port}/api", tmp_path) == ""


def test_tls_to_a_plain_port(tmp_path: Path) -> None:
    with serving(Answering(PREFECT, NOTHING)) as port:
        assert "it does not speak TLS: write http:// in PREFECT_API_URL" in asked(
            f"https://127.0.0.1:{port}/api", tmp_path
        )


def test_a_plain_request_to_a_port_with_tls(certificate: Path, tmp_path: Path) -> None:
    server = Answering(PREFECT, NOTHING)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        assert "speaks TLS: then write https://" in asked(f"http://127.0.0.1:{port}/api", tmp_path)
        assert "PREFECT_API_SSL_CERT_FILE" in asked(f"https://127.0.0.1:{port}/api", tmp_path)


def test_what_is_no_http(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=greet, daemon=True).start()
        text = asked(f"http://127.0.0.1:{listener.getsockname()[1]}/api", tmp_path)
    assert "another service may be on that port" in text


def test_nothing_there(tmp_path: Path) -> None:
    assert "hint: start it, or unset PREFECT_API_URL" in asked("http://127.0.0.1:1/api", tmp_path)


SETTINGS = {
    "PREFECT_LOGGING_LEVEL": "loud",
    "PREFECT_API_REQUEST_TIMEOUT": "a while",
    "PREFECT_CLIENT_RETRY_JITTER_FACTOR": "-",
}


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
