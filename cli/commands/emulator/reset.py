"""`emulator reset`: all that it has is gone."""

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, environment_of, report


@command("reset", [USED_STATE_DIR], rank=13)
def reset(state_dir: str | None) -> None:
    """Remove all that it has, while it runs.

    VMs are stopped, and everything is gone: images, disks, instances, buckets, images of containers, secrets, log
    entries, faults, scripts, and the log of requests. What a seed file has is put in again. The clock stays.
    """
    from cos_customizer.cli.commands.emulator._own_api import ask

    ask(environment_of(state_dir), "POST", "/emulator/reset")
    report("reset")
