"""`watch-sources`: tell a Prefect server of new source images."""

import time
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.checks import checked
from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import RECIPES_FLAG, SwitchFlag
from cos_customizer.cli.tables import table
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.sources import TIME_LIMIT, check_memory, raise_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cos_customizer.customizer.families.sources import SourceLook

FLAGS = (
    RECIPES_FLAG,
    Flag(
        "memory",
        "Name of the Prefect variable that remembers what was seen. By default cos_customizer_sources.",
        value="VARIABLE",
        example="-memory=web_sources",
    ),
    SwitchFlag("dry-run", "Tell and remember nothing: only print what the sources give."),
    timeout_flag(TIME_LIMIT),
)

_COLUMNS = ("outcome", "source", "image", "recipes", "why")


@command("watch-sources", FLAGS, section=FAMILIES, rank=5)
def watch_sources(recipe: list[str], memory: str | None, dry_run: bool, timeout: str) -> int:
    """Tell the configured Prefect server of new source images.

    Looked at are the families and milestones that recipes start from, each once. An image that is new since the last
    time is announced by the event cos-customizer.source.renewed, by which automations start a rebuild. The first time
    that a family or milestone is seen, its image is only remembered.
    """
    from cos_customizer.flows.rebuild_planning import recipe_files

    files = recipe_files(recipe)
    given = {"memory": checked("memory", [memory], check_memory)[0]} if memory else {}
    limit = within(timeout, TIME_LIMIT)
    if dry_run:
        from cos_customizer.gcp.clients import connect
        from cos_customizer.gcp.sources import look_at_sources

        with limit:
            looks = look_at_sources(connect(), files, {})
        return _show(looks.rows, _COLUMNS[1:])  # without what was seen before there is no outcome
    from cos_customizer.cli.prefect_api import prefect_at_hand
    from cos_customizer.cli.progress import show_progress
    from cos_customizer.flows.local_server import configured_api

    if configured_api() is None:
        raise UsageError("no Prefect server is configured", "set PREFECT_API_URL: it is who is told, and remembers.")
    with limit, show_progress(time.monotonic()), prefect_at_hand(_load_flow) as flow:
        rows = flow(list(files), timeout=timeout, **given)
    return _show(rows)


def _load_flow() -> "Callable[..., Sequence[SourceLook]]":
    from cos_customizer.flows.watch_sources import watch_sources

    return watch_sources


def _show(rows: "Sequence[SourceLook]", names: "Sequence[str]" = _COLUMNS) -> int:
    """Print the table; raises an error if something could not be looked at."""
    texts = [{**vars(row), "recipes": ", ".join(row.recipes)} for row in rows]
    click.echo(table(names, [[text[name] for name in names] for text in texts]))
    raise_failures(rows)
    return 0
