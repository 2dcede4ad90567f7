"""Groups whose commands nothing lists: each is in the module of its name in the group's package."""

import importlib
from pathlib import Path

import click

from cos_customizer.cli import reference
from cos_customizer.cli.go_flags import GoCommand, GoGroup
from cos_customizer.quick_imports import uncollected


class CommandDirectory(GoGroup):
    """A group of the commands in a package, each imported when it is needed.

    Attributes:
        package: the package's name; its modules with a leading underscore hold what its commands share.
    """

    package = ""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands, in the order of the help."""
        return [each.name or "" for each in sorted(map(self.load, self.modules()), key=lambda each: each.rank)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """A command by name, or None."""
        return self.load(cmd_name) if cmd_name in self.modules() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise reference.no_such_command(args[0], self.known_names(ctx))
        return super().resolve_command(ctx, args)

    def known_names(self, ctx: click.Context) -> list[str]:
        """The names that a misspelled one may have meant."""
        return self.list_commands(ctx)

    def modules(self) -> list[str]:
        """The names of the commands that can be imported for being listed, in no particular order."""
        directories = importlib.import_module(self.package).__path__
        files = (path for directory in directories for path in Path(directory).glob("[a-z]*.py"))
        return [path.stem.replace("_", "-") for path in files]

    def load(self, name: str) -> GoCommand:
        """Import a command.

        Args:
            name: one of `modules`.
        """
        with uncollected():
            module = importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
        return next(each for each in vars(module).values() if isinstance(each, GoCommand) and each.name == name)
