"""Following what the guest of a build's VM says on its serial port."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import (
    BuildFailedError,
    ConflictError,
    CustomizerError,
    LostVmError,
    NotFoundError,
    PreemptedError,
    StepFailedError,
    VerificationFailedError,
)
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.reporting.events import Event, Note, Stage, StepChange, publish
from cos_customizer.customizer.spec.options import SPOT
from cos_customizer.customizer.spec.script_checks import REPEAT_AFTER_REBOOT
from cos_customizer.gcp.serial_console import SerialConsole
from cos_customizer.guest.progress import GuestProgress
from cos_customizer.guest.protocol import SerialParser

_STATUS_INTERVAL = 10.0
_SILENCE = 300.0
BOOT_PATIENCE = 600.0
"""Seconds that a test VM may run without a word before it counts as one that does not boot."""
_STORE_INTERVAL = 60.0
_LOG_IN_MEMORY = 4 << 20
_GOOD_STATUS = ("PROVISIONING", "STAGING", "RUNNING", "REPAIRING")


@dataclass(frozen=True)
class _Hint:
    text: str
    hint: str


_HINTS = (
    _Hint(
        "Could not resolve host",
        Message(
            "the builder VM resolves names in its network; {} and {} choose another.",
            FieldPath("builder.network"),
            FieldPath("builder.subnet"),
        ),
    ),
    _Hint("Read-only file system", "on COS the root is read-only; /var and /home can be written and are kept."),
    _Hint(
        "No space left on device",
        Message("{} gives the builder VM, and the output image, a larger disk.", FieldPath("builder.disk_size_gb")),
    ),
    _Hint(
        "Permission denied",
        "most of COS's file systems are mounted noexec: run programs of yours through their interpreter.",
    ),
    _Hint(
        "was interrupted by a reboot before it finished",
        Message(
            "a script that ends by `exit 3010` is followed by a reboot, and by the next step; {} runs one again from "
            "its beginning.",
            FieldPath(REPEAT_AFTER_REBOOT.path, True),
        ),
    ),
    _Hint("Connection timed out", "without an external address the network needs Cloud NAT or Private Google Access."),
)


class GuestConsole:
    """What the guest says, read with one cursor by one task after the other.

    Args:
        console: the serial port that the guest speaks on.
        status: gives the VM's status, empty if there is no such VM.
        store: stores the log as it is; called every minute that has brought output, so that a build which is killed
            leaves most of its log behind.
        nonce: the build's.
        labels: of the steps, in order.
        stage: what the steps are for.
        preempted: says of a VM that is gone whether Compute Engine has taken it back.
    """

    def __init__(
        self,
        console: SerialConsole,
        status: Callable[[], str],
        store: Callable[[IO[bytes]], None],
        nonce: str,
        labels: list[str],
        stage: Stage = "build",
        preempted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._console = console
        self._status = status
        self._preempted = preempted
        self._store = store
        self._parser = SerialParser(nonce)
        self.progress = GuestProgress(labels, stage)
        self._verifies = stage == "verify"
        self._vm = "test VM" if self._verifies else "builder VM"
        # Rolls over to a file without a name: nothing to remove, whatever becomes of this process.
        self._log: IO[bytes] = tempfile.SpooledTemporaryFile(_LOG_IN_MEMORY)  # noqa: SIM115 - lives as long as the console
        self._status_due = time.monotonic() + _STATUS_INTERVAL
        self._silence_due = time.monotonic() + (BOOT_PATIENCE if self._verifies else _SILENCE)
        self._store_due = time.monotonic() + _STORE_INTERVAL
        self._boots = False
        self._held_back: list[Event] = []

    def follow_boot(self) -> None:
        """Follow the guest until it begins with its disk or its first step, or says that there is none to do.

        Raises:
            BuildFailedError: It has failed before that (it cannot fetch the build context, say), or the VM is gone.
        """
        self._boots = True
        try:
            self._follow_until(lambda: self.progress.lays_out_disk or self._is_past_disk())
        finally:
            self._boots = False
        if not self.progress.current:
            self.raise_failure()

    def follow_disk(self, size: int | None) -> None:
        """Follow the guest while it lays out its boot disk anew.

        Args:
            size: Bytes that the disk is to be grown to next: until the guest asks for that. None: to the end of it.

        Raises:
            BuildFailedError: It has failed, or the VM is gone, or the guest has not asked.
        """
        self._follow_until(lambda: self._is_past_disk() or (size is not None and self.progress.disk_wanted == size))
        if not self.progress.current:
            self.raise_failure()
        if size is not None and self.progress.disk_wanted != size:
            raise BuildFailedError(f"the {self._vm} has begun its steps without asking for a larger disk")

    def _is_past_disk(self) -> bool:
        return self.progress.current > 0 or self.progress.over

    def follow_step(self, number: int) -> None:
        """Follow the guest until a step has ended.

        Args:
            number: Of the step, from 1.

        Raises:
            BuildFailedError: The step has failed, or the VM is gone.
        """
        self._follow_until(lambda: self.progress.ended(number))
        result = self.progress.results()[number - 1]
        if result.state == "succeeded":
            return
        self._follow_until(lambda: self.progress.over)  # the guest's last word has the reason
        failed = VerificationFailedError if self._verifies else StepFailedError
        raise self.failure() or failed(f"step {number} ({result.label}) {result.state}", "", tuple(self.progress.tail))

    def follow_end(self) -> None:
        """Follow the guest until it has cleaned up and says that the build has succeeded.

        Raises:
            BuildFailedError: It says that it has not, or the VM is gone.
        """
        self._follow_until(lambda: self.progress.over)
        self.raise_failure()

    def check_for_restart(self) -> None:
        """Read once more: a VM that has restarted by itself after its last word has begun its plan anew.

        Raises:
            BuildFailedError: It has, or the VM is gone.
        """
        try:
            self.read()
        except BuildFailedError:
            raise
        except CustomizerError:  # what comes next finds out how the VM is
            pass
        self.raise_failure()

    def _follow_until(self, ended: Callable[[], bool]) -> None:
        """Read until the guest has said enough.

        Args:
            ended: says whether it has.

        Raises:
            BuildFailedError: the VM has stopped, or is gone, before that.
        """
        self._tell()
        while not ended():
            if self.read() or ended():
                self._status_due = time.monotonic() + _STATUS_INTERVAL
                self._store_now_and_then()
            elif time.monotonic() >= self._status_due:
                self._check_status(ended)
            if not ended():
                time.sleep(self._console.pause)

    def store(self) -> None:
        """Store the whole log, as far as it was read.

        Raises:
            CustomizerError: it could not be stored.
        """
        self._store(self._log)

    def digest(self) -> str:
        """SHA-256 of the whole log, as far as it was read."""
        digest = hashlib.sha256()
        self._log.seek(0)
        while part := self._log.read(_LOG_IN_MEMORY):
            digest.update(part)
        return digest.hexdigest()

    def read(self) -> bool:
        """Read what there is now; says whether there was anything.

        Raises:
            BuildFailedError: the VM is gone.
        """
        try:
            output = self._console.read()
        except NotFoundError:
            raise self._stopped("was deleted") from None
        except ConflictError:  # the VM is not ready: its status tells whether it ever will be
            return False
        if output.lost:
            self._parser.lost()
            self._log.write(f"\n[{output.lost} bytes of output were lost here]\n".encode())
            publish(Note("console", f"{output.lost:,} bytes of output were lost", "warning"))
        self._log.write(output.data)
        self._tell(*self.progress.consume(self._parser.feed(output.data)))
        return bool(output.data)

    def _tell(self, *events: Event) -> None:
        """Pass events on; from the first one on that is about a step, not before the boot is over."""
        self._held_back += events
        while self._held_back and not (self._boots and isinstance(self._held_back[0], StepChange)):
            publish(self._held_back.pop(0))

    def _store_now_and_then(self) -> None:
        if time.monotonic() >= self._store_due:
            self._store_due = time.monotonic() + _STORE_INTERVAL
            with suppress(CustomizerError):  # at the end it is stored for good, or that failure is told
                self._store(self._log)
            self._log.seek(0, os.SEEK_END)

    def _check_status(self, ended: Callable[[], bool]) -> None:
        self._status_due = time.monotonic() + _STATUS_INTERVAL
        status = self._status()
        if status in _GOOD_STATUS:
            self._mind_silence()
            return
        while status and self.read():
            pass  # what was printed between the last read and the end
        self._tell(*self.progress.consume(self._parser.finish()))
        if not ended():
            raise self._stopped(f"stopped by itself (its status is {status})" if status else "was deleted")

    def _mind_silence(self) -> None:
        if self.progress.heard or time.monotonic() < self._silence_due:
            return
        if self._verifies:
            raise VerificationFailedError(
                f"the image does not boot: in {human_duration(BOOT_PATIENCE)} the test VM has run nothing",
                Message(
                    "the serial log of port 1 says how far it came; {} keeps the image to look at.",
                    FieldPath("verify.keep_failed_image"),
                ),
            )
        self._silence_due = time.monotonic() + _SILENCE
        publish(
            Note(
                "console",
                f"the builder VM runs, and has printed nothing for {human_duration(_SILENCE)}; "
                "does the source image run cloud-init's user-data?",
                "warning",
            )
        )

    def _stopped(self, what: str) -> LostVmError:
        number = self.progress.current
        where = f"during {self.progress.label(number)}" if number else "before the first step"
        if self.progress.succeeded:
            where = "after its last step"
        if self._preempted():
            return PreemptedError(
                f"the {self._vm} was preempted {where}: Compute Engine has taken the spot VM back",
                Message("build again; without {}, it keeps its VM.", FieldPath(SPOT.path, True)),
                tuple(self.progress.tail),
            )
        return LostVmError(
            f"the {self._vm} {what} {where}",
            "a script that powers the VM off, a crash of the VM, or somebody who stopped it.",
            tuple(self.progress.tail),
        )

    def raise_failure(self) -> None:
        """Raise the error that the guest has announced, if there is one.

        Raises:
            BuildFailedError: see `failure`.
        """
        if failure := self.failure():
            raise failure

    def failure(self) -> BuildFailedError | None:
        """The error that the guest has announced, or None."""
        failed = self.progress.failure
        if failed is None:
            return None
        output = tuple(self.progress.tail)
        said = (*output, failed.reason)
        hint = next((known.hint for known in _HINTS for line in reversed(said) if known.text in line), "")
        if failed.step is None:
            what = "verification" if self._verifies else "build"
            outside = VerificationFailedError if self._verifies else BuildFailedError
            return outside(f"the {what} failed on the {self._vm}: {failed.reason}", hint, output)
        labels = self.progress.results()
        label = labels[failed.step - 1].label if failed.step <= len(labels) else "?"
        if self._verifies:
            return VerificationFailedError(f"verification failed: {label} {failed.reason}", hint, output)
        return StepFailedError(f"step {failed.step}/{len(labels)} failed: {label} {failed.reason}", hint, output)
