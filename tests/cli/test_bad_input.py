"""Mistakes of the user's are told in words with exit code 2, whatever they are: paths, numbers, keys, streams."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import run

from cos_customizer.cli.state import DEFAULT_WORKDIR
from cos_customizer.emulator.server import Emulator

START = ("start-image-build", "-image-name=n", "-image-project=cos-cloud", "-gcs-bucket=bbb", "-gcs-workdir=w")
PROGRAM = [sys.executable, "-c", "import sys; from cos_customizer.cli.main import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in (("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", ""), ("STORAGE_EMULATOR_HOST", "")):
        monkeypatch.setenv(name, value or "http://127.0.0.1:1")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "files").mkdir()
    (tmp_path / "odd").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("odd/s")
    (tmp_path / "build.yaml").write_text("steps: [{name: gcr.io/x/cos-customizer, args: [version]}]")
    return tmp_path


LONG = "n" * 300
TOLD = {
    "a context of links in a circle": ((*START, "-build-context=a"), "-build-context: 'a': links in a circle"),
    "a context with a NUL": ((*START, "-build-context=a\0b"), "-build-context: 'a\\x00b' has a NUL in it"),
    "a name too long for a directory": ((*START, f"-local-state-workdir={LONG}"), "-local-state-workdir: 'nnn"),
    "a directory that takes no file": (
        (*START, "-local-state-workdir=/proc/self/fd"),
        "cannot keep the local state in",
    ),
    "a state in a socket": ((*START, "-local-state-workdir=../odd/s"), "cannot keep the local state in"),
    "a recipe too long in name": (("build", f"-recipe={LONG}"), "-recipe: 'nnn"),
    "a recipe that is a directory": (("build", "-recipe=files"), "cannot read recipe 'files': Is a directory"),
    "a recipe that never ends": (("build", "-recipe=/dev/zero"), "the recipe has more than 4,194,304 bytes"),
    "a recipe that is a socket": (("build", "-recipe=odd/s"), "cannot read recipe 'odd/s': "),
    "a port of thousands of digits": (("emulator", "start", "-port=" + "9" * 5000), "-port: the number does not fit"),
    "a milestone of as many": ((*START, "-image-milestone=" + "9" * 5000), "-image-milestone: the number does not fit"),
    "hexadecimal, too": ((*START, "-image-milestone=0x" + "f" * 5000), "-image-milestone: the number does not fit"),
    "a project in another encoding": (("emulator", "run-cloudbuild", "-project=\udc80", "build.yaml"), "-project: the"),
    "a time of as many": (
        ("finish-image-build", "-old-image-ttl=" + "9" * 5000),
        "-old-image-ttl: the number does not fit",
    ),
    "a result too long in name": (("build", f"-output-file={LONG}"), "-output-file: 'nnn"),
    "labels in another encoding": (("run-script", "-script=a", "-env=A=\udc80"), "-env: the value is not UTF-8 text"),
    "a key of thousands of parts": (
        ("build", "-recipe=build.yaml", "-set=a" + ".a" * 3000 + "=1"),
        "at most 100 parts",
    ),
    "a source with a socket": (
        ("emulator", "run-cloudbuild", "-source=odd", "build.yaml"),
        "-source: cannot copy 'odd/s'",
    ),
    "a workflow with a NUL": (("emulator", "run-cloudbuild", "a\0b"), "FILE: 'a\\x00b' has a NUL in it"),
    "a workflow of nested lists": (("emulator", "run-cloudbuild", "deep.yaml"), "nested more than 100 levels deep"),
}


@pytest.mark.parametrize(("arguments", "message"), TOLD.values(), ids=TOLD.keys())
def test_a_mistake_is_told(
    arguments: tuple[str, ...], message: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "deep.yaml").write_text("[" * 3000)
    monkeypatch.setattr("cos_customizer.cli.commands.emulator._running.answers", lambda _address: True)
    ran = run(*arguments)
    assert (ran.code, ran.err[:16]) == (2, "cos-customizer: ")
    assert message in ran.err
    assert len(ran.err) < 1000


def state(**changes: object) -> str:
    spec = {"source": {"name": "n"}, "context": {"path": "c.tar.gz"}, "scratch": {}, "steps": [{"type": "run-script"}]}
    data = {"version": 1, "build_context": "files", "spec": spec, "scripts": ["a.sh"]}
    return json.dumps(data | {key: value for key, value in changes.items() if key in data} | {
        "spec": spec | {key: value for key, value in changes.items() if key not in data}
    })  # fmt: skip


FOREIGN = {
    "steps that are a number": state(steps=5),
    "steps that are texts": state(steps=["a"]),
    "steps without a type": state(steps=[{}]),
    "scripts that are numbers": state(scripts=[1]),
    "scripts that are one text": state(scripts="a.sh"),
    "a source that is a number": state(source=0.5),
    "an architecture that is a list": state(source={"name": "n", "architecture": [[], []]}),
    "an architecture that is a mapping": state(source={"name": "n", "architecture": {"a": 384}}),
    "a context that is a number": state(context=1),
    "an archive that is a number": state(context={"path": 1}),
    "an archive with a NUL": state(context={"path": "a\0b"}),
    "nested without an end": "[" * 100_000,
    "a number of thousands of digits": state().replace('"version": 1', '"version": ' + "1" * 5000),
    "not UTF-8": state(build_context="\udc80"),
    "a list": "[]",
    "a version that is a list": state(version=[1]),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_state_of_foreign_content_is_told(text: str, here: Path) -> None:
    directory = here / "home" / DEFAULT_WORKDIR
    directory.mkdir()
    (directory / "state.json").write_text(text)
    for arguments in (("run-script", "-script=a.sh"), ("finish-image-build", "-project=p", "-zone=z", "-image-name=n")):
        ran = run(*arguments)
        assert ran.code == 2
        assert "the local state" in ran.err or "archive of the build context" in ran.err
    assert (directory / "state.json").read_text() == text


CLOSED = (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "| true", "2>&1 | true")
COMMANDS = {
    "version": 0,
    "schema": 0,
    "help build": 0,
    "run-script -script=a": 2,
    "no-such-command": 2,
    "emulator status": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_standard_streams_that_are_closed_change_no_exit_code(command: str, here: Path) -> None:
    """With and without buffers: every command, and every closing with half of the commands."""
    for number, closed in enumerate(CLOSED, start=list(COMMANDS).index(command)):
        unbuffered = "1" if number % 2 else ""
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "XDG_STATE_HOME": str(here)}
        shell = f'set -o pipefail; "$@" {command} {closed}'
        done = subprocess.run(
            ["bash", "-c", shell, "bash", *PROGRAM], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == COMMANDS[command], (closed, unbuffered, done.stderr)
        assert "Error" not in done.stderr
        assert "Exception" not in done.stderr


def test_the_newest_original_s_endpoint_is_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("-compute-endpoint=http://127.0.0.1:2/compute/v1/", *START, "-build-context=files")
    assert (ran.code, "nothing answers at http://127.0.0.1:2" in ran.err) == (1, True)
    assert os.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"] == "http://127.0.0.1:1"
    ran = run("-compute-endpoint=example.com", *START)
    assert (ran.code, "-compute-endpoint='example.com' is not an address" in ran.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["start-image-build -build-context=ctx", "build -recipe=recipe.yaml"])
def test_files_that_find_no_room_end_a_command_in_words_and_leave_nothing(
    emulator: Emulator, tmp_path: Path, command: str
) -> None:
    context, home, temporary = (tmp_path / name for name in ("ctx", "house", "tmp"))
    for directory in (context, home, temporary):
        directory.mkdir()
    (context / "large").write_bytes(os.urandom(200_000))
    (context / "a.sh").write_text("true\n")
    image = {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0"}
    builder = {"project": "my-project", "zones": ["us-west1-b"]}
    recipe = {
        "source": image,
        "context": {"path": "ctx"},
        "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
        "steps": [{"script": "a.sh"}],
        "builder": builder,
        "output": {"project": "my-project", "name": "mine"},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    flags = " -image-project=cos-cloud -image-name=cos-stable-68-10718-86-0"
    flags += " -gcs-bucket=my-project_cloudbuild -gcs-workdir=w"
    program = Path(sys.executable).with_name("cos-customizer")
    line = f"ulimit -f 64; exec {program} {command}{flags if command.startswith('start') else ''}"
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(temporary)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert re.search("File too large|no room|disk", done.stderr), done.stderr
    assert [*temporary.iterdir()] == []
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert emulator.calls.count("compute", "POST") == 0
