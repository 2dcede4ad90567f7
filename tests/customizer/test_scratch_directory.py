"""Temporary directories of builds: they go, also those of a process that was killed, and nobody else's does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.scratch_directory import ScratchDirectory

HOLD = """
from cos_customizer.customizer.scratch_directory import ScratchDirectory
directory = ScratchDirectory()
(directory.path / "context.tar.gz").write_text("a secret")
print(directory.path, flush=True)
input()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_it_is_new_private_and_gone_afterwards(temporary: Path) -> None:
    with ScratchDirectory() as path:
        assert path.parent == temporary
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "file").touch()
    assert list(temporary.iterdir()) == []
    directory = ScratchDirectory()
    directory.remove()
    directory.remove()


def test_what_a_killed_process_has_left_goes_with_the_next_and_nothing_else(temporary: Path) -> None:
    kind = ScratchDirectory.PREFIX
    others = [f"{kind}x", f"{kind}abcdefgh-more", "somebody-abcdefgh", "cos-customizer-original"]
    for name in others:
        (temporary / name).mkdir(mode=0o700)
        os.utime(temporary / name, (0, 0))
    shared = temporary / f"{kind}examples"  # of somebody who calls it so: ours are private
    shared.mkdir()
    shared.chmod(0o755)
    os.utime(shared, (0, 0))
    young = temporary / f"{kind}abcdefgh"
    young.mkdir(mode=0o700)
    link = temporary / f"{kind}linklink"
    link.symlink_to(temporary / others[2])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        held = Path(holder.stdout.readline().strip())
        os.utime(held, (0, 0))
        ScratchDirectory().remove()
        assert (held / "context.tar.gz").exists()  # somebody is at work there
        holder.kill()
    ScratchDirectory().remove()
    assert sorted(temporary.iterdir()) == sorted([*(temporary / name for name in others), shared, young, link])


def test_where_there_is_no_room_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(CustomizerError, match="cannot make a temporary directory: No such file") as caught:
        ScratchDirectory()
    assert "TMPDIR" in caught.value.hint
