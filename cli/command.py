"""How a command declares itself: its name, its flags, and where help lists it."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from cos_customizer.cli.go_flags import GoCommand

BUILD_STEPS = "Build steps"
RECIPES = "Recipes"
FAMILIES = "Image families and leftovers"
LOCAL = "Without a Google account"
ABOUT = "About the program"
SECTIONS = (BUILD_STEPS, RECIPES, FAMILIES, LOCAL, ABOUT)
"""Of the program's help, in their order. Commands of one section name each other's flags in their errors."""


def command(
    name: str,
    params: Sequence[click.Parameter] = (),
    *,
    rank: int,
    section: str = "",
    kind: type[GoCommand] = GoCommand,
) -> Callable[[Callable[..., Any]], GoCommand]:
    """Make a command of a function, whose docstring is its help, and the docstring's first line its summary.

    Args:
        name: of the command; its module is named so too, with underscores.
        params: its flags and arguments.
        rank: its place in its section, or in its group.
        section: one of `SECTIONS`; none for a command of a group.
        kind: how it reads its arguments.
    """

    def decorate(function: Callable[..., Any]) -> GoCommand:
        made = click.command(name, cls=kind, params=list(params))(function)
        made.section, made.rank = section, rank
        return made

    return decorate
