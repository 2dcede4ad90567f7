"""A program that runs beside a test, its output and errors each a pipe of text."""

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
