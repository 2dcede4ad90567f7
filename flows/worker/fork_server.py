"""The warm process: it has imported what a build needs, does nothing by itself, and forks a run for each request.

It has one thread, no connection and no TLS context, so that a fork has nothing that is broken in it. What it has imported
is frozen: garbage collection never looks at it, and so does not copy it in the forks. Requests and answers are lines of
JSON on a socket that only the worker has. It ends when the worker has closed that and the last of its runs is over.
"""

import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from cos_customizer.quick_imports import uncollected

_PRELOADED = (
    "cos_customizer.flows.build_image",
    "cos_customizer.flows.build_recipe",
    "cos_customizer.flows.expire_images",
    "cos_customizer.flows.rebuild_images",
    "cos_customizer.flows.sweep",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.runner._workspace_supervisor",
    "prefect.runner._workspace_runtime_bootstrap",
)


class ForkServer:
    """Serves until its worker is gone.

    Args:
        connection: to the worker.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._heard = b""
        self._selector = selectors.DefaultSelector()
        self._runs: dict[int, int] = {}
        self._files = _loaded_files()

    def serve(self) -> None:
        """Fork for each request, and tell of each end."""
        self._selector.register(self._connection, selectors.EVENT_READ)
        self._say({"ready": True})
        serving = True
        while serving or self._runs:
            for key, _ in self._selector.select():
                if key.fileobj is self._connection:
                    serving = self._hear()
                else:
                    self._reap(key.fd)

    def _hear(self) -> bool:
        """Take requests; whether more may come."""
        data = b""
        with suppress(ConnectionError):
            data = self._connection.recv(1 << 20)
        if not data:
            self._selector.unregister(self._connection)
            return False
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._serve(json.loads(line))
        return True

    def _serve(self, request: dict[str, Any]) -> None:
        if changed := self._changed():
            self._say({"request": request["request"], "stale": changed})
            return
        pid = os.fork()
        if pid == 0:
            self._become(request)
        run = os.pidfd_open(pid)
        self._runs[run] = pid
        self._selector.register(run, selectors.EVENT_READ)
        self._say({"request": request["request"], "pid": pid})

    def _become(self, request: dict[str, Any]) -> None:
        from cos_customizer.flows.worker import interpreter

        os.setsid()
        self._selector.close()
        self._connection.close()
        for run in self._runs:
            os.close(run)
        if request["quiet"]:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        interpreter.run(request["arguments"], request["environment"], request["directory"])

    def _reap(self, run: int) -> None:
        self._selector.unregister(run)
        os.close(run)
        pid = self._runs.pop(run)
        self._say({"pid": pid, "code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})

    def _say(self, answer: dict[str, Any]) -> None:
        with suppress(OSError):  # the worker may be gone
            self._connection.sendall(json.dumps(answer).encode() + b"\n")

    def _changed(self) -> str | None:
        """A file that was imported and is another one now."""
        return next((path for path, time in self._files.items() if _time_of(path) != time), None)


def _loaded_files() -> dict[str, int | None]:
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {path: _time_of(path) for path in sorted(filter(None, files))}


def _time_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def main() -> None:
    """Import, and serve the socket that has been inherited."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    with uncollected():
        for name in _PRELOADED:
            importlib.import_module(name)
    threads = threading.active_count()
    if threads != 1:
        raise RuntimeError(f"{threads} threads where there must be one: a fork would have none of the others")
    # As an interpreter finds them that a worker starts from a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ForkServer(connection).serve()


if __name__ == "__main__":
    main()
