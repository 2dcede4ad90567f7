"""`watch-sources`: what the sources of recipes give, told to a Prefect server; a dry run needs none."""

from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from support.command_line import run

from cos_customizer.emulator.server import Emulator

RECIPE = {
    "source": {"project": "cos-cloud", "family": "cos-125-lts"},
    "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
    "builder": {"project": "my-project", "zones": ["us-west1-b"]},
    "output": {"project": "my-project", "suffix": "-app", "family": "app"},
}


@pytest.fixture(autouse=True)
def recipe(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "none"))
    Path("app.yaml").write_text(yaml.safe_dump(RECIPE))


def test_a_dry_run_prints_what_the_sources_give_and_needs_no_server(emulator: Emulator) -> None:
    ran = run("watch-sources", "-recipe=*.yaml", "-dry-run")
    assert (ran.code, ran.err) == (0, "")
    heads, row = ran.out.splitlines()
    assert heads.split() == ["source", "image", "recipes", "why"]
    assert row.split() == ["cos-cloud", "family", "cos-125-lts", "cos-125-19216-532-62", "app.yaml"]
    assert emulator.calls.count() == 1


def test_without_a_server_there_is_nobody_to_tell(emulator: Emulator) -> None:
    ran = run("watch-sources", "-recipe=*.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "no Prefect server is configured" in ran.err
    assert emulator.calls.count() == 0


@pytest.mark.usefixtures("prefect_server")
def test_a_server_remembers_what_was_seen() -> None:
    memory = f"-memory=sources-{uuid4()}"
    first = run("watch-sources", "-recipe=*.yaml", memory)
    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines()[-1].startswith("seen-first")
    assert run("watch-sources", "-recipe=*.yaml", memory).out.splitlines()[-1].startswith("unchanged")


def test_a_memory_that_has_no_name_of_a_variable_is_told(emulator: Emulator) -> None:
    ran = run("watch-sources", "-recipe=*.yaml", "-memory=my variable")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("cos-customizer: -memory: 'my variable' is no name of a Prefect variable")
    assert emulator.calls.count() == 0
