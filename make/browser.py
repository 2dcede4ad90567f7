"""A headless Chromium, led over its DevTools protocol: for pictures of pages that only a browser can show."""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

_PATIENCE = 900.0
"""Seconds after which what has not come comes no more: a machine that is busy with other work takes its time."""
_STILL = 4
"""How many times, half a second apart, a page must look the same before its picture is taken."""


class Browser:
    """One page of a browser of its own.

    Args:
        width: of what of the page is seen, in pixels.
        height: the same.
    """

    def __init__(self, width: int = 1280, height: int = 760) -> None:
        program = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
        if program is None:
            raise SystemExit("pictures need Chromium: apt-get install chromium")
        self._directory = tempfile.TemporaryDirectory(prefix="cos-customizer-browser-")
        arguments = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server")
        self._process = subprocess.Popen(
            [
                *(program, *arguments, "--remote-debugging-port=0"),
                *(f"--user-data-dir={self._directory.name}", "about:blank"),
            ],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": self._directory.name},  # what it leaves when it is killed goes with ours
            start_new_session=True,
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
        self.resize(width, height)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its helpers, too, or they write into the directory meanwhile
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

    def values(self) -> list[str]:
        """What the fields of the page's forms hold."""
        return list(self.run("[...document.querySelectorAll('input, textarea')].map(e => e.value)"))

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """Show so much of the page, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def click(self, text: str) -> None:
        """Click the last button, link or item of a menu of this text, as a mouse does."""
        named = f"e => e.innerText.trim() === {json.dumps(text)}"
        self._click(f"[...document.querySelectorAll('button, a, [role=menuitem]')].filter({named}).pop()")

    def click_on(self, selector: str) -> None:
        """Click the first element that a CSS selector finds: what has no text."""
        self._click(f"document.querySelector({json.dumps(selector)})")

    def _click(self, found: str) -> None:
        measure = (
            "(e => { if (!e) return null; e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]; }})({found})"
        )
        places: list[Any] = []

        def keeps_its_place() -> bool:  # menus open with a movement
            places.append(self.run(measure))
            return places[-1] is not None and places[-1] in places[-2:-1]

        self.until(keeps_its_place)
        x, y = places[-1]
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def escape(self) -> None:
        """Press Escape, which closes what has been opened last."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27)

    def picture(self, file: Path, moves: bool = False) -> None:
        """Take a picture of what is seen, as soon as it keeps still.

        Args:
            file: to write: a PNG.
            moves: something on the page always does; it is not waited for.
        """
        file.write_bytes(self._shot() if moves else self.still())

    def _shot(self) -> bytes:
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def still(self) -> bytes:
        """Wait until nothing on the page moves any more; what it looks like, as a PNG."""
        seen: list[bytes] = []

        def keeps_still() -> bool:
            time.sleep(0.5)
            seen.append(self._shot())
            return len(seen) >= _STILL and len(set(seen[-_STILL:])) == 1

        self.until(keeps_still)
        return seen[-1]

    def until(self, condition: Any) -> None:
        """Wait."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(
                    f"waited in vain; the page shows {self.text()!r}" if hasattr(self, "_socket") else ""
                )
            time.sleep(0.2)
