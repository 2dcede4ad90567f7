"""`cos-customizer emulator` as a user runs it: a process in the background that is found again and ends completely."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run as run_here
from support.waiting import PATIENCE, wait_for

from cos_customizer.emulator import background

VARIABLES = {
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE",
    "STORAGE_EMULATOR_HOST",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS",
}
Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = (sys.executable, "-c", "import sys; from cos_customizer.cli.main import main; sys.exit(main())", "emulator")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    background.stop(tmp_path / "state")


@pytest.fixture
def run(state: Path, warm_program: str) -> Run:
    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [warm_program, "emulator", *arguments, f"-state-dir={state}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)

    return run


def exports(output: str) -> dict[str, str]:
    assert all(line.startswith("export ") for line in output.splitlines())
    return dict(line.removeprefix("export ").split("=", 1) for line in output.splitlines())


def processes_of(session: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def listening(pid: int) -> set[str]:
    """Local addresses on which anything in the process listens (hexadecimal, as the kernel gives them)."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)  # noqa: PTH115 (no path: a socket)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = []
    for table in ("tcp", "tcp6"):
        rows += [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[9] in inodes and row[3] == "0A"}


@pytest.mark.slow
def test_from_start_to_stop(run: Run, state: Path) -> None:
    started = run("start", "-machines=scripted", "-project=project-one", "--project", "project-two")
    assert started.returncode == 0, started.stderr
    environment = exports(started.stdout)
    assert set(environment) == VARIABLES
    running = background.find(state)
    assert running is not None
    assert f"ready (process {running.pid}, scripted machines)" in started.stderr
    assert processes_of(running.pid) == [str(running.pid)]
    assert listening(running.pid) == {"0100007F"}
    with urllib.request.urlopen(running.control + "status", timeout=PATIENCE) as answer:
        assert json.load(answer)["projects"] == ["project-one", "project-two"]

    for asked in ((), ("-machines=scripted",)):
        again = run("start", *asked)
        assert (again.returncode, again.stdout) == (0, started.stdout)
        assert f"already running (process {running.pid}, scripted machines)" in again.stderr
    for flags in (("-machines=qemu",), ("-machines=scripted", f"-port={running.port - 1}")):
        other = run("start", *flags)
        assert (other.returncode, other.stdout) == (1, ""), flags
        assert f"already runs with {'-port' if flags[1:] else '-machines=scripted, not'}" in other.stderr
        assert f"stop it first: cos-customizer emulator stop -state-dir={state}" in other.stderr
    assert run("env").stdout == started.stdout
    status = run("status")
    assert (status.returncode, str(running.pid) in status.stdout) == (0, True)
    assert running.log in status.stdout

    stopped = run("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "emulator: stopped\n")
    assert processes_of(running.pid) == []
    assert not (state / "service.json").exists()
    for command in ("status", "env"):
        gone = run(command)
        assert gone.returncode == 1
        assert "does not run" in gone.stderr
        assert "Traceback" not in gone.stderr
    assert run("stop").stderr == "emulator: not running\n"


@pytest.mark.slow
def test_on_one_port_of_all_addresses_with_a_seed(run: Run, state: Path, tmp_path: Path) -> None:
    """As in its container."""
    (tmp_path / "seed.yaml").write_text("images: [{name: base}]\n")
    flags = ("-machines=scripted", "-host=0.0.0.0", f"-seed={tmp_path / 'seed.yaml'}")
    started = run("start", *flags)
    assert started.returncode == 0, started.stderr
    running = background.find(state)
    assert running is not None
    assert {address.split("/")[2] for address in exports(started.stdout).values()} == {f"127.0.0.1:{running.port}"}
    assert listening(running.pid) == {"00000000", "0100007F"}
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/healthz", timeout=PATIENCE) as answer:
        assert json.load(answer) == {"status": "ok"}
    image = f"{running.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE']}projects/my-project/global/images/base"
    for _ in range(2):
        with urllib.request.urlopen(image, timeout=PATIENCE) as answer:
            assert json.load(answer)["status"] == "READY"
        assert run("reset").returncode == 0
    assert run("start", *flags).returncode == 0
    (tmp_path / "seed.yaml").write_text("images: [{name: other}]\n")
    for other, words in ((flags, "-seed"), (("-host=127.0.0.1",), "-host=0.0.0.0, not with -host=127.0.0.1")):
        refused = run("start", *other)
        assert (refused.returncode, words in refused.stderr) == (1, True), refused.stderr


@pytest.mark.slow
def test_an_emulator_that_was_killed_is_not_taken_for_a_running_one(run: Run, state: Path) -> None:
    run("start", "-machines=scripted")
    first = background.find(state)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: not background.find(state))
    assert (state / "service.json").exists()
    assert run("status").returncode == 1
    started = run("start", "-machines=scripted")
    assert started.returncode == 0, started.stderr
    second = background.find(state)
    assert second is not None
    assert second.pid != first.pid


