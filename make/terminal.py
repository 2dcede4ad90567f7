"""Runs a program on a terminal of its own, and says what that terminal shows, moment by moment."""

import codecs
import fcntl
import math
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

_OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
_GLANCE = 1.0
"""Seconds without output after which one looks whether the program is still there."""
_LAST_WORDS = 60.0
"""Seconds that a program may take to clean up when its terminal has gone."""
_FAINT = re.compile(r"\x1b\[([0-9;]*)m")


@dataclass(frozen=True)
class Output:
    """What a program has written at once.

    Attributes:
        seconds: since the program began.
    """

    seconds: float
    text: str


@dataclass(frozen=True)
class Style:
    """How characters look; colours as the terminal calls them, `default` for none."""

    colour: str = "default"
    bold: bool = False


@dataclass(frozen=True)
class Run:
    """Characters of one style that stand side by side in a line.

    Attributes:
        column: of the first, from 0.
    """

    column: int
    text: str
    style: Style


Line = tuple[Run, ...]


@dataclass(frozen=True)
class Screen:
    """What a terminal shows from a moment on.

    Attributes:
        seconds: since the program began.
        lines: all of them, from the top.
    """

    seconds: float
    lines: tuple[Line, ...]


def run(
    command: Sequence[str],
    columns: int,
    rows: int,
    environment: dict[str, str],
    *,
    keys: str = "",
    directory: Path | None = None,
    limit: float = math.inf,
) -> tuple[list[Output], int]:
    """Run a program on a terminal, to its end, as somebody who types the command.

    Args:
        command: the program and its arguments.
        columns: width of the terminal, in characters.
        rows: its height, in lines.
        environment: of the program; what a make tells those that it starts is left out, or they would name a
            directory of this machine.
        keys: typed, or pasted, as soon as it runs.
        directory: where it runs; by default here.
        limit: seconds after which the terminal is taken away from what still runs, as when its window is closed.

    Returns:
        What it has written, and its exit code.
    """
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.chdir(directory or Path())
        kept = {name: value for name, value in environment.items() if name not in _OF_MAKE}
        os.execvpe(command[0], list(command), {**kept, "TERM": "xterm-256color"})
    began, written = time.monotonic(), []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end in the middle of a character
    os.write(terminal, keys.encode())
    while data := _read(terminal, child, began + limit):
        written.append(Output(time.monotonic() - began, decoder.decode(data)))
    os.close(terminal)
    return written, _exit_code(child)


def _read(terminal: int, child: int, end: float) -> bytes:
    """What comes next; nothing when the program has ended, whoever else has its terminal, or at a time."""
    while not select.select([terminal], [], [], _GLANCE)[0]:
        if _is_over(child) or time.monotonic() > end:
            return b""
    try:
        return os.read(terminal, 1 << 16) if time.monotonic() < end else b""
    except OSError:  # the last program that had the terminal open has closed it
        return b""


def _exit_code(child: int) -> int:
    """Wait for a program that has no terminal any more; one that does not care is killed."""
    end = time.monotonic() + _LAST_WORDS
    while not _is_over(child):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _is_over(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def screens(written: Iterable[Output], columns: int, rows: int) -> list[Screen]:
    """What a terminal of this size shows; nothing twice in a row."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.Stream(screen)
    shown: list[Screen] = []
    for output in written:
        # pyte knows no faint text: it is shown in bright black.
        stream.feed(_FAINT.sub(_without_faint, output.text))
        lines = tuple(_line(screen, row) for row in range(rows))
        if not shown or lines != shown[-1].lines:
            shown.append(Screen(output.seconds, lines))
    return shown


def _without_faint(sequence: re.Match[str]) -> str:
    replaced = ("90" if code == "2" else code for code in sequence[1].split(";"))
    return f"\x1b[{';'.join(replaced)}m"


def _line(screen: pyte.Screen, row: int) -> Line:
    runs: list[Run] = []
    for column in range(screen.columns):
        cell = screen.buffer[row][column]
        style = Style(cell.fg, cell.bold)
        if runs and runs[-1].style == style:
            runs[-1] = Run(runs[-1].column, runs[-1].text + cell.data, style)
        else:
            runs.append(Run(column, cell.data, style))
    trimmed = [Run(run.column, run.text.rstrip(), run.style) for run in runs]
    return tuple(run for run in trimmed if run.text)
