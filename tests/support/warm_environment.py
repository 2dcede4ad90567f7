"""Virtual environments like that of the tests, but that their `cos-customizer` is a fork of a process that stands by.

For tests of what a command does, prints and leaves: it takes some hundredths of a second of a processor, where the
program takes up to two seconds. How the program starts is no test for it. A command that brings a Prefect server of its
own starts from cold here, too, and so does one whose variables the interpreter reads.
"""

import fcntl
import marshal
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = Path(sys.prefix)
_CLIENT = Path(__file__).with_name("warm_client.py")


def stand_by(place: Path, owner: int) -> Path:
    """Start the process that stands by, unless another process has started it.

    Args:
        place: directory for its log, and the file that tells its address.
        owner: process with whose end it ends.

    Returns:
        Address of its socket.
    """
    file = place / "warm-server"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            address = Path(tempfile.mkdtemp(prefix="warm-"), "socket")  # short, as addresses of sockets have to be
            _start(address, file.with_suffix(".log"), owner)
            file.write_text(str(address))
        return Path(file.read_text())


def _start(address: Path, log_file: Path, owner: int) -> None:
    tests = str(Path(__file__).parents[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    with socket.socket(socket.AF_UNIX) as listener, log_file.open("wb") as log:
        listener.bind(str(address))
        listener.listen(64)
        program = str(_ENVIRONMENT / "bin" / "cos-customizer")
        subprocess.Popen(
            [sys.executable, "-m", "support.warm_server", str(listener.fileno()), program, str(owner)],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )


def make_environment(directory: Path, address: Path, variables: Mapping[str, str] | None = None) -> str:
    """Make a virtual environment.

    Args:
        directory: for it; empty.
        address: of the process that stands by.
        variables: what the program has in its environment unless it is set.

    Returns:
        Path of its `cos-customizer`.
    """
    (directory / "lib").symlink_to(_ENVIRONMENT / "lib")
    shutil.copy(_ENVIRONMENT / "pyvenv.cfg", directory)
    programs = directory / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    (programs / "socket").symlink_to(address)
    (programs / "variables").write_bytes(marshal.dumps(dict(variables or {})))
    program = programs / "cos-customizer"
    program.write_text(f"#!{Path(sys.executable).resolve()} -IS\n{_CLIENT.read_text()}")
    program.chmod(0o755)
    return str(program)
