"""`emulator env`: print its environment again."""

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import STATE_DIR, print_environment, running_on


@command("env", [STATE_DIR], rank=4)
def env(state_dir: str | None) -> None:
    """Print its environment again.

    That is the environment variables that point clients to the running emulator.
    """
    print_environment(running_on(state_dir).environment)
