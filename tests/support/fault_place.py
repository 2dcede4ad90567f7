"""Where builds are tried under faults: an emulator for each case, a Prefect server that can go away, a warm program."""

import contextlib
import json
import os
import re
import signal
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch
from urllib.parse import urlsplit

import yaml
from support.compute_clients import PROJECT, Compute
from support.guest_scripts import succeeding
from support.leftovers import everything, passing_objects
from support.storage_clients import BUCKET, anonymous_bucket
from support.warm_program import Started, WarmProgram

from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.output_limit import limit_name
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect

FAMILY, IMAGE = f"mine-{os.getpid()}", "my-image"
"""A family for each process: its builds wait for each other on the Prefect server, which processes share."""
DISK_GB = 11
"""What the builder VM's disk grows to."""
RECOVERY = 3 * 3600.0
"""Seconds on the emulator's clock after which VMs have ended by themselves, and whatever a fault holds up has come."""
LATER = 40 * 24 * 3600.0
"""Seconds after which a sweep may delete whatever a build has left, serial logs too."""
MUTATING = r"^(?!.*/operations/)(?!/v2/entries)"
"""Paths of requests that change something, if their method does."""
CHANGES = "POST|PUT|PATCH|DELETE"
PATIENCE = 300.0
"""Seconds for a command that has no time limit of its own; only a command that hangs takes as long."""
_OUTPUT: dict[str, Any] = {
    "project": PROJECT,
    "name": IMAGE,
    "family": FAMILY,
    "deprecate_old_images": True,
    "labels": {"a": "b"},
}
_RECIPE: dict[str, Any] = {
    "source": {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0"},
    "context": {"path": "context"},
    "scratch": {"bucket": BUCKET, "workdir": "work"},
    "steps": [{"type": "run-script", "script": "preload.sh"}],
    "builder": {"project": PROJECT, "zones": ["us-west1-b"], "disk_size_gb": DISK_GB, "oem_size": "1G"},
    "verify": {"boot": True, "scripts": [{"script": "check.sh"}]},
}


class Gateway:
    """A port that leads to the Prefect server, and can be closed: the server is away then."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.is_open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut what goes through it, and refuse what comes, until `open` is called."""
        self.is_open = False
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Let everything through."""
        self.is_open = True

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if not self.is_open:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for source, sink in ((client, server), (server, client)):
                self._open.add(source)
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


@dataclass
class Build:
    """A build in its place, and what it has come to when it is over.

    Attributes:
        code: Exit code; negative if a signal has killed it.
        seconds: That it took.
    """

    place: "FaultPlace"
    process: Started
    began: float = field(default_factory=time.monotonic)
    code: int | None = None
    seconds: float = 0.0

    def end(self, within: float = PATIENCE) -> None:
        """Wait until it is over; one that does not end in time is killed, and `code` stays None."""
        try:
            self.code = self.process.wait(within)
        except TimeoutError:
            self.process.send(signal.SIGKILL)
            self.process.wait(PATIENCE)
        self.seconds = time.monotonic() - self.began

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self.process.out + self.process.err

    @property
    def outcome(self) -> str:
        """What `-output-file` says; empty if it was not written."""
        try:
            return str(json.loads((self.place.directory / "result.json").read_text())["outcome"])
        except FileNotFoundError:
            return ""

    @property
    def flow_run(self) -> str:
        """The state of its flow run on the Prefect server; empty if it has not said which that is."""
        found = re.search(r"/flow-run/([0-9a-f-]{36})", self.said)
        return str(self.place.prefect(f"flow_runs/{found[1]}")["state_type"]) if found else ""


class FaultPlace:
    """A program that stands by, and worlds to build in, one after the other.

    Args:
        directory: For all of it.
        prefect: Environment that leads to a Prefect server. Without one, builds are run without Prefect and the command
            line around them, which is quicker.
        replaces: Whether an image of something else has the output image's name, and the builds replace it.
    """

    def __init__(self, directory: Path, prefect: dict[str, str] | None = None, replaces: bool = False) -> None:
        self.directory = directory
        self._there = ("older", "old", *([IMAGE] if replaces else []))
        on_existing = "replace" if replaces else "skip"
        self._recipe = {**_RECIPE, "output": {**_OUTPUT, "on_existing": on_existing}}
        self.emulator: Emulator = None  # type: ignore[assignment]  # there is one inside `world`
        self.gateway: Gateway | None = None
        self._root = directory
        self._number = 0
        self._api, self._credential = "", ""
        if prefect is None:
            self._program = WarmProgram(dict(os.environ), directory, "support.bare_build:main")
            return
        self._api, self._credential = prefect["PREFECT_API_URL"], prefect["PREFECT_API_AUTH_STRING"]
        self.gateway = Gateway(urlsplit(self._api).port or 80)
        through = {**prefect, "PREFECT_API_URL": f"http://127.0.0.1:{self.gateway.port}/api"}
        self._program = WarmProgram({**os.environ, **through}, directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def world(self) -> Iterator[None]:
        """A new emulator with older images in the family, and a directory with a recipe."""
        self._number += 1
        if self.gateway is not None:
            self.gateway.open()
        self.directory = self._root / str(self._number)
        (self.directory / "context").mkdir(parents=True)
        (self.directory / "home").mkdir()
        for script in ("preload.sh", "check.sh"):
            (self.directory / "context" / script).write_text("true\n")
        (self.directory / "recipe.yaml").write_text(yaml.safe_dump(self._recipe))
        with contextlib.ExitStack() as stack:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            emulator = stack.enter_context(Emulator(state, "scripted", projects=(PROJECT,)))
            stack.enter_context(patch.dict(os.environ, emulator.environment()))
            self.emulator = emulator
            compute = Compute(emulator)
            for name in self._there:
                compute.image(name, family=FAMILY)
            emulator.scripts.add({**succeeding("run-script check.sh"), "match": {"name": ".*-test"}})
            emulator.scripts.add(
                {
                    **succeeding("run-script preload.sh", disk_gb=DISK_GB),
                    "match": {"name": "cos-customizer-[0-9a-f]{10}"},
                }
            )
            emulator.calls.clear()
            self._free_family()
            yield

    def start(self, timeout: str = "1h") -> Build:
        """Start the build.

        Args:
            timeout: Of the build.
        """
        (self.directory / "result.json").unlink(missing_ok=True)
        arguments = ["build", "-recipe=recipe.yaml", "-output-file=result.json", f"-set=timeout={timeout}"]
        environment = {**self.emulator.environment(), "HOME": str(self.directory / "home")}
        return Build(self, self._program.start(arguments, environment, self.directory))

    def changes(self) -> list[str]:
        """The requests so far that change something, in their order, as `METHOD path`."""
        return [
            f"{call.method} {urlsplit(call.path).path}"
            for call in self.emulator.calls.list(path=MUTATING)
            if call.method in CHANGES.split("|") and call.service in ("compute", "storage")
        ]

    def hold(self, number: int, when: str) -> int:
        """Hold the request with this number, from 0, that changes something; the fault's id."""
        return self.emulator.faults.add("hold", method=CHANGES, path=MUTATING, skip=number, when=when)

    def is_held(self) -> bool:
        """Whether a request is held."""
        return any(fault["held"] for fault in self.emulator.faults.list())

    def await_hold(self, build: Build) -> bool:
        """Wait until a request is held; whether one is, or the build has ended before."""
        ended = time.monotonic() + PATIENCE
        while not self.is_held():
            if time.monotonic() > ended or not Path(f"/proc/{build.process.pid}").exists():
                return False
            time.sleep(0.01)
        return True

    def left(self) -> list[str]:
        """What is there that no build leaves when it is over, as `kind/name`."""
        bucket = anonymous_bucket()
        there = everything(Compute(self.emulator), bucket)
        found = [name for name in sorted(there) if not name.startswith(("images/", "objects/"))]
        found += [f"objects/{name}" for name in passing_objects(self.emulator, bucket.list_blobs())]
        unreleased = (image["name"] for image in self._images() if "cos-customizer-state" in image.get("labels", {}))
        return found + [f"images/{name}" for name in unreleased]

    def images(self) -> list[tuple[str, ...]]:
        """The images, by what they mean to people: name (of whatever day), status, family, labels, state, successor."""
        described = []
        for image in self._images():
            labels = json.dumps(image.get("labels", {}), sort_keys=True)
            deprecation = image.get("deprecated", {})
            successor = deprecation.get("replacement", "").rpartition("/")[2]
            state = deprecation.get("state", "")
            name, successor = (re.sub(r"-[0-9]{8}\b", "-DATE", each) for each in (image["name"], successor))
            described.append((name, image["status"], image.get("family", ""), labels, state, successor))
        return sorted(described)

    def _images(self) -> list[dict[str, Any]]:
        return self.emulator.list(f"projects/{PROJECT}/global/images")

    def recover(self) -> None:
        """Let all faults end, and the time pass after which VMs end by themselves and the family is free again."""
        self.emulator.faults.clear()
        if self.gateway is not None:
            self.gateway.open()
        self.emulator.clock.advance(RECOVERY)
        self._free_family()

    def sweep(self) -> None:
        """Delete what builds have left behind, as `sweep` does it, long after they ran."""
        now, clients = time.time() + LATER, connect()
        sweep.apply(clients, PROJECT, sweep.plan(clients, sweep.SweepScope(PROJECT), now), now)

    def _free_family(self) -> None:
        """Give the family back that a killed build holds, as the Prefect server does after two minutes."""
        name = limit_name(PROJECT, FAMILY)
        if not self._api:
            return
        try:
            self.prefect(f"v2/concurrency_limits/{name}", "DELETE")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise

    def prefect(self, path: str, method: str = "GET") -> Any:
        """Ask the Prefect server something, past the gateway, again and again while its database is busy."""
        token = b64encode(self._credential.encode()).decode()
        request = urllib.request.Request(
            f"{self._api}/{path}", method=method, headers={"Authorization": f"Basic {token}"}
        )
        ended = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > ended:
                    raise
            time.sleep(0.1)
