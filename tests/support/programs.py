"""A program that runs beside a test, its output and errors each a pipe of text."""

import signal
import subprocess


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """What it prints up to the first line with these words in it."""
    assert process.stdout is not None
    lines = [""]
    while words not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], f"it has ended without saying {words!r}: {rest_of(process)}"
    return "".join(lines)


def rest_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait until it ends: what it has still printed, and its errors."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        rest = process.stdout.read(), process.stderr.read()
    process.wait()
    return rest


def pester(process: "subprocess.Popen[str]", first: signal.Signals, then: signal.Signals | None) -> None:
    """Send a signal, and then another one again and again until the program has ended."""
    process.send_signal(first)
    while then is not None and process.poll() is None:
        process.send_signal(then)
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
