"""A build's own Prefect server: found needed or not, up, quiet, and gone with the build in every way."""

import base64
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from support.waiting import PATIENCE, wait_for

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import UsageError
from cos_customizer.flows import database_template
from cos_customizer.flows.local_server import LocalServer, LocalServerError, configured_api

URL = "http://127.0.0.1:4200/api"


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home directory without Prefect, and an environment that says nothing about it."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


PROFILES = f"""
active = "cloud"
[profiles.cloud]
PREFECT_API_URL = "{URL}"
[profiles.bare]
[profiles.other]
PREFECT_API_URL = "http://other/api"
"""
CONFIGURED = [
    ({}, None, None),
    ({"PREFECT_API_URL": URL}, None, URL),
    ({"PREFECT_API_URL": ""}, None, None),
    ({}, PROFILES, URL),
    ({"PREFECT_API_URL": "http://mine/api"}, PROFILES, "http://mine/api"),
    ({"PREFECT_PROFILE": "other"}, PROFILES, "http://other/api"),
    ({"PREFECT_PROFILE": "bare"}, PROFILES, None),
    ({"PREFECT_PROFILE": "none"}, PROFILES, None),
    ({}, 'active = "gone"\n', None),
    ({}, "", None),
]


@pytest.mark.parametrize(("variables", "profiles", "expected"), CONFIGURED)
@pytest.mark.parametrize("place", ["home", "PREFECT_HOME", "PREFECT_PROFILES_PATH"])
def test_an_api_is_configured_by_variable_or_profile(
    clean: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    variables: dict[str, str],
    profiles: str | None,
    expected: str | None,
) -> None:
    file = clean / ".prefect" / "profiles.toml"
    if place == "PREFECT_HOME":
        file = clean / "elsewhere" / "profiles.toml"
        monkeypatch.setenv("PREFECT_HOME", "~/elsewhere")
    elif place == "PREFECT_PROFILES_PATH":
        file = clean / "file.toml"
        monkeypatch.setenv("PREFECT_PROFILES_PATH", str(file))
    file.parent.mkdir(exist_ok=True)
    if profiles is not None:
        file.write_text(profiles)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert configured_api() == expected


def test_profiles_that_cannot_be_read_are_said(clean: Path) -> None:
    (clean / ".prefect").mkdir()
    (clean / ".prefect" / "profiles.toml").write_text("active =")
    with pytest.raises(UsageError, match=r"profiles\.toml"):
        configured_api()


def test_prefect_is_not_imported_for_it() -> None:
    code = "import sys, cos_customizer.flows.local_server; sys.exit('prefect' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_template_of_another_version_is_not_taken(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template, database = clean / "template.db", clean / "prefect.db"
    monkeypatch.setenv(database_template.VARIABLE, str(template))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert not database_template.copy_to(database)
    template.write_text("this is no database, however long it may be" * 10)
    assert not database_template.copy_to(database)
    template.unlink()
    with sqlite3.connect(template) as connection:
        connection.execute("CREATE TABLE flow (name)")
    assert not database_template.copy_to(database)
    assert not database.exists()
    with sqlite3.connect(template) as connection:
        connection.execute(f"PRAGMA user_version = {database_template._mark()}")
    connection.close()
    assert database_template.copy_to(database)
    assert database.exists()


