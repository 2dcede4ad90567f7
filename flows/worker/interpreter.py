"""A forked process that does what a new interpreter would do, with all that is imported already."""

import atexit
import os
import runpy
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from prefect.context import refresh_global_settings_context
from prefect.logging.configuration import setup_logging
from prefect.settings import get_current_settings

_execvpe = os.execvpe


class _OtherProgram(BaseException):
    """The process asks for another program in its place, and it is one for this interpreter.

    No Exception: nothing on the way out of the program that asks is to handle it.

    Args:
        arguments: of the other program.
        environment: its variables.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        super().__init__()
        self.arguments, self.environment = arguments, environment


def arguments_of(command: Sequence[str]) -> list[str] | None:
    """What follows the interpreter in a command line.

    Args:
        command: program and arguments.

    Returns:
        `-m`, a module and its arguments, or a script and its arguments. None where it is another program, or this
        interpreter with options.
    """
    program, *arguments = command
    named = arguments[1:] if arguments[:1] == ["-m"] else arguments
    if program != sys.executable or not named or named[0].startswith("-"):
        return None
    return arguments


def needs_new(environment: Mapping[str, str], warm: Mapping[str, str]) -> bool:
    """Whether an environment asks for an interpreter that starts anew: by a variable that is read at the start.

    Args:
        environment: of the process to be.
        warm: of the interpreter at hand.
    """
    differing = {name for name in environment.keys() | warm.keys() if environment.get(name) != warm.get(name)}
    return any(name.startswith("PYTHON") for name in differing - {"PYTHONPATH"})


def run(arguments: list[str], environment: dict[str, str], directory: str) -> NoReturn:
    """Run a program in this process, which a fork has just made, and end it.

    Args:
        arguments: as `arguments_of` gives them.
        environment: all variables.
        directory: where it runs.
    """
    with suppress(OSError):  # for ps and top, which show the command line of the warm process
        Path("/proc/self/comm").write_text(f"run-{environment.get('PREFECT__FLOW_RUN_ID', '')}"[:15])
    warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning, "runpy")  # as all of them are
    os.execvpe = _exec  # type: ignore[assignment] # of all that it takes, texts are what is given
    code: int | None = None
    while code is None:
        try:
            code = _exit_code(arguments, environment, directory)
        except _OtherProgram as other:
            arguments, environment, directory = other.arguments, other.environment, str(Path.cwd())
    # What an interpreter does at its end, but for taking itself apart: that would write to all memory that is shared.
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing ends its forks
    atexit._run_exitfuncs()  # noqa: SLF001 - the same
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader may be gone
            stream.flush()
    os._exit(code)


def _exit_code(arguments: list[str], environment: dict[str, str], directory: str) -> int:
    """Run a program; its exit code by the interpreter's rules. What nobody has handled is printed, as it does."""
    try:
        os.chdir(directory)
        _run_here(arguments, environment)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except _OtherProgram:
        raise
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _run_here(arguments: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = _new_paths(arguments, environment)
    _read_settings()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def _new_paths(arguments: list[str], environment: Mapping[str, str]) -> list[str]:
    """Where a new interpreter would look for modules, beside where this one does."""
    first = Path.cwd() if arguments[0] == "-m" else Path(arguments[0]).resolve().parent
    others = environment.get("PYTHONPATH", "").split(os.pathsep)
    return [path for path in dict.fromkeys([str(first), *others]) if path and path not in sys.path]


def _read_settings() -> None:
    """Prefect has read its settings when it was imported: from variables, and from files in the working directory."""
    before = get_current_settings().logging
    refresh_global_settings_context()
    if get_current_settings().logging != before:
        setup_logging(incremental=False)


def _exec(file: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Instead of `os.execvpe`: a program for this interpreter takes the place of the one that asks, and keeps it warm.

    Prefect's supervisor of a run asks so for the run itself, when it has taken the steps of `pull`.
    """
    arguments = arguments_of(command) if file == sys.executable else None
    if arguments is None or needs_new(environment, os.environ) or _shadows(_new_paths(arguments, environment)):
        _execvpe(file, list(command), environment)
    raise _OtherProgram(arguments, dict(environment))


def _shadows(paths: Sequence[str]) -> bool:
    """Whether a new interpreter would import from these directories what this one has imported from elsewhere."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    for path in paths:
        with suppress(OSError):
            for found in Path(path).iterdir():
                is_module = found.suffix == ".py" or (found / "__init__.py").exists()
                if found.stem in loaded and is_module:
                    return True
    return False
