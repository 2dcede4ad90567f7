"""The warm process: it has imported what a build needs, does nothing by itself, and forks a run for each request.

It has one thread, no connection and no TLS context, so that nothing in a fork is broken. Garbage collection never looks
at what it has imported, and so does not copy that in the forks. Requests and answers are lines of JSON on a socket that
nobody but the worker has. It serves until the worker has closed that, and ends with the last of its runs.

`multiprocessing` has a fork server of its own. Its forks import the main module of their parent, which is Prefect's
command line; and it takes runs for ended that go on when the server has died.
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

from pydantic import BaseModel

from cos_customizer.flows.worker import interpreter
from cos_customizer.gcp import clients
from cos_customizer.quick_imports import uncollected

_PRELOADED = (
    "cos_customizer.flows.build_image",
    "cos_customizer.flows.build_recipe",
    "cos_customizer.flows.expire_images",
    "cos_customizer.flows.rebuild_images",
    "cos_customizer.flows.sweep",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.runner._workspace_runtime_bootstrap",
    "prefect.runner._workspace_supervisor",
    # What these import when they are at work.
    "anyio._backends._asyncio",
    "google_crc32c",
    "prefect.task_engine",
    "rich._emoji_codes",
)


class ForkServer:
    """Serves a worker.

    Args:
        connection: to it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._heard = b""
        self._selector = selectors.DefaultSelector()
        self._runs: dict[int, int] = {}
        self._files = {path: _changed_at(path) for path in _imported_files()}

    def serve(self) -> None:
        """Fork for each request, and tell of each end."""
        self._selector.register(self._connection, selectors.EVENT_READ)
        self._say({"ready": True})
        while self._selector.get_map():
            for key, _ in self._selector.select():
                if key.fileobj is self._connection:
                    self._hear()
                else:
                    self._reap(key.fd)

    def _hear(self) -> None:
        data = b""
        with suppress(ConnectionError):
            data = self._connection.recv(1 << 20)
        if not data:
            self._selector.unregister(self._connection)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._fork(json.loads(line))

    def _fork(self, request: dict[str, Any]) -> None:
        changed = next((path for path, time in self._files.items() if _changed_at(path) != time), None)
        if changed is not None:
            self._say({"request": request["request"], "changed": changed})
            return
        pid = os.fork()
        if pid == 0:
            self._become(request)
        handle = os.pidfd_open(pid)
        self._runs[handle] = pid
        self._selector.register(handle, selectors.EVENT_READ)
        self._say({"request": request["request"], "pid": pid})

    def _become(self, request: dict[str, Any]) -> None:
        os.setsid()
        self._selector.close()
        self._connection.close()
        for handle in self._runs:
            os.close(handle)
        if request["quiet"]:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for output in (1, 2):
                os.dup2(nowhere, output)
            os.close(nowhere)
        interpreter.run(request["arguments"], request["environment"], request["directory"])

    def _reap(self, handle: int) -> None:
        self._selector.unregister(handle)
        os.close(handle)
        pid = self._runs.pop(handle)
        self._say({"pid": pid, "code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})

    def _say(self, answer: dict[str, Any]) -> None:
        with suppress(OSError):  # the worker may be gone
            self._connection.sendall(json.dumps(answer).encode() + b"\n")


def _imported_files() -> list[str]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({file for file in files if file})


def _changed_at(path: str) -> int | None:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def _complete(model: type[BaseModel]) -> None:
    """Let models of Prefect's be able to validate, which is put off until they are used: each fork would do it anew."""
    for each in model.__subclasses__():
        with suppress(Exception):  # one that lacks something is as good as before
            each.model_rebuild()
        _complete(each)


def main() -> None:
    """Import, and serve on the socket that has been inherited.

    Raises:
        RuntimeError: what was imported has started a thread.
    """
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    with uncollected():
        for name in _PRELOADED:
            importlib.import_module(name)
        _complete(BaseModel)
        clients.load()  # all that a build needs of Google's libraries: each fork would make two thousand types anew
    if threading.active_count() != 1:
        raise RuntimeError(f"importing has started {threading.enumerate()[1:]}: no fork would have that")
    # A shell lets its background jobs ignore it, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ForkServer(connection).serve()


if __name__ == "__main__":
    main()
