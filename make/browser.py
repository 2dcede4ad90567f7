"""A headless Chromium, led over its DevTools protocol: for pictures of pages that only a browser can show."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

_PATIENCE = 60.0


class Browser:
    """One page of a browser of its own.

    Args:
        width: of the page, in pixels.
        height: of what of it is seen.
    """

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        program = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
        if program is None:
            raise SystemExit("pictures need Chromium: apt-get install chromium")
        self._directory = tempfile.TemporaryDirectory(prefix="cos-customizer-browser-")
        arguments = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server")
        self._process = subprocess.Popen(
            [
                *(program, *arguments, f"--window-size={width},{height}", "--remote-debugging-port=0"),
                *(f"--user-data-dir={self._directory.name}", "about:blank"),
            ],
            stderr=subprocess.DEVNULL,
        )
        self._ids = itertools.count(1)
        file = Path(self._directory.name) / "DevToolsActivePort"
        self.until(lambda: file.exists() and "\n" in file.read_text())
        port = file.read_text().splitlines()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            address = next(page for page in json.load(answer) if page["type"] == "page")["webSocketDebuggerUrl"]
        self._socket = connect(address, max_size=None, proxy=None)
        self._call("Page.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def open(self, address: str, text: str) -> None:
        """Go to a page, and wait until it shows a text."""
        self._call("Page.navigate", url=address)
        self.until(lambda: text in self.text())

    def text(self) -> str:
        """What the page shows."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def click(self, text: str) -> None:
        """Click the last button or link of this text, as a mouse does."""
        named = f"e => e.innerText.trim() === {json.dumps(text)}"
        found = f"[...document.querySelectorAll('button, a')].filter({named}).pop()"
        self.until(lambda: self.run(f"!!{found}"))
        place = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]; }})({found})"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def picture(self, file: Path, settle: float = 1.5) -> None:
        """Take a picture of what is seen.

        Args:
            file: to write: a PNG.
            settle: seconds for what still moves.
        """
        time.sleep(settle)
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def until(self, condition: Any) -> None:
        """Wait."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(
                    f"waited in vain; the page shows {self.text()!r}" if hasattr(self, "_socket") else ""
                )
            time.sleep(0.2)
