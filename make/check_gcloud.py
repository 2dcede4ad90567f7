"""`make check-gcloud`: gcloud's commands of make/gcloud/*.txt on the emulator, and a table of what came of them.

`SIXTH=n` takes every sixth file, from the n-th on; `SIXTH=commit` lets the commit choose; `ONLY=pattern` takes those
whose names a regular expression finds. Exit code 1 if a command came out other than its file says, 2 if nothing could
be tried.

A file is a project of its own, whose commands run one after the other, in a directory of their own; files run side by
side. A command stands after `$ `, what prepares for it after `> ` (not counted); bash runs both. The line below a
command says what is to come of it, by a regular expression for its standard output, followed by its errors:

- `works`: it succeeds.
- `refused`: it fails, and says why, as it does with Google.
- `missing`: the emulator has no such thing. It fails, and says what is not there.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from support.rotation import part

from cos_customizer.emulator.server import Emulator

_TABLES = Path(__file__).with_name("gcloud")
_OUTCOMES = ("works", "refused", "missing")
_SECONDS = 60.0
"""How long a command may take."""
_CRASHES = ("Traceback (most recent call last)", "gcloud crashed")
_NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: what is not sent to the emulator fails at once, and reaches nobody."""

_over = threading.Event()
"""Nothing more is to be tried."""
_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Command:
    """A command, and what is to come of it.

    Attributes:
        line: for bash.
        outcome: `works`, `refused` or `missing`; empty for what only prepares, and has to succeed.
        shows: regular expression for its output.
    """

    line: str
    outcome: str = ""
    shows: str = ""


@dataclass(frozen=True)
class Ended:
    """What came of a command: its exit code, `None` if it was still running when its time was up, and its output."""

    code: int | None
    output: str


@dataclass(frozen=True)
class Verdict:
    """A command, and what is wrong with what came of it; empty if nothing is."""

    command: Command
    problem: str
    output: str


def read_commands(text: str) -> list[Command]:
    """Return the commands of a file.

    Raises:
        ValueError: a line is none of those that a file has.
    """
    commands: list[Command] = []
    waiting = ""
    for number, line in enumerate(text.splitlines(), start=1):
        outcome, colon, shows = line.partition(": ")
        if waiting and colon and outcome in _OUTCOMES and shows:
            re.compile(shows)
            commands.append(Command(waiting, outcome, shows))
            waiting = ""
        elif waiting:
            raise ValueError(f"line {number} does not say what is to come of {waiting!r}: {', '.join(_OUTCOMES)}")
        elif line.startswith("$ "):
            waiting = line[2:]
        elif line.startswith("> "):
            commands.append(Command(line[2:]))
        elif line and not line.startswith("#"):
            raise ValueError(f"line {number} is no command ('$ …', '> …') and no comment ('# …'): {line!r}")
    if waiting:
        raise ValueError(f"nothing says what is to come of {waiting!r}")
    return commands


def problem_of(command: Command, ended: Ended) -> str:
    """Return what is wrong with what came of a command; nothing if it is what its file says."""
    if ended.code is None:
        return f"hangs: killed after {_SECONDS:g} seconds"
    for crash in _CRASHES:
        if crash in ended.output:
            return f"crashes: {crash}"
    if command.outcome in ("works", "") and ended.code:
        return f"fails with exit code {ended.code}"
    if command.outcome in ("refused", "missing") and not ended.code:
        return "succeeds, but should fail"
    if not re.search(command.shows, ended.output, re.MULTILINE):
        return f"does not show {command.shows}"
    return ""


def _run(line: str, directory: Path, environment: dict[str, str]) -> Ended:
    """Let bash run a command, with all that it starts."""
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    try:
        output, errors = process.communicate(timeout=_SECONDS)
        return Ended(process.returncode, output + errors)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        return Ended(None, output + errors)
    finally:
        _running.discard(process)


def _end() -> None:
    """Try nothing more, and end what is running, which Ctrl-C does not reach."""
    _over.set()
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.killpg(process.pid, signal.SIGKILL)


