"""The stand-in for Container-Optimized OS: a bootable disk image with COS's partitions and mounts, made of Debian 12.

COS itself is not available outside of Google Cloud. The recipe is in `stand_in/`: mmdebstrap makes a root file system,
in which `make_disk.sh` makes the disk; neither needs root, loop devices or mounts.
"""

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.host import die_with_parent, last_lines, require_packages

_RECIPE = Path(__file__).parent / "stand_in"
_SUITE = "bookworm"
_TOOLS = ("busybox-static", "grub-common", "grub-pc-bin", "libxxhash0", "mtools", "python3-xxhash")
_UNUSED_LIFE = 30 * 24 * 3600
_UNUSED = ("doc", "man", "info", "locale")


class StandIn:
    """The stand-in image in the cache, built when it is needed for the first time.

    Args:
        cache_dir: where it is kept, in a directory named for the recipe's hash.

    Attributes:
        key: hash of the recipe.
        disk: the disk (qcow2), once built; never to be written to.
        kernel: its kernel, for a boot without a disk.
        initrd: its initrd.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._cache = cache_dir
        self.key = _recipe_hash()
        self._directory = cache_dir / f"stand-in-{self.key}"
        self.disk = self._directory / "disk.qcow2"
        self.kernel = self._directory / "vmlinuz"
        self.initrd = self._directory / "initrd"

    def is_built(self) -> bool:
        """Return whether it is in the cache."""
        return self._directory.is_dir()

    def ensure(self, report: Callable[[str], None] = LOG.info) -> None:
        """Build it unless it is there, which takes about a minute and some 130 MB of downloads.

        Args:
            report: called with a sentence before something slow.

        Raises:
            EmulatorError: a program is missing, or the build failed.
        """
        if self.is_built():
            self._directory.touch()
            return
        require_packages()
        self._cache.mkdir(parents=True, exist_ok=True)
        with _locked(self._cache / "stand-in.lock"):
            if self.is_built():  # by the process that we waited for
                return
            for left in self._cache.glob("stand-in-*.partial"):  # of a build that was killed
                shutil.rmtree(left)
            self._forget_unused()
            began = time.monotonic()
            report("building the stand-in COS image (about a minute, once)")
            with tempfile.TemporaryDirectory(dir=self._cache, prefix="stand-in-", suffix=".partial") as work:
                made = Path(work) / "image"
                made.mkdir()
                _build(made, Path(work))
                made.rename(self._directory)
            report(f"stand-in COS image built in {time.monotonic() - began:.0f} s, kept in {self._directory}")

    def _forget_unused(self) -> None:
        """Remove stand-in images of other recipes that have not been used for long. Disks keep links of their own."""
        for other in self._cache.glob("stand-in-*"):
            if other.is_dir() and time.time() - other.stat().st_mtime > _UNUSED_LIFE:
                shutil.rmtree(other, ignore_errors=True)


def _recipe_hash() -> str:
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted(p for p in _RECIPE.rglob("*") if p.is_file())]:
        digest.update(f"{path.relative_to(_RECIPE.parent)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel drops it when this process dies
        yield


def _build(output: Path, work: Path) -> None:
    packages = (_RECIPE / "packages.txt").read_text().split()
    hooks = [
        'mkdir -p "$1/build/debs" "$1/build/stand_in"',
        f"sync-in {shlex.quote(str(_RECIPE))} /build/stand_in",
        # Not installed, only unpacked: the kernel (the package that the metapackage names) and what makes the disk.
        (
            'cd "$1/build/debs" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && '
            f"apt-get -q -o APT::Sandbox::User=root download {' '.join(_TOOLS)} "
            "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p')"
        ),
        'chroot "$1" bash /build/stand_in/make_disk.sh',
        'qemu-img convert -O qcow2 "$1/build/disk.raw" "$1/build/disk.qcow2"',
        *(f"download /build/{name} {shlex.quote(str(output / name))}" for name in ("disk.qcow2", "vmlinuz", "initrd")),
    ]
    command = [
        "mmdebstrap",
        "--variant=essential",
        "--architectures=amd64",
        "--format=null",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{directory}/*" for directory in _UNUSED),
        f"--include={','.join(packages)}",
        *(f"--customize-hook={hook}" for hook in hooks),
        _SUITE,
        "-",
    ]
    # Not every user's PATH has the administrators' programs.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    if os.geteuid() == 0:
        # mmdebstrap as root mounts things: with namespaces of its own, nothing is left of it when it is killed.
        death_signal, environment["TMPDIR"] = signal.SIGKILL, str(work)
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *command]
    else:
        death_signal = signal.SIGTERM  # it makes its own namespaces, and cleans up when it is terminated
    with subprocess.Popen(
        die_with_parent(command, death_signal),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        try:
            printed, _ = process.communicate()
        except BaseException:
            process.send_signal(death_signal)
            process.communicate()  # until no process writes below `work` any more
            raise
    LOG.debug("mmdebstrap: %s", printed)
    if process.returncode:
        errors = "\n".join(
            line for line in printed.splitlines() if line.startswith(("E:", "W:", "Err")) or "error" in line
        )
        raise EmulatorError(
            f"the stand-in image could not be built: {last_lines(errors or printed, 4)}",
            "it is made of Debian packages: is the package archive reachable from here?",
        )
