"""The flag that all build steps share: where the local state is."""

import click

from cos_customizer.cli.flag_kinds import PathFlag
from cos_customizer.cli.state import DEFAULT_WORKDIR

WORKDIR_FLAG = PathFlag(
    "local-state-workdir",
    "Directory of the local state that build steps pass on, relative to the home directory unless absolute. All steps "
    "of a build take the same; builds side by side take different ones. May also stand before the command. "
    f"Default: {DEFAULT_WORKDIR}.",
    value="DIRECTORY",
    only="directory",
    example="-local-state-workdir=.cos-customizer-b",
)


def workdir_of(ctx: click.Context, after: str | None) -> str | None:
    """The directory that was asked for, after the command or before it.

    Args:
        ctx: the command's context.
        after: the flag's value after the command.
    """
    before: str | None = ctx.find_root().params.get(WORKDIR_FLAG.name or "")
    return after or before or None
