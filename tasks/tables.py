"""The table of what was removed and what was not: an artifact of the flow run, and lines of its log."""

from collections.abc import Sequence

from cos_customizer.customizer.families.removal import Removal, summary
from cos_customizer.customizer.reporting.events import Note
from cos_customizer.tasks.reporting import report, report_table


def tell_removals(removals: Sequence[Removal], key: str, where: str, description: str) -> None:
    """Log what becomes of things, those that are kept apart, and make a table of all.

    Args:
        removals: what was looked at.
        key: of the artifact; its versions are the runs of the flow.
        where: heading of what `Removal.where` says: `family`, say.
        description: of the artifact, before the counts.
    """
    for removal in removals:
        if removal.action != "keep":
            text = f"{removal.kind} {removal.where}/{removal.name}: {removal.reason}"
            report(Note(removal.action, text, "error" if removal.action == "failed" else "info"))
    report(Note("in all", summary(removals)))
    table = [
        {"action": each.action, "kind": each.kind, where: each.where, "name": each.name, "why": each.reason}
        for each in removals
    ]
    report_table(key, table, f"{description}: {summary(removals)}")
