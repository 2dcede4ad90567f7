"""The project's own packages, built from the working tree as it stands."""

import subprocess
import sys
import tarfile
from pathlib import Path

from support.paths import ROOT


def tracked_files() -> list[str]:
    """The files that a commit of everything would have."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return [name for name in names if name and ((ROOT / name).is_symlink() or (ROOT / name).is_file())]


def build_wheel(directory: Path) -> Path:
    """Build the source archive, and the wheel from what is in that, as whoever installs it from there does.

    Args:
        directory: for both; empty.
    """
    tree = directory / "tree"
    for name in tracked_files():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (tree / name).symlink_to((ROOT / name).readlink())
        else:
            (tree / name).write_bytes((ROOT / name).read_bytes())
    archive = _build("sdist", tree, directory)
    with tarfile.open(archive) as tar:
        tar.extractall(directory / "unpacked", filter="data")
    (source,) = (directory / "unpacked").iterdir()
    return _build("wheel", source, directory)


def _build(kind: str, tree: Path, into: Path) -> Path:
    code = f"import sys; from setuptools.build_meta import build_{kind} as build; print(build(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(into)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]
