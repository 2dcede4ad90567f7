"""A forked process that does what a new interpreter would, with all that is imported already."""

import atexit
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from prefect.context import refresh_global_settings_context
from prefect.logging.configuration import setup_logging
from prefect.settings import get_current_settings

_OF_INTERPRETER = "PYTHON"
"""What the variables begin with that an interpreter reads when it starts."""


class _ReplacedError(BaseException):
    """The process has asked for another program in its place, and it is one for this interpreter.

    No Exception: nothing on the way out of the old program is to handle it.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        super().__init__()
        self.arguments, self.environment = arguments, environment


def arguments_of(command: Sequence[str]) -> list[str] | None:
    """What follows the interpreter in a command line.

    Args:
        command: program and arguments.

    Returns:
        `-m`, a module and its arguments, or a script and its arguments; None where it is another program, or this
        interpreter with options.
    """
    if command[:1] != [sys.executable] or len(command) < 2:
        return None
    first, *rest = command[1:]
    if first == "-m":
        return list(command[1:]) if rest and not rest[0].startswith("-") else None
    return None if first.startswith("-") else list(command[1:])


def needs_new(environment: Mapping[str, str], warm: Mapping[str, str]) -> bool:
    """Whether an environment asks for an interpreter that starts anew.

    Args:
        environment: of the process to be.
        warm: in which the interpreter at hand has started.
    """
    return any(
        environment.get(name) != warm.get(name)
        for name in environment.keys() | warm.keys()
        if name.startswith(_OF_INTERPRETER) and name != "PYTHONPATH"
    )


def run(arguments: list[str], environment: dict[str, str], directory: str | None) -> NoReturn:
    """Run a program in this process, which a fork has made and which has one thread, and end it.

    Args:
        arguments: as of `arguments_of`.
        environment: all variables.
        directory: where it runs; None: here.
    """
    os.execvpe = _exec
    with suppress(OSError):  # for ps and top, which show what the warm process was started as
        Path("/proc/self/comm").write_text(f"run-{environment.get('PREFECT__FLOW_RUN_ID', '')}"[:15])
    if directory is not None:
        os.chdir(directory)
    code = 1
    while True:
        try:
            code = _exit_code(_in_place, arguments, environment)
            break
        except _ReplacedError as other:
            arguments, environment = other.arguments, other.environment
    # What an interpreter does at its end, but for freeing memory: that would copy what is shared.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # whoever has read them may be gone
            stream.flush()
    os._exit(code)


def _in_place(arguments: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    module = arguments[0] == "-m"
    sys.argv = arguments[module:]
    sys.path[:0] = _new_paths(environment, str(Path.cwd()) if module else str(Path(arguments[0]).parent))
    _read_settings()
    if module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


def _new_paths(environment: Mapping[str, str], first: str) -> list[str]:
    paths = [first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return [path for path in dict.fromkeys(paths) if path not in sys.path]


def _read_settings() -> None:
    """Prefect reads its settings when it is imported: variables, and files in the working directory."""
    before = get_current_settings().logging
    refresh_global_settings_context()
    if get_current_settings().logging != before:
        setup_logging(incremental=False)


def _exec(file: str, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Instead of `os.execvpe`: a program for this interpreter takes the place of the one that asks for it."""
    arguments = arguments_of(command) if file == sys.executable else None
    if arguments is None or needs_new(environment, os.environ):
        _execvpe(file, command, environment)
    first = str(Path.cwd()) if arguments[0] == "-m" else str(Path(arguments[0]).parent)
    if _shadowed(_new_paths(environment, first)):
        _execvpe(file, command, environment)
    raise _ReplacedError(arguments, dict(environment))


_execvpe = os.execvpe


def _shadowed(paths: Iterable[str]) -> bool:
    """Whether a new interpreter would find in one of these directories what this one has imported from elsewhere."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    for path in paths:
        with suppress(OSError):
            if any(name.removesuffix(".py") in loaded for name in os.listdir(path)):
                return True
    return False


def _exit_code(program: Any, *arguments: Any) -> int:
    """Of a program, as the interpreter finds it; what it says of an exception that nobody has handled."""
    try:
        program(*arguments)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 130
    except _ReplacedError:
        raise
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
