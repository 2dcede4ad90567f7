"""`emulator load`: a state that was saved, in the place of the present one."""

from pathlib import Path

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, environment_of, report
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.customizer.errors import CustomizerError, NotFoundError


@command("load", [USED_STATE_DIR, click.Argument(["file"], type=click.Path())], rank=15, kind=ArgumentFirst)
def load(file: str, state_dir: str | None) -> None:
    """Take up the state in FILE, which `emulator save` has written, while it runs.

    What there was is gone, VMs that ran among it. If FILE is damaged or of another kind, nothing changes.
    """
    from cos_customizer.cli.commands.emulator._own_api import STATE, ask

    path = Path(file)
    if not path.is_file():
        raise NotFoundError(f"there is no file {file!r}")
    environment = environment_of(state_dir)
    try:
        with path.open("rb") as source:
            ask(environment, "PUT", STATE, source)
    except OSError as error:
        raise CustomizerError(f"cannot read {file!r}: {error.strerror}") from None
    report(f"{file} is loaded")
