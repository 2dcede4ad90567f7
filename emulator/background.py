"""The emulator as a background process: started, found again, stopped.

While it answers, `service.json` in its state directory describes it. Importing this module is cheap.
"""

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.files import make_private, replacing
from cos_customizer.emulator.machines.backend import MachineKind
from cos_customizer.quick_imports import uncollected

_FILE = "service.json"
_LOG_FILE = "emulator.log"
STATE_FILES = (
    *("compute.sqlite*", "logs.sqlite*", "lock", _LOG_FILE, _FILE, f".{_FILE}.*"),
    *("storage", "machines", "cache", "registry"),
    *("secrets.json", ".secrets.json.*", ".replaced*", ".staging.*", ".saved.*"),
)
"""What the emulator keeps in its state directory."""
CACHE_FILES = ("stand-in-*", "stand-in.lock", "accelerator.json", "prefect-*.db", ".prefect-*", ".accelerator.json.*")
_NEEDED = ("flask", "google.cloud.compute_v1", "google.cloud.logging_v2")
_STOP_SECONDS = 60.0
_END_SECONDS = 15.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to run the emulator.

    Attributes:
        state_dir: where everything is kept.
        cache_dir: where the stand-in image is kept.
        machines: kind of the machines.
        port: port of the Compute Engine API; 0 takes a free one.
        storage_port: port of Cloud Storage; 0 takes a free one.
        projects: their buckets `<project>_cloudbuild` exist from the beginning.
        registry_port: port of the registry of container images; 0 takes a free one.
        seed: what is there from the beginning, a `Seed` as JSON; empty for nothing.
        host: the address that the one port of all services listens on.
        host_names: what else clients may call it.
    """

    state_dir: str
    cache_dir: str
    machines: MachineKind = "qemu"
    port: int = 0
    storage_port: int = 0
    projects: tuple[str, ...] = ("my-project",)
    registry_port: int = 0
    seed: str = ""
    host: str = "127.0.0.1"
    host_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunningEmulator:
    """An emulator that answers, as `service.json` describes it.

    Attributes:
        pid: of its process, which leads a session of its own unless it runs in the foreground.
        started: when that process started, in the kernel's ticks: a later process may have the same pid.
        control: address of the emulator's own API.
        environment: the variables that point clients to it.
        log: its log file.
        registry_port: of the registry of container images.
        seed: see `Options`.
        host: see `Options`.
    """

    pid: int
    started: int
    machines: str
    port: int
    storage_port: int
    control: str
    environment: dict[str, str]
    log: str
    registry_port: int = 0
    seed: str = ""
    host: str = "127.0.0.1"


def default_state_dir() -> Path:
    """Return the state directory that is used unless another is given (XDG base directories)."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "cos-customizer/emulator"


