"""The table of what is deleted and what is kept, for the commands that delete."""

from collections.abc import Sequence

import click

from cos_customizer.cli.tables import table
from cos_customizer.customizer.families.removal import Removal, summary


def show_removals(removals: Sequence[Removal], where: str, dry_run: bool) -> None:
    """Print what becomes of things, or became of them, and why.

    Args:
        removals: what was looked at.
        where: heading of what `Removal.where` says: `family`, say.
        dry_run: whether nothing was deleted; the last line then says how to delete, if there is anything to delete.
    """
    if removals:
        rows = [(each.action, each.kind, each.where, each.name, each.reason) for each in removals]
        click.echo(table(("action", "kind", where, "name", "why"), rows))
    more = any(removal.action == "delete" for removal in removals)
    click.echo(f"{summary(removals)}{' (dry run: -dry-run=false deletes)' if dry_run and more else ''}")
