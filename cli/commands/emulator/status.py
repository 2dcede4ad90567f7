"""`emulator status`: say whether it runs, and where."""

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import STATE_DIR, running_on


@command("status", [STATE_DIR], rank=3)
def status(state_dir: str | None) -> None:
    """Say whether it runs, and where.

    Exit code 1 if it does not.
    """
    running = running_on(state_dir)
    click.echo(f"running, process {running.pid}, {running.machines} machines")
    click.echo(f"Compute Engine  {running.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE']}")
    click.echo(f"Cloud Storage   {running.environment['STORAGE_EMULATOR_HOST']}")
    click.echo(f"Cloud Logging   {running.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING']}")
    click.echo(f"Secret Manager  {running.environment.get('CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER', '-')}")
    click.echo(f"Cloud KMS       {running.environment.get('CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS', '-')}")
    click.echo(f"registry        127.0.0.1:{running.registry_port} (container images)")
    click.echo(f"its own API     {running.control}")
    click.echo(f"in the browser  http://127.0.0.1:{running.port}/ui/")
    click.echo(f"log             {running.log}")
