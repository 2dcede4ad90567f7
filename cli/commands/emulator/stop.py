"""`emulator stop`: stop it and all its machines."""

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import STATE_DIR, report, state_dir_of
from cos_customizer.emulator import background


@command("stop", [STATE_DIR], rank=2)
def stop(state_dir: str | None) -> None:
    """Stop it and all its machines.

    Images, disks, stopped instances, objects and log entries are kept.
    """
    report("stopped" if background.stop(state_dir_of(state_dir)) else "not running")
