"""A web page of somebody else in a headless Chromium, and what it could do to services on this machine."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.waiting import PATIENCE

_NAME = next((name for name in ("chromium", "google-chrome") if shutil.which(name)), "")
CHROMIUM = shutil.which(_NAME) if _NAME else None
_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)
_PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><body><script>
const attempts = %s;
const timely = promise => Promise.race([promise, new Promise(done => setTimeout(done, 5000, "no answer"))]);
async function fetched(attempt, mode) {
  try {
    const answer = await fetch(attempt.url, {...attempt.request, mode, credentials: "include", cache: "no-store"});
    return answer.type === "opaque" ? "opaque" : `read ${answer.status} ${await answer.text()}`;
  } catch (error) { return "refused"; }
}
const element = (name, attributes) => new Promise(done => {
  const made = Object.assign(document.createElement(name), attributes);
  made.onload = () => done(made.naturalWidth || name === "script" ? "loaded" : "opaque");
  made.onerror = () => done("refused");
  document.body.append(made);
});
const framed = attempt => new Promise(done => {  // a form that is sent into a frame, or a frame alone
  const frame = Object.assign(document.createElement("iframe"), {name: "frame" + Math.random()});
  frame.onload = () => {
    try { done("read " + frame.contentWindow.document.body.innerText); } catch (error) { done("opaque"); }
  };
  document.body.append(frame);
  const form = Object.assign(document.createElement("form"),
    {method: "POST", action: attempt.url, target: frame.name, enctype: "text/plain"});
  form.append(Object.assign(document.createElement("input"),
    {name: attempt.text.slice(0, -1) + ', "x": "', value: '"}'}));
  document.body.append(form);
  form.submit();
});
const socket = url => new Promise(done => {
  const made = new WebSocket(url.replace("http", "ws"));
  made.onopen = () => done("read a socket");
  made.onerror = () => done("refused");
});
const beacon = attempt => navigator.sendBeacon(attempt.url, attempt.text) ? "opaque" : "refused";
const ways = {
  "cors": attempt => fetched(attempt, "cors"),
  "no-cors": attempt => fetched(attempt, "no-cors"),
  "img": attempt => element("img", {src: attempt.url}),
  "script": attempt => element("script", {src: attempt.url}),
  "form": framed,
  "beacon": beacon,
  "socket": attempt => socket(attempt.url),
};
(async () => {
  const results = await Promise.all(attempts.map(async attempt => {
    let result;
    try { result = await timely(ways[attempt.way](attempt)); } catch (error) { result = "refused"; }
    return {...attempt, result};
  }));
  await fetch("/results", {method: "POST", body: JSON.stringify(results)});
})();
</script>"""


def attempts(url: str, method: str = "GET", content: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The ways in which a page may try one request.

    Args:
        url: Of a service on this machine.
        method: `POST` or `GET`; others need a preflight.
        content: To be sent, as JSON.

    Returns:
        One attempt for each way.
    """
    text = json.dumps(content or {})
    found: list[dict[str, Any]] = []
    if method == "GET":
        requests: list[dict[str, Any]] = [{"method": "GET"}]
        found += ({"way": way, "url": url, "text": text} for way in ("img", "script", "socket"))
    else:
        kinds = ("application/json", "text/plain", "application/x-www-form-urlencoded")
        requests = [{"method": method, "body": text, "headers": {"Content-Type": kind}} for kind in kinds]
    for way in ("cors", "no-cors"):
        found += ({"way": way, "url": url, "text": text, "request": request} for request in requests)
    if method == "POST":
        found += ({"way": way, "url": url, "text": text} for way in ("form", "beacon"))
    return found


def try_all(tries: Sequence[Mapping[str, Any]], directory: Path, host: str = "127.0.0.1") -> list[dict[str, Any]]:
    """Show a page in a browser that makes attempts.

    Args:
        tries: What it does.
        directory: For the browser's profile; new.
        host: The page's name; one that is not this machine's is made to lead here (DNS rebinding).

    Returns:
        The attempts, each with its `result`: `refused`, `opaque` (an answer came that the page may not look at),
        `read …` or `loaded`.
    """
    reported: list[dict[str, Any]] = []
    done = threading.Event()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer((_PAGE % json.dumps(list(tries))).encode())

        def do_POST(self) -> None:
            reported.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")
            done.set()

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=site.serve_forever, args=(0.02,))
    thread.start()
    assert CHROMIUM
    command = [
        *(CHROMIUM, *_ARGUMENTS, f"--user-data-dir={directory}", "--remote-debugging-port=0"),
        *(f"--host-resolver-rules=MAP {host} 127.0.0.1", f"http://{host}:{site.server_port}/"),
    ]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert done.wait(PATIENCE), "the page has reported nothing"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        site.shutdown()
        site.server_close()
        thread.join()
    return reported
