"""`emulator cat`: an object of Cloud Storage on standard output."""

import sys

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, LocalCloud
from cos_customizer.cli.go_flags import ArgumentFirst, see_help
from cos_customizer.cli.streams import write_bytes
from cos_customizer.customizer.errors import UsageError


@command("cat", [USED_STATE_DIR, click.Argument(["url"])], rank=12, kind=ArgumentFirst)
def cat(url: str, state_dir: str | None) -> None:
    """Print an object of Cloud Storage: gs://BUCKET/OBJECT.

    Its bytes go to standard output as they are: a build's serial log, for example.
    """
    bucket, _, name = url.removeprefix("gs://").partition("/")
    if not url.startswith("gs://") or not bucket or not name:
        raise UsageError(f"{url!r} is not the address of an object: gs://BUCKET/OBJECT", see_help("emulator cat"))
    cloud = LocalCloud.of(state_dir)
    from cos_customizer.customizer.references import ObjectRef
    from cos_customizer.gcp import objects

    objects.show(cloud.clients, ObjectRef(bucket, name), lambda piece: write_bytes(sys.stdout, piece))
