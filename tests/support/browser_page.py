"""A web page of somebody else in a headless Chromium, and what it could do to services on this machine."""

import http.client
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
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
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
    try {
      const shown = frame.contentWindow.document;
      if (shown.URL !== "about:blank") done("read " + (shown.title || shown.body.innerText));
    } catch (error) { done("opaque"); }
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


class Page:
    """A site with one page, which makes attempts and reports them.

    Args:
        tries: What the page does.
        rebound: A port of this machine: the site has the same one, and once its page is there its name leads to this
            machine (DNS rebinding), so that to the browser the page and the service are one site.
    """

    def __init__(self, tries: Sequence[Mapping[str, Any]], rebound: int = 0) -> None:
        self.frames: list[str] = []
        self.results: list[dict[str, Any]] = []
        self.done = threading.Event()
        page = self

        class Site(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/frames":
                    self._answer("".join(f'<iframe src="{url}"></iframe>' for url in page.frames).encode())
                elif self.path == "/page":
                    self._answer((_PAGE % json.dumps(list(tries))).encode())
                else:
                    self._pass_on()

            def do_POST(self) -> None:
                if self.path != "/results":
                    return self._pass_on()
                page.results = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(b"")
                page.done.set()
                return None

            def _answer(self, content: bytes, status: int = 200, kind: str = "text/html; charset=utf-8") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _pass_on(self) -> None:
                if not rebound:
                    return self._answer(b"", 404)
                connection = http.client.HTTPConnection("127.0.0.1", rebound, timeout=PATIENCE)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                answer = connection.getresponse()
                self._answer(answer.read(), answer.status, answer.headers.get("Content-Type", ""))
                return connection.close()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.2" if rebound else "127.0.0.1", rebound), Site)
        self._server.daemon_threads = True
        self.address, self.port = str(self._server.server_address[0]), self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """Stop the site."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def show(pages: Sequence[Page], directory: Path) -> None:
    """Show pages in a browser until all have reported what came of their attempts; their sites are closed then.

    Each attempt has a `result`: `refused`, `opaque` (something came that the page may not look at), `loaded`, or
    `read …`.

    Args:
        pages: Sites with foreign names, to the browser.
        directory: For the browser's profile; new.
    """
    assert CHROMIUM
    names = [f"site-{number}.example" for number in range(len(pages))]
    rules = ",".join(f"MAP {name} {page.address}" for name, page in zip(names, pages, strict=True))
    urls = [f"http://{name}:{page.port}" for name, page in zip(names, pages, strict=True)]
    pages[0].frames = [f"{url}/page" for url in urls]  # headless, it shows one page alone
    command = [
        *(CHROMIUM, *_ARGUMENTS, f"--user-data-dir={directory}", f"--host-resolver-rules={rules}"),
        f"{urls[0]}/frames",
    ]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for page in pages:
            assert page.done.wait(60), "the page has reported nothing"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        for page in pages:
            page.close()
