"""Where bad input is tried: a directory of its own, with a build that was begun, and no way to a network."""

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.paths import ROOT


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory to try commands in, as working directory, from which none can reach a network.

    In it are a build that was begun, files, and things that are none: links in a circle, a socket, a pipe.
    """
    before, variables, temporary = Path.cwd(), dict(os.environ), tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        directory = Path(name)
        for path in ("home", "tmp", "files", "odd", "temporary"):
            (directory / path).mkdir()
        (directory / "files" / "a.sh").write_text("true\n")
        (directory / "hello.yaml").write_text(HELLO)
        (directory / "text").write_text("no: [YAML\n")
        (directory / "loop").symlink_to("loop2")
        (directory / "loop2").symlink_to("loop")
        (directory / "nowhere").symlink_to("not-there")
        os.mkfifo(directory / "odd" / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(directory)
            listener.bind("odd/socket")
            try:
                for each in [each for each in os.environ if each.startswith(("PREFECT_", "XDG_"))]:
                    del os.environ[each]
                os.environ |= {
                    "HOME": str(directory / "home"),
                    "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "http://127.0.0.1:1/",
                    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
                    "PREFECT_API_URL": "http://127.0.0.1:1/api",
                    "PREFECT_HOME": str(directory / "home" / "prefect"),
                }
                tempfile.tempdir = str(directory / "temporary")
                write_state(STATE)
                yield directory
            finally:
                os.chdir(before)
                os.environ.clear()
                os.environ |= variables
                tempfile.tempdir = temporary


HELLO = (ROOT / "examples/recipes/hello.yaml").read_text() if (ROOT / "examples/recipes/hello.yaml").exists() else ""
STATE: dict[str, Any] = {
    "version": 1,
    "build_context": "files",
    "spec": {
        "source": {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0", "architecture": "X86_64"},
        "scratch": {"bucket": "b-b-b", "workdir": "w"},
        "context": {"path": "context-00000000.tar.gz", "sha256": "0" * 64},
        "steps": [{"type": "run-script", "script": "a.sh", "env": {"A": "b"}}],
    },
    "scripts": ["a.sh"],
}


def write_state(content: Any) -> None:
    """Write down a build that was begun: JSON-like data, or a text that may be none."""
    directory = Path(os.environ["HOME"]) / ".cos-customizer-workdir"
    directory.mkdir(exist_ok=True)
    (directory / "context-00000000.tar.gz").touch()
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / "state.json").write_text(text, encoding="utf-8", errors="surrogatepass")
