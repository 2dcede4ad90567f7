"""The local state is whole or not there, one step at a time, and nobody else's."""

import json
import multiprocessing
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cos_customizer.cli.state import StateDirectory
from cos_customizer.customizer.errors import UsageError

SPEC: dict[str, Any] = {
    "source": {"project": "cos-cloud", "name": "cos-125-19216-532-62"},
    "context": {"sha256": "0" * 64},
    "scratch": {"bucket": "b", "workdir": "w"},
}


def begin(directory: StateDirectory, force: bool = False, scripts: tuple[str, ...] = ("preload.sh",)) -> Path:
    with directory.new(force) as draft:
        draft.archive.write_bytes(b"archive")
        draft.commit(SPEC, scripts, "/workspace")
    return draft.archive


def names_in(directory: StateDirectory) -> list[str]:
    return sorted(file.name for file in directory.path.iterdir())


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


def test_what_is_committed_is_read(directory: StateDirectory) -> None:
    archive = begin(directory)
    state = directory.read()
    assert state.spec == {**SPEC, "context": {"sha256": "0" * 64, "path": str(archive)}}
    assert state.files == ("preload.sh",)
    assert state.build_context == "/workspace"
    assert state.archive.read_bytes() == b"archive"


def test_only_the_owner_can_read_it(directory: StateDirectory) -> None:
    begin(directory)
    directory.add_step({"type": "run-script", "script": "preload.sh", "env": {"SECRET": "1"}})
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.path.iterdir()} == {0o600}


@pytest.mark.parametrize("existed", [False, True])
def test_nothing_is_left_of_what_is_not_committed(directory: StateDirectory, existed: bool) -> None:
    if existed:
        directory.path.mkdir()
        (directory.path / "theirs").touch()

    def fail() -> None:
        with directory.new() as draft:
            draft.archive.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert directory.path.exists() == existed
    assert not existed or names_in(directory) == ["theirs"]


def test_a_live_state_is_not_replaced_unless_forced(directory: StateDirectory) -> None:
    first = begin(directory)
    with pytest.raises(UsageError, match="started already") as caught:
        begin(directory)
    assert "-force" in caught.value.hint
    assert directory.read().archive == first
    second = begin(directory, force=True)
    assert directory.read().archive == second
    assert not first.exists()


def test_a_failed_force_keeps_what_was(directory: StateDirectory) -> None:
    first = begin(directory)

    def fail() -> None:
        with directory.new(force=True) as draft:
            draft.archive.write_bytes(b"half")
            raise UsageError("no such image")

    with pytest.raises(UsageError, match="no such image"):
        fail()
    assert directory.read().archive == first
    assert names_in(directory) == sorted([first.name, "state.json"])


def test_what_a_killed_start_has_left_goes_with_the_next(directory: StateDirectory) -> None:
    directory.path.mkdir()
    (directory.path / "context-0123abcd.tar.gz").touch()
    (directory.path / ".state.json.x1y2").touch()
    archive = begin(directory)
    assert names_in(directory) == sorted([archive.name, "state.json"])


def test_removing_leaves_what_is_not_ours_and_a_line_on_what_was(directory: StateDirectory) -> None:
    begin(directory)
    (directory.path / "theirs").touch()
    directory.remove(directory.read(), "my-image built")
    assert names_in(directory) == ["ended.txt", "theirs"]


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("my-image built", "my-image built"),
        ("failed: could not create it\nmore", "failed: could not create it"),
        ("x" * 5000, "x" * 1000),
    ],
)
def test_what_has_become_of_a_build_is_told_until_another_begins(
    directory: StateDirectory, ended: str, said: str
) -> None:
    begin(directory)
    directory.remove(directory.read(), ended)
    for use in (directory.read, lambda: directory.add_step({})):
        with pytest.raises(UsageError) as caught:
            use()
        assert re.fullmatch(
            rf"the image build that was started here ended at [-0-9]{{10}} [:0-9]{{5}} UTC: {said}",
            caught.value.message,
        )
        assert caught.value.hint == "start-image-build begins another."
    archive = begin(directory)
    assert names_in(directory) == sorted([archive.name, "state.json"])


def test_a_failed_start_does_not_make_anybody_forget_the_build_before(directory: StateDirectory) -> None:
    begin(directory)
    directory.remove(directory.read(), "my-image built")
    with pytest.raises(KeyboardInterrupt), directory.new():
        raise KeyboardInterrupt
    with pytest.raises(UsageError, match="my-image built"):
        directory.read()


