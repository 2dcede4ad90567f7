"""QEMU's control protocol (QMP) over its standard input and output: no socket, no path.

https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

import contextlib
import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import EmulatorError

_ANSWER_SECONDS = 30.0
"""How long QEMU may take to answer: it does at once, but for a disk that is slow to take what is written to it."""


class QemuGoneError(EmulatorError):
    """QEMU has ended, and answers nothing any more."""


class Qmp:
    """The control of one QEMU. All methods may be called from any thread; one calls `listen`.

    Args:
        process: QEMU, whose greeting was read.
        name: of its machine.
    """

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process = process
        self._name = name
        self._ids = itertools.count(1)
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._answers: dict[str, dict[str, Any] | None] = {}
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._ended = False

    def tell(self, command: str, arguments: Mapping[str, object] | None = None, order: str = "") -> None:
        """Send a command to QEMU, if it still runs.

        Args:
            command: for example `system_reset`.
            arguments: of it.
            order: which answer is its.
        """
        content = {"execute": command, "id": order, **({"arguments": arguments} if arguments else {})}
        with self._writing:
            try:
                assert self._process.stdin
                self._process.stdin.write(json.dumps(content).encode() + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                LOG.debug("%s: %s after its end", self._name, command)

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Send a command to QEMU, and return what it answers.

        Raises:
            QemuGoneError: QEMU has ended.
            EmulatorError: it refuses, or does not answer.
        """
        order = f"order-{next(self._ids)}"
        with self._changed:
            self._answers[order] = None
        self.tell(command, arguments, order)
        with self._changed:
            self._changed.wait_for(lambda: self._answers[order] is not None or self._ended, _ANSWER_SECONDS)
            answer = self._answers.pop(order)
        if answer is None and self._ended:
            raise QemuGoneError(f"QEMU has ended before it could {command}")
        if answer is None:
            raise EmulatorError(f"QEMU does not answer {command} within {_ANSWER_SECONDS:.0f} s")
        if "error" in answer:
            raise EmulatorError(f"QEMU refuses {command}: {answer['error'].get('desc', answer['error'])}")
        return answer.get("return")

    @contextlib.contextmanager
    def awaiting(self, event: str, device: str) -> Iterator[None]:
        """Wait, after what is done inside, for an event of a device.

        Raises:
            EmulatorError: it does not come.
        """
        heard: list[dict[str, Any]] = []
        with self._changed:
            self._listeners.append(heard.append)

        def is_over() -> bool:
            return self._ended or any(e["event"] == event and e.get("data", {}).get("device") == device for e in heard)

        try:
            yield
            with self._changed:
                if not self._changed.wait_for(is_over, _ANSWER_SECONDS):
                    raise EmulatorError(f"QEMU does not say {event} of {device} within {_ANSWER_SECONDS:.0f} s")
        finally:
            with self._changed:
                self._listeners.remove(heard.append)

    def listen(self) -> None:
        """Hear what QEMU says until it ends."""
        assert self._process.stdout
        for line in self._process.stdout:
            LOG.debug("%s: %s", self._name, line.decode(errors="replace").strip())
            try:
                said = json.loads(line)
            except ValueError:  # its last words, cut off
                continue
            with self._changed:
                if said.get("id") in self._answers:
                    self._answers[said["id"]] = said
                for hear in self._listeners if "event" in said else ():
                    hear(said)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close the pipes of a QEMU that has ended."""
        assert self._process.stdout
        assert self._process.stdin
        self._process.stdout.close()
        with contextlib.suppress(OSError):  # a command that QEMU did not live to read
            self._process.stdin.close()
