"""`emulator`: the local Compute Engine, and what one does with it. Its commands are the modules of this package."""

import click

from cos_customizer.cli.command_directory import CommandDirectory
from cos_customizer.emulator import background  # noqa: F401 - a package that it needs is missed here, by the whole group


class _Commands(CommandDirectory):
    package = __name__


@click.group("emulator", cls=_Commands, short_help="Run a local Compute Engine and what builds need beside it.")
def emulator() -> None:
    """Run Compute Engine, Cloud Storage, Cloud Logging and Secret Manager on this machine.

    `emulator start` prints the environment variables that point cos-customizer, gcloud and Google's client libraries
    to it: eval "$(cos-customizer emulator start)". Nothing listens beyond 127.0.0.1 unless
    -host says so, and no Google account is needed.
    """
