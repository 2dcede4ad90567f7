"""Operations: the API's answer to a change, and the work behind it."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.references import last, link, new_id, path_of_link
from cos_customizer.emulator.compute.statuses import OperationStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, EmulatorError, OperationError, not_found
from cos_customizer.emulator.faults import Faults

WAIT_SECONDS = 120.0
"""The API's `wait` answers after two minutes at the latest, done or not."""
_KEPT = 10_000

Work = Callable[[], None]


def nothing() -> None:
    """The work of an operation that was done before the API answered."""


@dataclass(frozen=True)
class Target:
    """The resource that an operation is about.

    Attributes:
        path: the resource's path.
        id: its numeric id.
        action: the operation's type, for example `insert`.
    """

    path: str
    id: str
    action: str


class Operations:
    """Operations and the threads that carry them out. All methods may be called from any thread."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self._operations: dict[str, Resource] = {}
        self._requests: dict[tuple[str, str, str], str] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._slowed: dict[str, threading.Event] = {}
        self._workers: set[threading.Thread] = set()

    def start(
        self,
        target: Target,
        work: Work = nothing,
        *,
        undo: Callable[[bool], None] | None = None,
        warnings: Sequence[dict[str, Any]] = (),
    ) -> Resource:
        """Begin an operation.

        Args:
            target: the resource that it is about, in whose zone or region the operation is listed; a project's are
                global.
            work: runs in a thread of its own.
            undo: called when a fault lets the operation fail before `work` has run; its argument is True if the
                resource is to stay, as FAILED.
            warnings: warnings that the operation carries.

        Returns:
            The operation resource, PENDING.
        """
        parts = target.path.split("/")
        scope = "global" if parts[2:3] in ([], ["global"]) else f"{parts[2]}/{parts[3]}"
        name = f"operation-{time.time_ns() // 1_000_000}-{secrets.token_hex(6)}-{secrets.token_hex(4)}"
        path = f"projects/{parts[1]}/{scope}/operations/{name}"
        operation: Resource = {
            "kind": "compute#operation",
            "id": new_id(),
            "name": name,
            "operationType": target.action,
            "targetLink": link(target.path),
            "targetId": target.id,
            "status": OperationStatus.PENDING,
            "user": "local@emulator.invalid",
            "progress": 0,
            "insertTime": self._clock.timestamp(),
            "selfLink": link(path),
        }
        if scope != "global":
            operation[parts[2].removesuffix("s")] = link(f"projects/{parts[1]}/{scope}")
        if warnings:
            operation["warnings"] = list(warnings)
        with self._changed:
            while len(self._operations) >= _KEPT:
                self._operations.pop(next(iter(self._operations)))
            self._operations[path] = operation
            worker = threading.Thread(target=self._run, args=(path, target, work, undo), name=name, daemon=True)
            self._workers.add(worker)
        worker.start()
        return operation

    def fail(self, target: Target, why: OperationError) -> Resource:
        """Begin an operation that ends in an error, and changes nothing."""

        def work() -> None:
            raise why

        return self.start(target, work)

    def get(self, path: str) -> Resource:
        """Return an operation.

        Raises:
            ApiError: 404.
        """
        operation = self._operations.get(path)
        if operation is None:
            raise not_found(path)
        return operation

    def under(self, collection: str) -> list[tuple[str, Resource]]:
        """Return the operations of a collection such as `projects/p/global/operations`, the oldest first.

        A zone or region `-` means all of them.
        """
        with self._changed:
            return [(p, o) for p, o in self._operations.items() if _is_in(p.rsplit("/", 1)[0], collection)]

    def under_way(self) -> list[str]:
        """Return what operations are that are not done, for example `insert of projects/p/global/images/i`."""
        with self._changed:
            running = [each for each in self._operations.values() if each["status"] != OperationStatus.DONE]
        return [f"{each['operationType']} of {path_of_link(each['targetLink'])}" for each in running]

    def wait(self, path: str) -> Resource:
        """Return an operation as soon as it is done, or as it is after `WAIT_SECONDS`.

        Raises:
            ApiError: 404.
        """
        self.get(path)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing.is_set() or self.get(path)["status"] == OperationStatus.DONE, timeout=WAIT_SECONDS
            )
            return self.get(path)

    def once(self, project: str, method: str, request_id: str, begin: Callable[[], Resource]) -> Resource:
        """Begin an operation, or return the one that the same request began before.

        The caller holds the store's lock, so two equal requests cannot both begin.

        Args:
            project: the request's project.
            method: the API method, for example `instances.insert`.
            request_id: the request's `requestId`, or empty.
            begin: checks the request and begins the operation.
        """
        key = (project, method, request_id)
        if request_id and key in self._requests:
            return self.get(self._requests[key])
        operation = begin()
        if request_id:
            self._requests[key] = path_of_link(operation["selfLink"])
        return operation

    def close(self, seconds: float) -> None:
        """End all waiting, and let running work finish.

        Args:
            seconds: how long that may take.
        """
        self._closing.set()
        self.hurry("projects/")
        with self._changed:
            self._changed.notify_all()
            workers = list(self._workers)
        deadline = time.monotonic() + seconds
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def hurry(self, beginning: str) -> None:
        """Let operations that a fault has slowed down go on at once.

        Args:
            beginning: of their paths, for example `projects/p/`.
        """
        with self._changed:
            for path, awake in self._slowed.items():
                if path.startswith(beginning):
                    awake.set()

    def _slow_down(self, path: str, seconds: float) -> None:
        awake = threading.Event()
        with self._changed:
            self._slowed[path] = awake
        try:
            if not self._closing.is_set():
                self._clock.sleep(seconds, awake)
        finally:
            with self._changed:
                del self._slowed[path]

    def _run(self, path: str, target: Target, work: Work, undo: Callable[[bool], None] | None) -> None:
        self._change(path, status=OperationStatus.RUNNING, startTime=self._clock.timestamp())
        end: dict[str, Any] = {}
        try:
            fault = self._faults.take("operation", method=target.action, path=target.path, name=last(target.path))
            if fault:
                self._slow_down(path, fault.seconds)
                if fault.code:
                    if undo:
                        undo(fault.leave)
                    message = fault.message or f"The operation was made to fail with {fault.code}."
                    raise OperationError(fault.code, message, fault.status)
            work()
        except OperationError as failure:
            end = failure.fields()
        except ApiError as error:
            end = OperationError(error.reason, error.message, error.code).fields()
        except EmulatorError as error:
            message = f"{error} ({error.hint})" if error.hint else str(error)
            end = OperationError("INTERNAL_ERROR", message, 500).fields()
        except Exception as error:  # an operation ends, whatever its worker does
            end = OperationError("INTERNAL_ERROR", f"{type(error).__name__}: {error}", 500).fields()
        finally:
            self._change(path, status=OperationStatus.DONE, progress=100, endTime=self._clock.timestamp(), **end)
            with self._changed:
                self._workers.discard(threading.current_thread())

    def _change(self, path: str, **changes: Any) -> None:
        with self._changed:
            if path in self._operations:
                self._operations[path] = {**self._operations[path], **changes}
            self._changed.notify_all()


def _is_in(place: str, collection: str) -> bool:
    parts = list(zip(place.split("/"), collection.split("/"), strict=False))
    return place.count("/") == collection.count("/") and all(wanted in ("-", part) for part, wanted in parts)
