"""`-enable-cleanup`: what other builds have left behind is deleted before one begins, as the original does it."""

import time
from collections.abc import Collection

import click

from cos_customizer.cli.messages import complain
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect


def clean_up(project: str, zones: Collection[str]) -> None:
    """Delete leftover VMs and disks of builds in some zones; whatever goes wrong is said, and no reason not to build.

    Args:
        project: whose.
        zones: their zones.
    """
    now = time.time()
    try:
        clients = connect()
        decided = sweep.plan_machines(clients, project, zones, now)
        removals = sweep.apply(clients, project, decided, now)
    except CustomizerError as error:
        complain(f"-enable-cleanup: {error.message}", hint=error.hint)
        return
    for removal in removals:
        if removal.action in ("deleted", "failed"):
            click.echo(f"clean-up      {removal.kind} {removal.name} in {removal.where} {removal.action}")
