"""The process that stands by in a warm environment, and forks the program for each `support.warm_client`.

A fork has its client's arguments, variables, directory, standard streams and ignored signals. It leads a session of its
own, and is killed if its client is.
"""

import importlib
import marshal
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_PRELOADED = (
    "cos_customizer.cli.main",
    "cos_customizer.cli.commands.build",
    "cos_customizer.cli.commands.finish_image_build",
    "cos_customizer.cli.commands.emulator",
    "cos_customizer.flows.build_image",
    "cos_customizer.flows.build_recipe",
    "cos_customizer.flows.rebuild_images",
    "prefect.flow_engine",
    "prefect.task_engine",
    "anyio._backends._asyncio",
    "google_crc32c",
    "rich._emoji_codes",
)
_OF_PREFECT = ("build", "finish-image-build", "rebuild-images", "expire-images", "sweep", "watch-sources", "rollback")
"""Commands that may bring a Prefect server of their own, before they import Prefect."""


class WarmServer:
    """Forks a program.

    Args:
        listener: where clients connect.
        program: path of the program, a Python script.
        owner: process whose end is the server's.
    """

    def __init__(self, listener: socket.socket, program: str, owner: int) -> None:
        self._listener, self._program = listener, program
        self._selector = selectors.DefaultSelector()
        self._owner = os.pidfd_open(owner)
        self._clients: dict[int, tuple[int, socket.socket]] = {}
        """By handle of the fork: its process, and the connection to its client."""
        self._environment = dict(os.environ)

    def serve(self) -> None:
        """Serve until the owner ends; then kill what runs still."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._owner, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._owner:
                    self._end()
                    return
                if key.fileobj is self._listener:
                    self._fork(self._listener.accept()[0])
                elif key.data == "fork":
                    self._reap(key.fd)
                elif key.fd in self._selector.get_map():  # the client has ended, but has not been told to
                    self._selector.unregister(key.fd)
                    with suppress(ProcessLookupError):
                        os.killpg(key.data, signal.SIGKILL)

    def _fork(self, client: socket.socket) -> None:
        head, streams, _, _ = socket.recv_fds(client, 4, 3)
        order = b""
        while head and len(order) < int.from_bytes(head, "big"):
            part = client.recv(int.from_bytes(head, "big") - len(order))
            if not part:
                break
            order += part
        if len(head) < 4 or len(streams) < 3 or len(order) < int.from_bytes(head, "big"):  # it has been killed
            client.close()
            return
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            others = (key.fd for key in self._selector.get_map().values())
            os.closerange(3, max(streams[-1], client.fileno(), self._owner, *others) + 1)
            self._become(*marshal.loads(order))
        for stream in streams:
            os.close(stream)
        handle = os.pidfd_open(pid)
        self._clients[handle] = (pid, client)
        self._selector.register(handle, selectors.EVENT_READ, "fork")
        self._selector.register(client, selectors.EVENT_READ, pid)
        self._tell(client, pid)

    def _become(
        self, place: str, arguments: list[str], environment: Mapping[str, str], directory: str, ignored: list[int]
    ) -> None:
        from cos_customizer.flows.local_server import quiet_prefect
        from cos_customizer.flows.worker import interpreter

        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        brings_server = arguments and arguments[0] in _OF_PREFECT and not environment.get("PREFECT_API_URL")
        if brings_server or interpreter.needs_new(environment, self._environment):
            os.chdir(directory)
            os.execve(self._program, [self._program, *arguments], environment)
        sys.executable = str(Path(place, "python"))  # beside which the program looks for itself
        tempfile.tempdir = None
        os.environ.clear()
        os.environ.update(environment)
        quiet_prefect()  # as the program does, before it imports Prefect
        interpreter.run([self._program, *arguments], dict(os.environ), directory)

    def _reap(self, handle: int) -> None:
        self._selector.unregister(handle)
        os.close(handle)
        pid, client = self._clients.pop(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(KeyError):
            self._selector.unregister(client)
        self._tell(client, code)
        client.close()

    def _end(self) -> None:
        shutil.rmtree(Path(self._listener.getsockname()).parent, ignore_errors=True)
        for pid, _ in self._clients.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _tell(self, client: socket.socket, number: int) -> None:
        with suppress(OSError):  # it has been killed
            client.sendall(number.to_bytes(4, "big", signed=True))


def main() -> None:
    """Import, and serve on the inherited socket: its number, the program and the owner's process are the arguments."""
    from cos_customizer.gcp import clients
    from cos_customizer.quick_imports import uncollected

    descriptor, program, owner = sys.argv[1:]
    listener = socket.socket(fileno=int(descriptor))
    listener.set_inheritable(False)
    with uncollected():
        for name in _PRELOADED:
            importlib.import_module(name)
        clients.load()
    # A shell lets its background jobs ignore Ctrl-C, and nohup hangups; what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    WarmServer(listener, program, int(owner)).serve()


if __name__ == "__main__":
    main()
