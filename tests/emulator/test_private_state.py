"""What the emulator keeps is its user's alone, what it has not made it leaves alone, what was left is collected."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from google.cloud.storage import Client
from support.compute_clients import Compute
from support.container_images import docker_archive

from cos_customizer.emulator import background
from cos_customizer.emulator.background import Options, find, start, stop
from cos_customizer.emulator.files import make_private
from cos_customizer.emulator.registry.push import import_file
from cos_customizer.emulator.server import Emulator


def open_to_others(directory: Path) -> list[str]:
    """What below a directory, and itself, anybody but its owner could read, were all directories open."""
    every = [directory, *directory.rglob("*")]
    return [str(path) for path in every if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.slow
def test_all_that_a_running_emulator_keeps_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, cache = tmp_path / "state", tmp_path / "cache"
    with Emulator(state):  # by an earlier version, say
        pass
    cache.mkdir()
    (cache / "accelerator.json").write_text("{}")
    for path in (state, cache, *state.rglob("*"), *cache.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    running = start(Options(str(state), str(cache), "scripted"), lambda _: None)
    try:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        Client.create_anonymous_client().bucket("my-project_cloudbuild").blob("a/b").upload_from_string("secret")

        class There:
            port = running.port

        import_file(running.registry_port, docker_archive(tmp_path / "image", "a:1"))
        compute = Compute(There())  # type: ignore[arg-type]
        compute.create()
        compute.image("i")
        assert open_to_others(state) == open_to_others(cache) == []
        assert (state / "compute.sqlite-wal").exists()
    finally:
        stop(state)
    assert open_to_others(state) == []


def test_a_directory_of_other_things_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "x").write_text("x")
    modes = {tmp_path: 0o755, tmp_path / "theirs": 0o644, tmp_path / "storage": 0o755, tmp_path / "storage/x": 0o644}
    for path, mode in modes.items():
        path.chmod(mode)
    make_private(tmp_path, background.STATE_FILES)
    assert [stat.S_IMODE(path.stat().st_mode) for path in modes] == [0o755, 0o644, 0o700, 0o600]


@pytest.mark.parametrize("content", ['{"mine": true}', "not JSON", "[]", "", '{"pid": "x"}'])
def test_a_file_of_somebody_else_stays(tmp_path: Path, content: str) -> None:
    file = tmp_path / "service.json"
    file.write_text(content)
    assert find(tmp_path) is None
    assert stop(tmp_path) is False
    assert file.read_text() == content
    script = (
        "import sys; from cos_customizer.emulator.background import *\n"
        "try: run(Options(sys.argv[1], sys.argv[1], 'scripted'), print, print)\n"
        "except EmulatorError as error: sys.exit(f'{error}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, "is not the emulator's" in done.stderr) == (1, True), done.stderr
    assert file.read_text() == content


def test_the_traces_of_a_dead_emulator_go(tmp_path: Path) -> None:
    gone = background.RunningEmulator(os.getpid(), 1, "scripted", 1, 2, "", {}, "")
    (tmp_path / "service.json").write_text(json.dumps(asdict(gone)))
    assert stop(tmp_path) is False
    assert not (tmp_path / "service.json").exists()


def test_what_a_killed_storage_has_left_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for round_ in range(2):
        with Emulator(tmp_path) as emulator:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.environment()["STORAGE_EMULATOR_HOST"])
            bucket = Client.create_anonymous_client().bucket("my-project_cloudbuild")
            if round_ == 0:
                bucket.blob("kept").upload_from_string("text")
            assert bucket.blob("kept").download_as_bytes() == b"text"
        if round_ == 0:
            before = {path for path in (tmp_path / "storage").rglob("*") if path.is_file()}
            for name in ("contents/orphan", "drafts/part", "drafts/upload.1.sum"):
                (tmp_path / "storage" / name).write_text("left")
    assert {path for path in (tmp_path / "storage").rglob("*") if path.is_file()} == before
