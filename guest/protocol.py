r"""Reads what the builder VM writes to its third serial port.

Output of the user's scripts has the prefix `BuildStatus: `. The markers that decide stand at the start of a line and
bear the build's nonce, so that no script output can pass for one:

    BuildStep[nonce]: 1 started run-script preload.sh
    BuildStep[nonce]: 1 succeeded 12.3
    BuildStep[nonce]: 2 started run-script install.sh
    BuildStep[nonce]: 2 failed exit 3
    BuildFailed[nonce]: step 2 exit 3

or, in the end, `BuildSucceeded[nonce]:`. A build that lays out the boot disk anew tells of that before its first
step, over as many reboots as it takes, and asks for a larger disk (in bytes), again and again until it has it:

    BuildDisk[nonce]: copying the root file system to its other partition
    BuildDisk[nonce]: wants 12884901888

A build that records what is in the image tells, before its end, what became of that: how many bytes it has sent and
their digest, or why it has sent none:

    BuildContents[nonce]: sent 123456 0f343b0931126a20f133d67c2b018a3b5f1a…
    BuildContents[nonce]: failed Cloud Storage refuses it (HTTP 404)

Instead of an exit code there may be a reason in words: `2 failed <reason>`,
`step 2 <reason>`, or a reason alone for what belongs to no step. The guest writes each marker as `\n<marker>\n`, in one
piece. It repeats the last one: a few times before it halts after a success, until the VM is deleted after a failure.
Each time before it says that all is done it tells which steps have succeeded, without their times, `1 succeeded`, and
what became of the recorded contents.
`protocol.sh` is the other end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

PORT = 3
"""Serial port (1 to 4) that the guest writes to: `/dev/ttyS2`, on 64-bit Arm `/dev/ttyAMA2`."""

LINE_LIMIT = 16 * 1024
"""Bytes after which a line without an end is passed on in pieces, so that memory stays bounded."""

_USER_PREFIX = b"BuildStatus: "
_MARKER = re.compile(
    r"(?P<kind>BuildStep|BuildDisk|BuildContents|BuildSucceeded|BuildFailed)\[(?P<nonce>[^\]]*)\]:(?: (?P<rest>.*))?",
    re.DOTALL,
)
_STEP = re.compile(r"(?P<step>[0-9]{1,9}) (?P<what>started|succeeded|failed)(?: (?P<detail>.*))?", re.DOTALL)
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_EXIT = re.compile(r"exit ([0-9]{1,3})")
_WANTS = re.compile(r"wants ([0-9]{1,18})")
_SENT = re.compile(r"sent ([0-9]{1,18}) ([0-9a-f]{64})")
_OF_STEP = re.compile(r"step ([0-9]{1,9}) (.+)", re.DOTALL)

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_VISIBLE = {code: 0x2400 + code for code in range(0x20) if code != 0x09} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


@dataclass(frozen=True)
class OutputLine:
    """A line that a script printed, without its prefix; or any other line that is not a marker of this build."""

    text: str


@dataclass(frozen=True)
class DiskPhase:
    """What the guest does now to lay out its boot disk anew, in words."""

    text: str


@dataclass(frozen=True)
class DiskWanted:
    """The guest waits until its boot disk has grown to `size` bytes."""

    size: int


@dataclass(frozen=True)
class ContentsSent:
    """What is in the image is recorded: so many bytes have been sent, with this SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class ContentsFailed:
    """What is in the image could not be recorded: why, in words."""

    reason: str


@dataclass(frozen=True)
class StepStarted:
    """Step `step` (from 1) has begun."""

    step: int
    label: str


@dataclass(frozen=True)
class StepSucceeded:
    """Step `step` is done, after `seconds`: None where it is told again, because the first time was lost."""

    step: int
    seconds: float | None


@dataclass(frozen=True)
class StepFailed:
    """Step `step` failed: `reason` continues "step n". `exit_code` is None if its script did not exit by itself."""

    step: int
    exit_code: int | None
    reason: str