def test_a_server_that_does_not_come_up_shows_its_log(
    clean: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "uvicorn.py").write_text("raise RuntimeError('no uvicorn today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = dict(os.environ)
    server = LocalServer()
    try:
        server.start()
        with pytest.raises(LocalServerError) as caught:
            server.wait()
    finally:
        server.stop()
    assert "RuntimeError: no uvicorn today" in caught.value.output
    assert "PREFECT_API_URL" in caught.value.hint
    assert dict(os.environ) == before
    assert not list(tmp_path.glob("cos-customizer-prefect-*"))


def test_a_server_that_says_nothing_is_waited_for_as_long_as_there_is_time(
    clean: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "uvicorn.py").write_text("import time\ntime.sleep(3600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    server = LocalServer()
    try:
        server.start()
        with deadline.until(time.monotonic() + 0.2), pytest.raises(LocalServerError, match="did not come up"):
            server.wait(patience=3600)
    finally:
        server.stop()


@pytest.fixture
def warm(clean: Path, monkeypatch: pytest.MonkeyPatch, prefect_template: Path) -> Iterator[Path]:
    """A server that starts now starts warm; gives the directory for temporary files, which ends empty."""
    temporary = clean / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv(database_template.VARIABLE, str(prefect_template))
    yield temporary
    assert list(temporary.iterdir()) == []


def refused(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(url.split(":")[2].partition("/")[0]))) != 0


FLOW = """
import atexit, sys, time, urllib.request
from cos_customizer.flows.fork import Fork
from cos_customizer.flows.local_server import LocalServer
server = LocalServer()
atexit.register(server.stop)
server.start(fork=True)
from prefect import flow, task
from prefect.runtime import flow_run
server.wait()
assert isinstance(server._process, Fork)
try:
    urllib.request.urlopen(f"{server.url}/admin/settings")
except urllib.error.HTTPError as error:
    assert error.code == 401  # so it has the settings of a server, and not those of this process
else:
    raise AssertionError

@task
def double(number): return 2 * number

@flow
def work(number):
    print(server.url, flow_run.id, double(number), flush=True)
    time.sleep(float(sys.argv[1]))

work(21)
"""


@pytest.mark.slow
def test_a_flow_runs_and_nothing_is_said_but_its_own_words(warm: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", FLOW, "0"], capture_output=True, text=True, check=True)
    url, run_id, answer = ran.stdout.split()
    assert len(run_id) == 36
    assert answer == "42"
    assert ran.stderr == ""
    assert refused(url)


@pytest.mark.slow
def test_it_goes_with_a_process_that_is_killed(warm: Path) -> None:
    flow = subprocess.Popen([sys.executable, "-c", FLOW, "3600"], stdout=subprocess.PIPE, text=True)
    assert flow.stdout is not None
    url = flow.stdout.readline().split()[0]
    assert not refused(url)
    flow.send_signal(signal.SIGKILL)
    flow.stdout.close()
    flow.wait()
    wait_for(lambda: refused(url) and not list(warm.iterdir()))


def ask(url: str, body: object, headers: dict[str, str]) -> tuple[int, str, Message]:
    """A plain request to an API: status, text and headers of its answer."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


ANOTHER_S = {
    **dict.fromkeys(("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"), "*"),
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nowhere/prefect",
    "PREFECT_SERVER_API_AUTH_STRING": "admin:pass",
    "https_proxy": "http://127.0.0.1:1",
}


@pytest.mark.slow
def test_it_takes_nothing_that_is_meant_for_another_server_and_only_who_has_the_credential_gets_an_answer(
    warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ANOTHER_S.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with LocalServer() as server:
        assert os.environ["PREFECT_API_URL"] == server.url
        assert os.environ["no_proxy"].endswith("127.0.0.1")
        credential = os.environ["PREFECT_API_AUTH_STRING"]
        assert len(credential) > 40
        assert "PREFECT_API_KEY" not in os.environ
        own = {"Authorization": "Basic " + base64.b64encode(credential.encode()).decode()}
        flow = json.loads(ask(f"{server.url}/flows/", {"name": "f"}, own)[1])["id"]
        run = {"flow_id": flow, "parameters": {"env": {"TOKEN": "s3cr3t-value"}}}
        assert ask(f"{server.url}/flow_runs/", run, own)[0] == 201
        status, text, _ = ask(f"{server.url}/flow_runs/filter", {}, own)
        assert (status, "s3cr3t-value" in text) == (200, True)
        strangers: list[dict[str, str]] = [
            {},
            {"Authorization": "Basic " + base64.b64encode(b"*").decode()},
            {"Authorization": f"Bearer {credential}"},
            {"Origin": "https://evil.example", "Host": "evil.example"},
            {"Host": "127.0.0.1/api/health?"},
        ]
        for headers in strangers:
            status, text, answered = ask(f"{server.url}/flow_runs/filter", {}, headers)
            assert (status, "s3cr3t-value" in text) == (401, False), headers
            assert answered["Access-Control-Allow-Origin"] is None, headers
        for headers in (own, {}):  # of a page
            _, _, answered = ask(f"{server.url}/flow_runs/filter", {}, {**headers, "Origin": "https://evil.example"})
            assert answered["Access-Control-Allow-Origin"] is None
        second = LocalServer()
        try:
            second.start()
            assert second.url != server.url
            assert os.environ["PREFECT_API_AUTH_STRING"] != credential
            assert len(list(warm.iterdir())) == 2
        finally:
            second.stop()
    assert dict(os.environ) == before
    assert refused(server.url)
    assert refused(second.url)
