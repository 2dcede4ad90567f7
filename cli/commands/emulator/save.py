"""`emulator save`: its whole state, in a file."""

import os
from pathlib import Path

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, environment_of, report
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.customizer.errors import CustomizerError


@command("save", [USED_STATE_DIR, click.Argument(["file"], type=click.Path())], rank=14, kind=ArgumentFirst)
def save(file: str, state_dir: str | None) -> None:
    """Write its whole state to FILE, while it runs.

    That is resources, the disks behind them, objects, images of containers, secrets with their values, and log
    entries; `emulator load` takes it up again, here or elsewhere. VMs have to be stopped. Only you can read FILE.
    """
    from cos_customizer.cli.commands.emulator._own_api import STATE, ask
    from cos_customizer.emulator.files import replacing

    path = Path(file).absolute()
    environment = environment_of(state_dir)
    try:
        if path.exists() and not path.is_file():
            raise CustomizerError(f"{file!r} is no file")
        with replacing(path) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as output:  # noqa: PTH123 (a descriptor, not a path)
                ask(environment, "GET", STATE, to=output)
        size = path.stat().st_size
    except OSError as error:
        raise CustomizerError(f"cannot write {file!r}: {error.strerror}") from None
    report(f"{file} has the state, {size / 1e6:.1f} MB")
