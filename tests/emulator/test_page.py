"""The page for people: what it shows, that it shows it as text, and that no other page can use it."""

import http.client
import json
import re
import subprocess
from pathlib import Path

import pytest
from support.browser_page import CHROMIUM
from support.compute_clients import PROJECT, ZONE, Compute, call
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator

VM = f"projects/{PROJECT}/zones/{ZONE}/instances/vm"
MARKUP = "<img src=x onerror=document.title='run'>"


def ask(emulator: Emulator, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.msg, answer.read().decode()
    finally:
        connection.close()


def test_its_files_may_run_its_own_script_and_nothing_else(emulator: Emulator) -> None:
    status, headers, text = ask(emulator, "/ui/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policies = headers.get_all("Content-Security-Policy")
    assert policies
    assert len(policies) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules.items() >= {"default-src": "'none'", "script-src": "'self'", "connect-src": "'self'"}.items()
    assert rules.items() >= {"frame-ancestors": "'none'", "trusted-types": "'none'"}.items()
    assert re.findall(r"<script[^>]*>(?=.)|\son\w+=|style=", text) == ['<script src="page.js" defer>']
    for name in re.findall(r'(?:src|href)="([^"#]+)"', text):
        status, headers, content = ask(emulator, f"/ui/{name}")
        assert (status, bool(content), headers["X-Content-Type-Options"]) == (200, True, "nosniff"), name
    script = ask(emulator, "/ui/page.js")[2]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?://", script)


def test_the_door_leads_people_to_it_and_tells_programs(emulator: Emulator) -> None:
    status, headers, _ = ask(emulator, "/", Accept="text/html,*/*")
    assert (status, headers["Location"]) == (302, "/ui/")
    assert ask(emulator, "/ui")[:2][0] == 302
    assert ask(emulator, "/")[0] == 404
    for name in ("nothing.js", "..%2fpage.py", "%2e%2e/page.py"):
        assert ask(emulator, f"/ui/{name}")[0] == 404
    assert json.loads(ask(emulator, "/healthz")[2]) == {"status": "ok"}


@pytest.mark.parametrize("path", ["/ui/", "/ui/page.js", "/emulator/overview", "/emulator/console?instance=x"])
def test_other_pages_get_nothing_of_it(emulator: Emulator, path: str) -> None:
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert ask(emulator, path, **headers)[0] == 403


def test_the_overview_has_resources_of_each_kind(emulator: Emulator) -> None:
    compute = Compute(emulator)
    compute.create("vm")
    compute.image("app", family="f")
    call(emulator, "POST", f"/v1/projects/{PROJECT}/secrets?secretId=s", {"replication": {"automatic": {}}})
    _, found = call(emulator, "GET", "/emulator/overview")
    counts = {"instances": 1, "images": 1, "snapshots": 0, "disks": 1, "buckets": 1, "secrets": 1, "containers": 0}
    counts["keys"] = 0
    assert found["counts"] == counts
    (instance,) = found["resources"]["instances"]
    assert (instance["path"], instance["status"], instance["machineType"]) == (VM, "RUNNING", "n1-standard-1")
    assert found["resources"]["images"][0]["family"] == "f"
    assert found["status"]["running"] == 1
    assert found["calls"] == emulator.calls.count() > 0


def test_a_console_is_looked_at_without_any_effect(emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"text": "hello", "port": 1}]})
    emulator.faults.add("serial-loss", port=1)
    Compute(emulator).create("vm")
    before = emulator.calls.count()
    where = f"/emulator/console?instance={VM}&port=1"
    assert call(emulator, "GET", where)[1] == {"contents": "hello", "start": "0", "next": "5"}
    assert call(emulator, "GET", f"{where}&start=3")[1]["contents"] == "lo"
    assert (len(emulator.faults.list()), emulator.calls.count()) == (1, before)
    for query, status in (
        (f"{where}&start=-1", 400),
        (where.replace("port=1", "port=9"), 400),
        (f"{where[:-9]}x", 404),
    ):
        assert call(emulator, "GET", query)[0] == status, query


def test_the_last_calls_are_listed_and_all_are_counted(emulator: Emulator) -> None:
    for number in range(3):
        call(emulator, "GET", f"/compute/v1/projects/{PROJECT}/global/images/i{number}")
    _, found = call(emulator, "GET", "/emulator/calls?last=2&path=images")
    assert (found["count"], [each["path"][-2:] for each in found["calls"]]) == (3, ["i1", "i2"])
    assert call(emulator, "GET", "/emulator/calls?last=many")[0] == 400


def shown(emulator: Emulator, view: str, directory: Path) -> str:
    """The page as Chromium has it after some seconds of its own."""
    assert CHROMIUM
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server", "--dump-dom")
    more = ("--disable-background-networking", f"--user-data-dir={directory}", "--virtual-time-budget=4000")
    address = f"http://127.0.0.1:{emulator.port}/ui/#{view}"
    done = subprocess.run(
        [CHROMIUM, *options, *more, address], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed: apt-get install chromium")
def test_a_browser_shows_everything_as_text(emulator: Emulator, tmp_path: Path) -> None:
    emulator.scripts.add({"events": [{"text": f"booted {MARKUP}", "port": 1}]})
    compute = Compute(emulator)
    compute.create("vm")
    emulator.faults.add("http", path="/never", message=MARKUP)
    emulator.stock_out("us-west1-a")
    call(emulator, "GET", f"/compute/v1/projects/{PROJECT}/global/images/{MARKUP.replace(' ', '%20')}")
    escaped = MARKUP.replace("<", "&lt;").replace(">", "&gt;")
    for view, words in {
        "resources": ["VM instances", "running", "n1-standard-1", f"{PROJECT}_cloudbuild", "scripted machines"],
        f"consoles/{VM}": [f"booted {escaped}"],
        "calls": [f"/global/images/{escaped}", "404"],
        "faults": [f"message={escaped}", "us-west1-a"],
    }.items():
        text = shown(emulator, view, tmp_path / "browser")
        assert "<title>Local Compute Engine</title>" in text, view
        assert [each for each in words if each not in text] == [], view
