"""`emulator reset`, `save` and `load`: the whole state of a running emulator, by its user's hand."""

import os
from pathlib import Path

import pytest
from support.command_line import run
from support.compute_clients import Compute

from cos_customizer.emulator.server import Emulator


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def test_a_state_is_saved_and_loaded(compute: Compute, tmp_path: Path) -> None:
    file = tmp_path / "state"
    compute.image("kept")
    saved = run("emulator", "save", str(file))
    assert (saved.code, saved.out) == (0, "")
    assert saved.err == f"emulator: {file} has the state, 0.0 MB\n"
    assert os.stat(file).st_mode & 0o777 == 0o600  # noqa: PTH116 (the mode alone)
    assert run("emulator", "reset").err == "emulator: reset\n"
    assert compute.names("images") == []
    loaded = run("emulator", "load", str(file))
    assert (loaded.code, loaded.out, loaded.err) == (0, "", f"emulator: {file} is loaded\n")
    assert compute.names("images") == ["kept"]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_what_cannot_be_saved_leaves_the_file_as_it_was(compute: Compute, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("before")
    compute.create("vm")
    refused = run("emulator", "save", str(tmp_path / "state"))
    assert refused.code == 1
    assert "a VM runs: projects/my-project/zones/us-west1-b/instances/vm (stop or delete it first)" in refused.err
    assert [path.name for path in tmp_path.glob("*state*")] == ["state"]
    assert (tmp_path / "state").read_text() == "before"
    for target, words in ((tmp_path, "is no file"), (tmp_path / "no" / "state", "cannot write")):
        refused = run("emulator", "save", str(target))
        assert (refused.code, words in refused.err, "Traceback" in refused.err) == (1, True, False)


def test_a_file_of_another_kind_is_told(compute: Compute, tmp_path: Path) -> None:
    compute.image("kept")
    (tmp_path / "odd").write_bytes(os.urandom(3 << 20))
    refused = run("emulator", "load", str(tmp_path / "odd"))
    assert refused.code == 1
    assert "this is no state that `emulator save` has written" in refused.err
    missing = run("emulator", "load", str(tmp_path / "missing"))
    assert (missing.code, "there is no file" in missing.err) == (1, True)
    assert compute.names("images") == ["kept"]


def test_without_an_emulator_they_say_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    for arguments in (("reset",), ("save", str(tmp_path / "new")), ("load", str(tmp_path / "state"))):
        refused = run("emulator", *arguments, f"-state-dir={tmp_path}")
        assert (refused.code, "emulator start" in refused.err) == (1, True), arguments