def default_cache_dir() -> Path:
    """Return the directory of the stand-in image (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cos-customizer"


def find(state_dir: Path) -> RunningEmulator | None:
    """Return the emulator that runs on a state directory; None if there is none, or only the traces of a dead one."""
    running = _described(state_dir)
    return running if running and _start_time(running.pid) == running.started else None


def _described(state_dir: Path) -> RunningEmulator | None:
    """Return the emulator that the file of a state directory describes; None if it is none of ours, or not there."""
    try:
        running = RunningEmulator(**json.loads((state_dir / _FILE).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return running if isinstance(running.pid, int) and isinstance(running.started, int) and running.pid > 0 else None


def start(options: Options, progress: Progress) -> RunningEmulator:
    """Start the emulator in the background and return when it answers.

    Args:
        options: how to run it.
        progress: called with a sentence before something slow.

    Raises:
        EmulatorError: it cannot run; its log has the reason.
    """
    check_installed()
    state_dir = Path(options.state_dir)
    log = state_dir / _LOG_FILE
    try:
        make_private(state_dir, STATE_FILES)
        output = open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")  # noqa: PTH123, SIM115 (a mode)
    except OSError as error:
        raise EmulatorError(f"cannot write to {state_dir}: {error.strerror}", "choose another -state-dir") from None
    read, write = os.pipe()
    command = [sys.executable, "-m", __name__, json.dumps(asdict(options)), str(write)]
    with output, open(read, encoding="utf-8") as messages:  # noqa: PTH123 (a descriptor, not a path)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(write,), start_new_session=True
        )
        os.close(write)
        try:
            _await_ready(messages, progress, log)
        except BaseException:
            _end(process)
            raise
    running = find(state_dir)
    if running is None:
        raise EmulatorError("the emulator ended as soon as it had started", f"its log: {log}")
    return running


def stop(state_dir: Path) -> bool:
    """Stop the emulator and all its machines.

    Returns:
        Whether one was running.
    """
    running = find(state_dir)
    if running:
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _start_time(running.pid) == running.started:
            if time.monotonic() > deadline:
                _kill(running.pid)
                break
            time.sleep(0.02)
    if _described(state_dir):
        (state_dir / _FILE).unlink(missing_ok=True)
    return running is not None


def run(options: Options, ready: Callable[[RunningEmulator], None], progress: Progress) -> None:
    """Run the emulator in this process until SIGTERM, SIGINT, SIGHUP or a request to shut down.

    Args:
        options: how to run it.
        ready: called once it answers.
        progress: called with a sentence before something slow, until then.

    Raises:
        EmulatorError: it cannot run.
        SystemExit: a signal ended it before it answered.
    """
    check_installed()
    state_dir = Path(options.state_dir)
    if (state_dir / _FILE).exists() and _described(state_dir) is None:
        raise EmulatorError(f"{state_dir / _FILE} is not the emulator's", "choose another -state-dir, or move the file")
    os.umask(0o077)  # nothing that is written from now on is anybody else's
    try:
        make_private(state_dir, STATE_FILES)
        make_private(Path(options.cache_dir), CACHE_FILES)
    except OSError as error:
        raise EmulatorError(f"cannot write to {state_dir}: {error.strerror}", "choose another -state-dir") from None
    for left in state_dir.glob(f".{_FILE}.*"):  # of an emulator that was killed while it wrote
        left.unlink(missing_ok=True)
    ended, answering = threading.Event(), threading.Event()

    def end(number: int, _: object) -> None:
        if not answering.is_set():
            raise SystemExit(128 + number)
        ended.set()

    with contextlib.ExitStack() as undo:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            undo.callback(signal.signal, number, signal.signal(number, end))
        LOG.setLevel(logging.INFO)
        handler = _ProgressHandler(progress)
        LOG.addHandler(handler)
        undo.callback(LOG.removeHandler, handler)
        LOG.info("loading the Compute Engine API")
        with uncollected():
            from cos_customizer.emulator.seed.model import Seed
            from cos_customizer.emulator.server import Emulator

        emulator = Emulator(
            state_dir,
            options.machines,
            options.projects,
            options.port,
            storage_port=options.storage_port,
            registry_port=options.registry_port,
            cache_dir=Path(options.cache_dir),
            seed=Seed.model_validate_json(options.seed) if options.seed else None,
            host=options.host,
            host_names=options.host_names,
            shutdown=ended.set,
        )
        undo.callback(emulator.stop)
        emulator.prepare()
        answering.set()
        emulator.start()
        file = state_dir / _FILE
        undo.callback(file.unlink, missing_ok=True)
        running = _describe(options, emulator.status(), emulator.environment())
        with replacing(file) as partial:
            partial.write_text(json.dumps(asdict(running), indent=2))
        LOG.removeHandler(handler)
        ready(running)
        ended.wait()
        LOG.info("stopping")


def _describe(options: Options, status: Mapping[str, Any], environment: dict[str, str]) -> RunningEmulator:
    return RunningEmulator(
        pid=os.getpid(),
        started=_start_time(os.getpid()) or 0,
        machines=options.machines,
        port=status["port"],
        storage_port=status["storagePort"],
        registry_port=status["registryPort"],
        control=f"http://127.0.0.1:{status['port']}/emulator/",
        environment=environment,
        log=str(Path(options.state_dir) / _LOG_FILE),
        seed=options.seed,
        host=options.host,
    )


def check_installed() -> None:
    """Make sure that the packages are there that the emulator needs.

    Raises:
        EmulatorError: one is not.
    """
    for package in _NEEDED:
        _check_installed(package)


def _check_installed(package: str) -> None:
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise EmulatorError(
            f"the emulator needs the Python package {package}, which is not installed",
            "pip install 'cos-customizer[emulator]'",
        )


def _await_ready(messages: Iterable[str], progress: Progress, log: Path) -> None:
    for line in messages:
        message = json.loads(line)
        if "progress" in message:
            progress(message["progress"])
        if "error" in message:
            raise EmulatorError(message["error"], message["hint"] or f"its log: {log}")
        if "ready" in message:
            return
    raise EmulatorError("the emulator ended before it answered", f"its log says why: {log}")


def _start_time(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks since boot; None if it has ended, even if as a zombie."""
    try:
        # The name in parentheses may hold anything; the fields after it are numbered from 3 (state), 22 is the time.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that is not ready yet: it may clean up, for a while."""
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):  # also what it left in its group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _kill(pid: int) -> None:
    """Kill a process, with its group if it leads one."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class _ProgressHandler(logging.Handler):
    """Reports what is logged as progress."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress(record.getMessage())


def _main(arguments: Sequence[str]) -> int:
    options = json.loads(arguments[0])
    options |= {name: tuple(options[name]) for name in ("projects", "host_names")}
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    with open(int(arguments[1]), "w", buffering=1, encoding="utf-8") as pipe:  # noqa: PTH123 (a descriptor)

        def send(**message: object) -> None:
            with contextlib.suppress(OSError, ValueError):  # the process that has started us is gone
                pipe.write(json.dumps(message) + "\n")

        def ready(_: RunningEmulator) -> None:
            send(ready=True)
            pipe.close()

        try:
            run(Options(**options), ready, lambda text: send(progress=text))
        except EmulatorError as error:
            LOG.error("%s (%s)", error, error.hint)
            send(error=str(error), hint=error.hint)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