@pytest.mark.slow
def test_it_ends_when_its_own_api_is_told_to(run: Run, state: Path) -> None:
    run("start", "-machines=scripted")
    running = background.find(state)
    assert running is not None
    urllib.request.urlopen(
        urllib.request.Request(running.control + "shutdown", method="POST"), timeout=PATIENCE
    ).close()
    wait_for(lambda: not processes_of(running.pid))
    assert not (state / "service.json").exists()


@pytest.mark.slow
def test_in_the_foreground_it_runs_until_interrupted(state: Path) -> None:
    command = [*COMMAND, "start", "-foreground", "-machines=scripted", f"-state-dir={state}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in VARIABLES]
        assert set(exports("".join(lines))) == VARIABLES
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.slow
def test_what_keeps_it_from_starting_is_said(run: Run, state: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        failed = run("start", "-machines=scripted", f"-port={taken.getsockname()[1]}")
    assert failed.returncode == 1
    assert "cannot listen on 127.0.0.1" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert background.find(state) is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("start", "-machines=vmware"), 2, "'vmware' is not one of qemu, scripted"),
        (("start", "-port=70000"), 2, "70000 is no port"),
        (("start", "-machines=scripted", "-state-dir=/proc/none"), 1, "cannot write to /proc/none"),
        (("start", "-host=localhost"), 2, "no IPv4 address"),
        (("start", "-host=::1"), 2, "no IPv4 address"),
        (("start", "-host=224.0.0.1"), 2, "no IPv4 address"),
        (("start", "-allow-hosts=a:80"), 2, "no name of a host"),
        (("start", "-seed=nothing.yaml"), 2, "-seed: nothing.yaml cannot be read: No such file"),
        (("restart",), 2, "restart"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run_here("emulator", *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "content", ["", "{", "{}", json.dumps({"pid": 1}), "reused"], ids=["empty", "torn", "no-fields", "old", "reused"]
)
def test_a_stale_file_is_not_a_running_emulator(tmp_path: Path, content: str) -> None:
    if content == "reused":  # the process lives, but began at another time
        fields = {"pid": os.getpid(), "started": 1, "machines": "qemu", "port": 1, "storage_port": 2}
        content = json.dumps({**fields, "control": "", "environment": {}, "log": ""})
    (tmp_path / "service.json").write_text(content)
    assert background.find(tmp_path) is None
    assert background.stop(tmp_path) is False
    assert (tmp_path / "service.json").exists() == (foreign := "machines" not in content), foreign


def test_looking_for_it_loads_neither_server_nor_google() -> None:
    code = "import sys\nfrom cos_customizer.cli.commands.emulator import emulator\n"
    code += "emulator.list_commands(None)\n"
    code += "print([name for name in ('flask', 'google.cloud') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_no_process(state: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "start", "-machines=scripted", f"-state-dir={state}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "loading" in process.stderr.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (128 + number, "")
    assert "Traceback" not in errors
    assert processes_of(int(children[0])) == []
    assert background.find(state) is None
