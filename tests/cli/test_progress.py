"""What people see of a build: plain lines for logs, a live view on a terminal, nothing that steers it."""

import os
import pty
import re
import subprocess
import sys

import pytest

from cos_customizer.cli.progress import event_lines
from cos_customizer.customizer.reporting.events import BuildEnded, ConsoleOutput, Event, Note, StepChange
from cos_customizer.customizer.reporting.result import BuildResult

LINES: list[tuple[Event, list[str]]] = [
    (Note("builder VM", "cos-customizer-1 in us-west1-b"), ["builder VM   cos-customizer-1 in us-west1-b"]),
    (Note("image", "x", "warning"), ["image        warning: x"]),
    (Note("left behind", "x", "error"), ["left behind  error: x"]),
    (StepChange(1, 2, "run-script a.sh", "started"), ["step 1/2     run-script a.sh"]),
    (StepChange(1, 2, "run-script a.sh", "succeeded", 0.4), ["step 1/2     done in 0.4 s"]),
    (StepChange(1, 2, "run-script a.sh", "succeeded"), ["step 1/2     done"]),
    (StepChange(2, 2, "run-script a.sh", "failed", 3.0, "exit 1"), ["step 2/2     failed in 3.0 s: exit 1"]),
    (StepChange(2, 2, "run-script a.sh", "failed"), ["step 2/2     failed"]),
    (ConsoleOutput(("a", "b")), ["  | a", "  | b"]),
    (ConsoleOutput(()), []),
    (BuildEnded(BuildResult(outcome="built")), []),
]


@pytest.mark.parametrize(("event", "lines"), LINES, ids=lambda value: str(value)[:50])
def test_an_event_is_these_lines(event: Event, lines: list[str]) -> None:
    assert event_lines(event) == lines


BUILD = """
import sys, time
from cos_customizer.cli.progress import show_progress
from cos_customizer.customizer.reporting.events import ConsoleOutput, Note, StepChange, publish
from cos_customizer.customizer.spec.model import parse_spec

spec = parse_spec({
    "source": {"project": "p", "name": "i"}, "scratch": {"bucket": "bucket", "workdir": "w"},
    "builder": {"project": "p", "zones": ["z"]}, "output": {"project": "p", "name": "o"},
    "steps": [{"script": "a.sh"}, {"script": "b.sh"}],
})
with show_progress(time.monotonic(), spec):
    publish(Note("builder VM", "vm in z"))
    publish(StepChange(1, 2, "run-script a.sh", "started"))
    publish(ConsoleOutput(("[red]first\\x1b[2J\\x07", "second")))
    sys.stdin.readline()
    publish(StepChange(1, 2, "run-script a.sh", "succeeded", 0.4))
    publish(StepChange(2, 2, "run-script b.sh", "started"))
    sys.stdin.readline()
    publish(StepChange(2, 2, "run-script b.sh", "failed", 1.0, "exit 1"))
print("the end", file=sys.stderr)
"""


def test_elsewhere_it_is_plain_lines() -> None:
    shown = subprocess.run([sys.executable, "-c", BUILD], input="", capture_output=True, text=True, check=True).stdout
    assert re.sub(r"^\d\d:\d\d:\d\d  ", "", shown, flags=re.MULTILINE).splitlines() == [
        "builder VM   vm in z",
        "step 1/2     run-script a.sh",
        "  | [red]first[2J",
        "  | second",
        "step 1/2     done in 0.4 s",
        "step 2/2     run-script b.sh",
        "step 2/2     failed in 1.0 s: exit 1",
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in shown.splitlines())


def test_a_build_goes_on_when_nobody_reads_any_more() -> None:
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    build = subprocess.Popen([sys.executable, "-c", BUILD], stdin=null, stdout=pipe, stderr=pipe)
    assert build.stdout is not None
    build.stdout.close()
    assert build.stderr is not None
    assert build.stderr.read() == b"the end\n"
    build.stderr.close()
    assert build.wait() == 0


def on_a_terminal(environment: dict[str, str], *shown_first: str) -> str:
    """What a build writes to a terminal; it goes on as soon as each of these texts has been shown."""
    primary, secondary = pty.openpty()
    build = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        stdin=subprocess.PIPE,
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "100", "LINES": "40", **environment},
    )
    os.close(secondary)
    shown = b""
    awaited = list(shown_first)
    assert build.stdin is not None
    while True:
        try:
            chunk = os.read(primary, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if awaited and awaited[0].encode() in shown:
            del awaited[0]
            build.stdin.write(b"\n")
            build.stdin.flush()
    os.close(primary)
    build.stdin.close()
    assert build.wait() == 0
    return shown.decode()


LIVE = ("run-script a.sh  | second", "✓ run-script a.sh  0.4 s")
"""What the view shows below the lines, while the first step and while the second one runs."""


def test_on_a_terminal_it_is_a_live_view() -> None:
    shown = on_a_terminal({"TERM": "xterm-256color"}, *LIVE)
    for text in ("builder VM   vm in z", "  | [red]first[2J", "step 2/2     failed in 1.0 s: exit 1"):
        assert text in shown
    assert "> run-script a.sh" in shown
    assert "· run-script b.sh" in shown
    assert "✓ run-script a.sh  0.4 s" in shown
    assert "run-script a.sh  | second" in shown  # what it does, and the last serial line
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "\x1b[?25h" in shown  # the cursor is shown again


def test_no_colour_is_respected() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    assert colour.search(on_a_terminal({"TERM": "xterm-256color"}, *LIVE))
    assert not colour.search(on_a_terminal({"TERM": "xterm-256color", "NO_COLOR": "1"}, *LIVE))


def test_a_terminal_that_can_do_nothing_gets_plain_lines() -> None:
    assert "\x1b" not in on_a_terminal({"TERM": "dumb"}, "  | second", "done in 0.4 s")
