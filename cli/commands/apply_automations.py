"""`apply-automations`: make a Prefect server's automations what files say."""

import click

from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag_kinds import ListFlag, SwitchFlag
from cos_customizer.cli.tables import table
from cos_customizer.customizer.errors import UsageError

FLAGS = (
    ListFlag(
        "file",
        "Files of automations, or patterns such as automations/*.yaml. Required.",
        value="FILE,…",
        names_file=True,
        example="-file='automations/*.yaml'",
    ),
    SwitchFlag("dry-run", "Change nothing: only print what would become of each automation."),
)


@command("apply-automations", FLAGS, section=FAMILIES, rank=6)
def apply_automations(file: list[str], dry_run: bool) -> int:
    """Make the configured Prefect server's automations what files say.

    The files have the form of prefect automation create, but that an action names its deployment (FLOW/NAME), its
    block (TYPE/NAME) or its work pool, whose ids differ from server to server. An automation that is there already, by
    its name, is changed where it differs. One that cannot be applied fails alone; the exit code is then 1.
    """
    from cos_customizer.cli.prefect_check import check_api, settings_checked
    from cos_customizer.flows.local_server import configured_api, quiet_prefect
    from cos_customizer.flows.prefect_errors import translated
    from cos_customizer.quick_imports import uncollected

    if configured_api() is None:
        raise UsageError("no Prefect server is configured", "set PREFECT_API_URL to the one that has the automations.")
    quiet_prefect()
    with uncollected(), settings_checked():
        from cos_customizer.flows import automations
    if not file:
        raise UsageError("-file: no automation was given", "give files, or patterns such as 'automations/*.yaml'.")
    check_api()
    with translated():
        applied = automations.apply_automations(file, dry_run)
    names = ("outcome", "automation", "file", "why")
    click.echo(table(names, [[getattr(row, name) for name in names] for row in applied]))
    automations.raise_failures(applied)
    return 0
