"""`make check-gcloud`: its files can be read, and nothing that goes wrong with a command passes for right."""

import sys
from pathlib import Path

import check_gcloud
import pytest
from check_gcloud import Command, Ended, problem_of, read_commands
from support.paths import ROOT

FILES = sorted((ROOT / "make/gcloud").glob("*.txt"))
WORKS = Command("gcloud x", "works", "^name: x$")
REFUSED = Command("gcloud x", "refused", "was not found")
MISSING = Command("gcloud x", "missing", "has no POST .*networks")


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_command_says_what_is_to_come_of_it(file: Path) -> None:
    commands = [each for each in read_commands(file.read_text()) if each.outcome]
    assert commands
    assert all("gcloud " in each.line for each in commands)


ENDS = [
    (WORKS, Ended(0, "id: 1\nname: x\n"), ""),
    (WORKS, Ended(0, ""), "does not show ^name: x$"),
    (WORKS, Ended(1, "name: x\n"), "fails with exit code 1"),
    (WORKS, Ended(None, "name: x\n"), "hangs: killed after 60 seconds"),
    (WORKS, Ended(0, "name: x\nERROR: gcloud crashed (KeyError): x"), "crashes: gcloud crashed"),
    (REFUSED, Ended(1, "ERROR: x was not found"), ""),
    (REFUSED, Ended(0, "Listed 0 items."), "succeeds, but should fail"),
    (REFUSED, Ended(1, "ERROR: HTTPError 404"), "does not show was not found"),
    (MISSING, Ended(1, "The local Compute Engine has no POST /x/networks"), ""),
    (MISSING, Ended(1, "Traceback (most recent call last):\n"), "crashes: Traceback (most recent call last)"),
    (Command("mkdir x"), Ended(0, ""), ""),
    (Command("mkdir x"), Ended(1, ""), "fails with exit code 1"),
]


@pytest.mark.parametrize(("command", "ended", "problem"), ENDS)
def test_what_came_of_a_command_is_judged(command: Command, ended: Ended, problem: str) -> None:
    assert problem_of(command, ended) == problem


WRONG = [
    ("gcloud x\n", "line 1 is no command"),
    ("$ gcloud x\n", "nothing says what is to come of 'gcloud x'"),
    ("$ gcloud x\n$ gcloud y\nworks: y\n", "line 2 does not say what is to come of 'gcloud x'"),
    ("$ gcloud x\nworks:\n", "line 2 does not say"),
    ("$ gcloud x\nfails: y\n", "line 2 does not say"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_file_that_cannot_be_read_says_where(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_commands(text)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_gcloud, "_SECONDS", 0.5)
    ended = check_gcloud._run("sleep 1000 & sleep 1000", tmp_path, {"PATH": "/usr/bin:/bin"})
    assert ended.code is None


def test_without_gcloud_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert check_gcloud.main() == 2
    assert "gcloud is not installed" in capsys.readouterr().err