def test_a_build_does_not_remove_the_state_of_the_next(directory: StateDirectory) -> None:
    begin(directory)
    old = directory.read()
    second = begin(directory, force=True)
    directory.remove(old, "my-image built")
    assert directory.read().archive == second


def _add_steps(path: str, worker: int) -> None:
    for number in range(10):
        StateDirectory(Path(path)).add_step({"type": "run-script", "script": f"{worker}-{number}"})


def test_steps_that_run_side_by_side_are_all_kept(directory: StateDirectory) -> None:
    begin(directory)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_steps, args=(str(directory.path), worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    scripts = [step["script"] for step in directory.read().spec["steps"]]
    assert len(scripts) == 40
    for number in range(4):  # and in the order of each
        own = [script for script in scripts if script.startswith(f"{number}-")]
        assert own == [f"{number}-{index}" for index in range(10)]


START = """
import sys, time
from pathlib import Path
from cos_customizer.cli.state import StateDirectory
from cos_customizer.customizer.errors import UsageError
try:
    with StateDirectory(Path(sys.argv[1])).new() as draft:
        draft.archive.write_text(sys.argv[2])
        time.sleep(0.05)
        draft.commit({"context": {}}, (), sys.argv[2])
except UsageError:
    sys.exit(2)
"""


def test_of_starts_that_run_side_by_side_one_wins(directory: StateDirectory) -> None:
    starts = [subprocess.Popen([sys.executable, "-c", START, str(directory.path), str(n)]) for n in range(3)]
    codes = [start.wait() for start in starts]
    assert sorted(codes) == [0, 2, 2]
    assert directory.read().archive.read_text() == str(codes.index(0)) == directory.read().build_context
    assert len(names_in(directory)) == 2


DAMAGED = [
    ("", "is damaged"),
    ("{", "is damaged"),
    ("[]", "is damaged"),
    ('"text"', "is damaged"),
    ('{"version": 1}', "is damaged"),
    ('{"version": 1, "spec": {}, "scripts": [], "build_context": ""}', "is damaged"),
    ('{"version": 2, "spec": {}}', "has version 2"),
    ('{"version": "x"}', "has version 'x'"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_what_cannot_be_read_is_said(directory: StateDirectory, content: str, message: str) -> None:
    directory.path.mkdir()
    (directory.path / "state.json").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        directory.read()
    assert "-force" in caught.value.hint
    begin(directory, force=True)
    directory.read()


def test_an_archive_that_is_gone_is_said(directory: StateDirectory) -> None:
    begin(directory).unlink()
    with pytest.raises(UsageError, match="is gone"):
        directory.read()


def test_the_state_can_be_mounted_elsewhere(directory: StateDirectory, tmp_path: Path) -> None:
    begin(directory)
    moved = StateDirectory(directory.path.rename(tmp_path / "elsewhere"))
    assert moved.read().archive.read_bytes() == b"archive"


NAMED = [
    (None, "/home/me/.cos-customizer-workdir"),
    ("", "/home/me/.cos-customizer-workdir"),
    ("other", "/home/me/other"),
    ("a/../b", "/home/me/a/../b"),
    ("/workspace/state", "/workspace/state"),
]


@pytest.mark.parametrize(("workdir", "expected"), NAMED)
def test_the_directory_is_below_the_home(monkeypatch: pytest.MonkeyPatch, workdir: str | None, expected: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert StateDirectory.named(workdir).path == Path(expected)


def test_without_a_home_an_absolute_path_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    with pytest.raises(UsageError, match="HOME is not set"):
        StateDirectory.named(None)
    assert StateDirectory.named("/x").path == Path("/x")


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot keep the local state") as caught:
        begin(StateDirectory(tmp_path / "file" / "state"))
    assert "-local-state-workdir" in caught.value.hint


def test_the_format_is_versioned(directory: StateDirectory) -> None:
    begin(directory)
    assert json.loads((directory.path / "state.json").read_text())["version"] == 1


def test_while_a_build_is_made_of_a_state_no_step_and_no_other_build_is(directory: StateDirectory) -> None:
    begin(directory)
    with directory.finishing() as state:
        with pytest.raises(UsageError, match="finish-image-build is at work on the local state"):
            directory.add_step({"type": "run-script", "script": "preload.sh"})
        with pytest.raises(UsageError, match="finish-image-build is at work"), directory.finishing():
            pass
        assert directory.read().spec == state.spec
    assert directory.add_step({"type": "run-script", "script": "preload.sh"}) == 1
    with directory.finishing():
        pass
