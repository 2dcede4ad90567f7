"""How the command line reports errors: in one format, on the error stream, never as a traceback."""

import errno
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable
from typing import Any

import click

from cos_customizer.cli.colours import Meaning, coloured, is_capable
from cos_customizer.cli.line_breaks import broken
from cos_customizer.cli.next_steps import to_read
from cos_customizer.cli.streams import discard
from cos_customizer.customizer.errors import CustomizerError, UsageError

_OF_THE_SYSTEM = {
    errno.ENOSPC: "the file system is full.",
    errno.EDQUOT: "your quota of the file system is used up.",
    errno.EMFILE: "the limit on open files (`ulimit -n`) is too low.",
    errno.ENOMEM: "there is not enough memory on this machine.",
}
"""What to say of errors of this machine, by number."""


def printable(text: str) -> str:
    """Text that does nothing to a terminal: tabs become spaces, other control characters are left out.

    Args:
        text: one line, from anywhere.
    """
    return "".join(
        character for character in text.expandtabs(4) if character.isprintable() or character in "\u200d\u00a0"
    )


def silence_standard_output() -> None:
    """Discard further output: its reader has gone, and flushing it at exit would fail."""
    discard(sys.stdout.fileno())


def complain(
    message: str, *, output: Iterable[str] = (), hint: str = "", more: Iterable[str] = (), meaning: Meaning = "bad"
) -> None:
    """Print an error.

    Args:
        message: what is wrong.
        output: the last lines of what failed.
        hint: what to do about it.
        more: further facts, a line each.
        meaning: its colour on a terminal.
    """
    lines = [f"cos-customizer: {message}", *(f"    | {line}" for line in output)]
    lines += [f"  hint: {hint}"] if hint else []
    lines += [f"  {line}" for line in more]
    first, *others = [printable(line) for text in lines for line in text.split("\n")]
    if is_capable(sys.stderr):
        width = shutil.get_terminal_size().columns
        others = [line if line.startswith("    |") else "\n".join(broken(line, width, 2)) for line in others]
    # One call, so that lines of steps that run side by side do not mix.
    click.echo("\n".join([coloured(first, meaning, sys.stderr), *others]), err=True)


def report(error: BaseException) -> int:
    """Print the error that ends a command.

    Args:
        error: any exception.

    Returns:
        The command's exit code.
    """
    if isinstance(error, click.Abort | KeyboardInterrupt):
        complain("interrupted", more=_facts(error), meaning="warning")
        return 130
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1 if error.code else 0
        if code > 128:
            complain("terminated", more=_facts(error), meaning="warning")
        return code
    if isinstance(error, CustomizerError):
        output: tuple[str, ...] = getattr(error, "output", ())
        complain(error.message, output=output, hint=error.hint, more=_facts(error))
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx:  # a group by itself
        click.echo(error.ctx.get_help(), err=True)
        return UsageError.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path.partition(" ")[2] if context else ""
        message = error.format_message().rstrip(".")
        if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
            message = f"{error.param.opts[0]}: {error.message.rstrip('.')}"
        complain(message, hint=f"see: cos-customizer help {command}".rstrip() + ".")
        return UsageError.exit_code
    if isinstance(error, BrokenPipeError):
        silence_standard_output()
        return 1
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("cos_customizer"):
        complain(
            f"the Python package {error.name} is not installed",
            hint="install cos-customizer with what this command needs: pip install 'cos-customizer[emulator]'.",
        )
        return 1
    if isinstance(error, OSError) and error.errno and error.strerror:
        where = f": {error.filename!r}" if error.filename is not None else ""
        complain(f"{error.strerror[:1].lower()}{error.strerror[1:]}{where}", hint=_OF_THE_SYSTEM.get(error.errno, ""))
        return 1
    if isinstance(error, MemoryError):
        complain("there is not enough memory on this machine for that")
        return 1
    return _report_bug(error)


def _facts(error: BaseException) -> list[str]:
    """Further lines from the result of a build that failed: where its log is, what is left behind."""
    result: Any = getattr(error, "result", None)
    if result is None:
        return []
    facts = []
    if result.outcome == "interrupted" and result.build_id and not (result.leftovers or result.image_id):
        facts.append("nothing is left of what the build had made")
    if log := result.verification_log or result.serial_log:
        facts.append(f"full serial log: {log}")
        facts += [f"to read it: {line}"] if (line := to_read(log)) else []
    if kept := result.kept:
        facts.append(f"kept: {kept.in_words}")
        facts += [f"to get in: {kept.get_in}", f"its console: {kept.read_console}", f"to delete it: {kept.delete}"]
    if result.leftovers:
        facts.append(f"left behind: {', '.join(result.leftovers)}")
    return facts


def _report_bug(error: BaseException) -> int:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="cos-customizer-", suffix=".traceback", delete=False
        ) as file:
            file.write(text)
        hint = f"this should not happen; please report it with {file.name}, which says where it did."
    except OSError:
        hint = "this should not happen; the traceback could not be written to the temporary directory."
    summary = "".join(traceback.format_exception_only(error)).strip().splitlines()
    complain(f"unexpected {summary[0] if summary else type(error).__name__}", hint=hint)
    return 1
