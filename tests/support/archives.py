"""Archives of disks, as Compute Engine takes them and as it does not."""

import subprocess
import tarfile
from pathlib import Path

from google.cloud.storage import Client

GIB = 1 << 30


def archive_of(
    directory: Path, name: str = "disk.raw", *, size: int = GIB, form: str = "oldgnu", more: str = ""
) -> Path:
    """A gzipped tar of one sparse disk that begins with some letters.

    Args:
        directory: where it is made, with the disk.
        name: of the file in it.
        size: of that file, in bytes.
        form: of the tar.
        more: name of one more file in it.
    """
    with (directory / name).open("wb") as disk:
        disk.write(b"begin"[:size])
        disk.truncate(size)
    if more:
        (directory / more).write_text("more")
    archive = directory / "image.tar.gz"
    names = [name, *([more] if more else [])]
    sparse = ["-S"] if form != "ustar" else []
    command = ["tar", f"--format={form}", *sparse, "-czf", str(archive), "-C", str(directory), *names]
    subprocess.run(command, check=True)
    return archive


def names_in(archive: Path) -> list[str]:
    """The names of an archive's files."""
    with tarfile.open(archive) as opened:
        return opened.getnames()


def put(archive: Path, bucket: str, name: str) -> None:
    """Make an archive an object of the Cloud Storage that the environment leads to."""
    Client.create_anonymous_client().bucket(bucket).blob(name).upload_from_filename(str(archive))
