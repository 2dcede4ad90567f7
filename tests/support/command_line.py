"""Running the program in this process, as tests do."""

import contextlib
import io
import signal
from dataclasses import dataclass

from cos_customizer.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command has done."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ran:
    """Run a command and keep what it prints."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Ran(code, out.getvalue(), err.getvalue())