@dataclass(frozen=True)
class BuildSucceeded:
    """All steps are done and the machine is clean; it halts, and then its disk can be taken.

    A `StepStarted` after this means that the VM has restarted by itself (after a host failure, say). Nothing on a
    cleaned disk remembers the build, so the plan has begun again, and this disk can no longer be trusted.
    """


@dataclass(frozen=True)
class BuildFailed:
    """The build failed.

    Attributes:
        step: the step that failed; None for what lies before the first step (fetching the build context) or after the
            last one (cleaning up).
        exit_code: of the step's script, 128 + n when signal n killed it; None if there is none.
        reason: in words. With a step it continues "step n", as in "exited with 3".
    """

    step: int | None
    exit_code: int | None
    reason: str


Event = (
    OutputLine
    | DiskPhase
    | DiskWanted
    | ContentsSent
    | ContentsFailed
    | StepStarted
    | StepSucceeded
    | StepFailed
    | BuildSucceeded
    | BuildFailed
)


class SerialParser:
    """Turns a serial port's bytes into events. How the bytes are cut into pieces makes no difference.

    Args:
        nonce: of the build; markers that bear another are plain output.
    """

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._line = bytearray()
        self._continued = False  # `_line` is not the beginning of its line
        self._searched = 0  # bytes of `_line` known to hold no line feed
        self._final: Event | None = None
        self._done: set[int] = set()  # steps that are known to have succeeded
        self._of_contents: Event | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Read on.

        Args:
            data: the next bytes of the port's output; may end anywhere, even within a character.

        Returns:
            The events that are complete so far, in order.
        """
        events: list[Event] = []
        self._line += data
        begin = 0
        while (end := self._line.find(b"\n", max(begin, self._searched))) >= 0:
            begin = self._cut(begin, end, events)
            self._end_line(bytes(self._line[begin:end]), events)
            begin = end + 1
        begin = self._cut(begin, len(self._line), events)
        del self._line[:begin]
        self._searched = len(self._line)
        return events

    def lost(self) -> None:
        """Take note that bytes were lost before the next one: half lines on either side are never joined."""
        self._line.clear()
        self._searched = 0
        self._continued = True

    def finish(self) -> list[Event]:
        """Read what came without a line's end; for when the VM is gone.

        A marker without its end is not trusted: it may have been cut short.
        """
        events: list[Event] = []
        self._continued = self._continued or not self._line.startswith(_USER_PREFIX)
        self._end_line(bytes(self._line), events)
        self._line.clear()
        self._searched = 0
        return events

    def _cut(self, begin: int, end: int, events: list[Event]) -> int:
        """Pass on a line that is too long in pieces of at most LINE_LIMIT bytes; returns where the rest begins."""
        while end - begin > LINE_LIMIT:
            cut = begin + LINE_LIMIT
            # Not within a UTF-8 character: back to its first byte, at most three away.
            cut = next((at for at in range(cut, cut - 4, -1) if self._line[at] & 0xC0 != 0x80), cut)
            piece = bytes(self._line[begin:cut])
            events.append(OutputLine(readable(piece if self._continued else piece.removeprefix(_USER_PREFIX))))
            self._continued = True
            begin = cut
        return begin

    def _end_line(self, raw: bytes, events: list[Event]) -> None:
        """Read a line, or the rest of one, without its line feed."""
        raw = raw.removesuffix(b"\r")
        whole, self._continued = not self._continued, False
        if whole and raw.startswith(_USER_PREFIX):
            events.append(OutputLine(readable(raw.removeprefix(_USER_PREFIX))))
        elif whole and (marker := _marker(raw, self._nonce)) is not None:
            self._add_marker(marker, events)
        elif raw:  # an empty line is the framing's own: a script's has the prefix
            events.append(OutputLine(readable(raw)))

    def _add_marker(self, marker: Event, events: list[Event]) -> None:
        """Add a marker; what the guest repeats at the end, only once."""
        if isinstance(marker, StepSucceeded):
            if marker.seconds is None and marker.step in self._done:
                return
            self._done.add(marker.step)
        if isinstance(marker, ContentsSent | ContentsFailed):
            if marker == self._of_contents:
                return
            self._of_contents = marker
        if isinstance(marker, StepStarted):
            self._done.discard(marker.step)
        if marker != self._final:
            events.append(marker)
        self._final = marker if isinstance(marker, BuildSucceeded | BuildFailed) else None


def readable(raw: bytes) -> str:
    """Bytes as text that a terminal can be given: no colours, no control characters but the tab.

    Args:
        raw: a line without its end, or a part of one.
    """
    return _ESCAPE_SEQUENCE.sub("", raw.decode(errors="replace")).translate(_VISIBLE)


def _marker(raw: bytes, nonce: str) -> Event | None:
    """The event that a line stands for, or None if it is no well-formed marker with this nonce."""
    try:
        match = _MARKER.fullmatch(raw.decode())
    except UnicodeDecodeError:
        return None
    if match is None or match["nonce"] != nonce:
        return None
    rest: str = match["rest"] or ""
    if match["kind"] == "BuildStep":
        return _step_event(rest)
    if match["kind"] == "BuildDisk":
        wants = _WANTS.fullmatch(rest)
        return DiskWanted(int(wants[1])) if wants else DiskPhase(readable(rest.encode())) if rest else None
    if match["kind"] == "BuildContents":
        return _contents_event(rest)
    if match["kind"] == "BuildSucceeded":
        return None if rest else BuildSucceeded()
    if of_step := _OF_STEP.fullmatch(rest):
        return BuildFailed(int(of_step[1]), *_outcome(of_step[2]))
    return BuildFailed(None, None, readable(rest.encode())) if rest else None


def _step_event(rest: str) -> Event | None:
    match = _STEP.fullmatch(rest)
    if match is None:
        return None
    step, what, detail = int(match["step"]), match["what"], match["detail"]
    if detail is None:
        return StepSucceeded(step, None) if what == "succeeded" else None
    if what == "started":
        return StepStarted(step, readable(detail.encode()))
    if what == "failed":
        return StepFailed(step, *_outcome(detail))
    return StepSucceeded(step, float(detail)) if _SECONDS.fullmatch(detail) else None


def _contents_event(rest: str) -> Event | None:
    if sent := _SENT.fullmatch(rest):
        return ContentsSent(int(sent[1]), sent[2])
    what, _, reason = rest.partition(" ")
    return ContentsFailed(readable(reason.encode())) if what == "failed" and reason else None


def _outcome(detail: str) -> tuple[int | None, str]:
    """Exit code, if there is one, and reason, of `exit <code>` or a reason in words."""
    if match := _EXIT.fullmatch(detail):
        return int(match[1]), f"exited with {match[1]}"
    return None, readable(detail.encode())


def transcript_of_success(
    nonce: str, labels: Sequence[str], disk_size: int | None = None, contents: ContentsSent | None = None
) -> str:
    """What a guest prints whose steps succeed: the speaking end of this protocol, for who rehearses a build.

    Args:
        nonce: The build's.
        labels: Of the steps, in order.
        disk_size: Bytes that it wants its boot disk to grow to; None: it does not want that.
        contents: What it has sent of the image's contents; None: nothing.
    """
    lines = [] if disk_size is None else [f"BuildDisk[{nonce}]: wants {disk_size}"]
    for number, label in enumerate(labels, start=1):
        lines += [f"BuildStep[{nonce}]: {number} started {label}", f"BuildStep[{nonce}]: {number} succeeded 0.00"]
    if contents is not None:
        lines.append(f"BuildContents[{nonce}]: sent {contents.size} {contents.sha256}")
    return "\n".join([*lines, f"BuildSucceeded[{nonce}]:", ""])