def _try_all(name: str, commands: list[Command], directory: Path, environment: dict[str, str]) -> list[Verdict]:
    """Run the commands of a file, one after the other; nothing is tried after a preparation that fails."""
    files = directory / "files"
    files.mkdir(parents=True)
    project = {"CLOUDSDK_CORE_PROJECT": f"check-{name}", "CLOUDSDK_CONFIG": str(directory / "config")}
    verdicts = []
    prevented = ""
    for command in commands:
        if not prevented:
            ended = _run(command.line, files, {**environment, **project})
            problem = problem_of(command, ended)
        if _over.is_set():
            break
        verdict = Verdict(command, prevented or problem, "" if prevented else ended.output)
        if verdict.problem and not command.outcome:
            prevented = f"not tried, for this fails: {command.line}"
        if verdict.problem:
            _tell(name, verdict)
        verdicts.append(verdict)
    return verdicts


def _tell(name: str, verdict: Verdict) -> None:
    shown = "".join(f"    {line}\n" for line in verdict.output.strip().splitlines()[:20])
    print(f"{name}: $ {verdict.command.line}\n  {verdict.problem}\n{shown}", end="", flush=True)


def _chosen() -> Iterator[tuple[str, list[Command]]]:
    """The files to take, and what stands in them."""
    for file in part(sorted(_TABLES.glob("*.txt")), "SIXTH", 6):
        wanted = re.search(os.environ.get("ONLY", ""), file.stem)
        if wanted:
            try:
                yield file.stem, read_commands(file.read_text())
            except (ValueError, re.error) as error:
                raise SystemExit(f"{file}: {error}") from None


def _environment(emulator: Emulator, home: Path) -> dict[str, str]:
    """The environment of commands: nothing of the user's own cloud, and no way to any but the emulator."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDSDK_", "GOOGLE_"))}
    return {
        **kept,
        **emulator.environment(),
        "HOME": str(home),
        "HTTPS_PROXY": _NOWHERE,
        "https_proxy": _NOWHERE,
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "none",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_COMPUTE_REGION": "us-west1",
        "CLOUDSDK_COMPUTE_ZONE": "us-west1-b",
        "CLOUDSDK_CORE_DISABLE_COLOR": "1",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
    }


def _report(verdicts: dict[str, list[Verdict]], seconds: float) -> int:
    """Print the table; the exit code."""
    print("| | commands | right | of them missing, and told | wrong |\n|---|---|---|---|---|")
    rows = [*verdicts.items(), ("all", [each for some in verdicts.values() for each in some])]
    for name, some in rows:
        wrong = sum(bool(each.problem) for each in some)
        counted = [each for each in some if each.command.outcome]
        right = [each for each in counted if not each.problem]
        told = sum(each.command.outcome == "missing" for each in right)
        print(f"| {name} | {len(counted)} | {len(right)} | {told} | {wrong} |")
    print(f"{seconds:.0f} s")
    return int(any(each.problem for some in verdicts.values() for each in some))


def main() -> int:
    """Try the files, some side by side."""
    if not shutil.which("gcloud"):
        print("gcloud is not installed (https://cloud.google.com/sdk/docs/install): nothing was tried", file=sys.stderr)
        return 2
    groups = dict(_chosen())
    if not groups:
        print(f"no file of {_TABLES} is called {os.environ.get('ONLY')}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, Emulator(Path(scratch, "emulator")) as emulator:
        emulator.scripts.add({"events": [{"text": "port three\n"}, {"text": "port one\n", "port": 1}]})
        environment = _environment(emulator, Path(scratch))
        # The longest come first; more than there are cores, for all wait now and then.
        order = sorted(groups, key=lambda name: -len(groups[name]))
        with ThreadPoolExecutor(1 + (os.cpu_count() or 1)) as pool:
            tried = {
                name: pool.submit(_try_all, name, groups[name], Path(scratch, name), environment) for name in order
            }
            try:
                verdicts = {name: tried[name].result() for name in groups}
            except KeyboardInterrupt:
                _end()
                pool.shutdown(cancel_futures=True)
                return 130
    return _report(verdicts, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
