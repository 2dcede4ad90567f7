"""Disks and images of virtual machines as qcow2 files."""

import json
import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.machines.backend import STAND_IN
from cos_customizer.emulator.machines.host import run
from cos_customizer.emulator.machines.raw_archive import MEMBER, Imported, Reader, pack, unpack
from cos_customizer.emulator.machines.stand_in_image import StandIn

_GIB = 1 << 30
_CLUSTER = "cluster_size=4096"
"""QEMU gives back whole clusters only. A persistent disk takes discards of 4 KiB, the block of most file systems: with
larger clusters a file that was deleted and discarded would still be found in an image of the disk."""


class DiskFiles:
    """Flat images, and disks that are overlays of them.

    A disk holds its image by a hard link of its own, so an image can be deleted while disks still stand on it.

    Args:
        directory: where they are kept.
        stand_in: the image of the key `STAND_IN`.
    """

    def __init__(self, directory: Path, stand_in: StandIn) -> None:
        self._images = directory / "images"
        self._disks = directory / "disks"
        self._stand_in = stand_in
        for path in (self._images, self._disks):
            path.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """Return the file of a disk.

        Raises:
            EmulatorError: there is no such disk.
        """
        if not (path := self._disks / f"{key}.qcow2").exists():
            raise EmulatorError(f"there is no disk {key} in {self._disks}")
        return path

    def create(self, key: str, image: str | None, size_gb: int) -> None:
        """Make a disk; it is never smaller than its image.

        Args:
            key: its name.
            image: name of an image, `STAND_IN`, or None for an empty disk.
            size_gb: its size in GiB.

        Raises:
            EmulatorError: there is no such image, or qemu-img failed.
        """
        disk, base = self._disks / f"{key}.qcow2", self._disks / f"{key}.base"
        if image is None:
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", _CLUSTER, str(disk), str(size_gb * _GIB))
            return
        source = self._kept_stand_in() if image == STAND_IN else self._images / f"{image}.qcow2"
        try:
            os.link(source, base)
        except FileNotFoundError:
            raise EmulatorError(f"there is no image {image} in {self._images}") from None
        size = max(size_gb * _GIB, json.loads(run("qemu-img", "info", "--output=json", str(base)))["virtual-size"])
        backing = ("-o", _CLUSTER, "-b", base.name, "-F", "qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), str(size))

    def resize(self, key: str, size_gb: int) -> None:
        """Make a disk larger that no machine runs from.

        Raises:
            EmulatorError: there is no such disk, or qemu-img failed.
        """
        run("qemu-img", "resize", "-q", str(self.path(key)), str(size_gb * _GIB))

    def delete(self, key: str) -> None:
        """Remove a disk, if there is one."""
        for suffix in ("qcow2", "base"):
            (self._disks / f"{key}.{suffix}").unlink(missing_ok=True)

    def create_image(self, key: str, disk: str, in_use: bool = False) -> int:
        """Make a flat image of a disk; returns the bytes that it takes.

        Args:
            key: of the image.
            disk: its key.
            in_use: a machine has the disk open, and is paused.

        Raises:
            EmulatorError: there is no such disk, or a running machine uses it.
        """
        image = self._images / f"{key}.qcow2"
        shared = ("--force-share",) if in_use else ()
        with replacing(image) as partial:
            run("qemu-img", "convert", *shared, "-O", "qcow2", str(self.path(disk)), str(partial))
        return image.stat().st_blocks * 512

    def import_image(self, key: str, archive: Reader) -> Imported:
        """See `Backend.import_image`."""
        with replacing(self._images / f"{key}.qcow2") as partial:
            raw = partial.with_suffix(".raw")
            try:
                found = unpack(archive, raw)
                run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(partial))
            finally:
                raw.unlink(missing_ok=True)
        return found

    def export_image(self, key: str, file: Path) -> None:
        """See `Backend.export_image`."""
        image = self._kept_stand_in() if key == STAND_IN else self._images / f"{key}.qcow2"
        if not image.exists():
            raise EmulatorError(f"there is no image {key} in {self._images}")
        with tempfile.TemporaryDirectory(dir=self._images, prefix=".export.") as directory:
            run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(image), str(Path(directory) / MEMBER))
            pack(Path(directory), file)

    def delete_image(self, key: str) -> None:
        """Remove an image, if there is one."""
        (self._images / f"{key}.qcow2").unlink(missing_ok=True)

    def keep_only(self, disks: Collection[str], images: Collection[str]) -> None:
        """Remove all files that belong to none of these disks and images: what a killed emulator has left."""
        kept = {f"{key}.{suffix}" for key in disks for suffix in ("qcow2", "base")}
        for path in self._disks.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
        kept = {f"stand-in.{self._stand_in.key}", *(f"{key}.qcow2" for key in images)}
        for path in self._images.iterdir():
            if path.is_dir():  # of an export
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in kept:
                path.unlink(missing_ok=True)

    def _kept_stand_in(self) -> Path:
        """Return the stand-in image, kept beside the images: a cache may be emptied, and links need one file system."""
        kept = self._images / f"stand-in.{self._stand_in.key}"
        if not kept.exists():
            self._stand_in.ensure()  # a cache may also have been emptied, or was never filled
            with replacing(kept) as partial:
                try:
                    os.link(self._stand_in.disk, partial)
                except OSError:
                    shutil.copyfile(self._stand_in.disk, partial)
        return kept
