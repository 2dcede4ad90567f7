"""The program `cos-customizer`: its commands, and what its exit codes say."""

import signal
import sys
import time
from collections.abc import Sequence

import click

from cos_customizer.cli import commands, completion, reference
from cos_customizer.cli.command import LOCAL, SECTIONS
from cos_customizer.cli.command_directory import CommandDirectory
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import SwitchFlag
from cos_customizer.cli.go_flags import GoCommand
from cos_customizer.cli.messages import report
from cos_customizer.cli.missing import MISSING_COMMANDS
from cos_customizer.cli.streams import secure_standard_streams
from cos_customizer.cli.workdir import WORKDIR_FLAG
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.flows.interrupts import SIGNALS, EndOnce, ignore_signals
from cos_customizer.gcp.endpoints import endpoint_of_compute

NAME = "cos-customizer"

_EMULATOR = "emulator"
_EMULATOR_HELP = "Run Compute Engine, Cloud Storage and Cloud Logging on this machine."


class Refusal(GoCommand):
    """A command that can only say why it does nothing.

    Attributes:
        error: what it says.
    """

    def __init__(self, name: str, error: CustomizerError, text: str) -> None:
        super().__init__(name, help=text, short_help=text, hidden=True, add_help_option=False)
        self.error = error

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: ARG002
        """Refuse, whatever the arguments."""
        if not ctx.resilient_parsing:
            raise self.error
        return []


class Program(CommandDirectory):
    """The root group. The emulator's commands need packages of their own: they are a package, and not listed here."""

    package = commands.__name__

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands, in the order of the help."""
        return [name for section in SECTIONS for name, _ in self._summaries(section)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name, or None."""
        if cmd_name in MISSING_COMMANDS:
            why = MISSING_COMMANDS[cmd_name]
            error = UsageError(f"{cmd_name} is not there yet", f"{why} Nothing was done.")
            return Refusal(cmd_name, error, f"Not there yet. {why}")
        if cmd_name == _EMULATOR:
            return _emulator()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            below = {name: f"{_EMULATOR} {name}" for name in _names_below(_emulator(), ctx)}
            raise reference.no_such_command(args[0], [*self.list_commands(ctx), *MISSING_COMMANDS], below)
        return super().resolve_command(ctx, args)

    def commands_in(self, section: str) -> list[GoCommand]:
        """The commands of a section, in their order, as far as they are light."""
        found = [loaded for name in self.modules() if (loaded := self.load(name)).section == section]
        return sorted(found, key=lambda each: each.rank)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Show the commands in sections."""
        for section in SECTIONS:
            with formatter.section(section):
                formatter.write_dl([*self._summaries(section)])
        with formatter.section("Not there yet"):
            formatter.write_text(", ".join(MISSING_COMMANDS))

    def _summaries(self, section: str) -> list[tuple[str, str]]:
        """The names and summaries of a section's commands."""
        summaries = [(each.name or "", each.short_help or "") for each in self.commands_in(section)]
        return [*summaries, (_EMULATOR, _EMULATOR_HELP)] if section == LOCAL else summaries


def _names_below(command: click.Command, ctx: click.Context) -> list[str]:
    return command.list_commands(ctx) if isinstance(command, click.Group) else []


def _emulator() -> click.Command:
    try:
        from cos_customizer.cli.commands.emulator import emulator
    except ModuleNotFoundError as error:
        if str(error.name).startswith("cos_customizer"):
            raise
        missing = CustomizerError(
            f"the emulator needs the Python package {error.name}, which is not installed",
            "pip install 'cos-customizer[emulator]'.",
        )
        return Refusal(_EMULATOR, missing, _EMULATOR_HELP)
    return emulator


@click.group(
    "cos-customizer",
    cls=Program,
    params=[
        WORKDIR_FLAG,
        Flag(
            "compute-endpoint",
            "Address of Compute Engine's API, in place of that of the environment variable "
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE, or of Google's own.",
            value="URL",
            example="-compute-endpoint=https://compute-build.p.googleapis.com/compute/v1/",
        ),
        SwitchFlag("version", "Print the version and exit."),
    ],
    invoke_without_command=True,
)
@click.pass_context
def program(ctx: click.Context, /, version: bool, compute_endpoint: str | None, **_values: str) -> None:
    """Customize Compute Engine images: boot a builder VM, run scripts on it, make an image of its disk.

    An image build is a sequence of build steps: start-image-build, any number of run-script, at most one install-gpu,
    finish-image-build. They pass on what they were given through files below the home directory, so that each may run
    in a container of its own, as in Cloud Build.

    Flags are written as -flag=value or -flag value. Exit codes: 0 done or already there, 1 failed or timed out, 2 wrong
    usage (the local state is kept), 129 hung up, 130 interrupted, 143 terminated.
    """
    if version:
        click.echo(reference.version())
        ctx.exit()
    if compute_endpoint:
        ctx.with_resource(endpoint_of_compute(compute_endpoint, "-compute-endpoint"))
    if ctx.invoked_subcommand is None:
        raise click.exceptions.NoArgsIsHelpError(ctx)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: what follows its name; by default what the process was started with.

    Returns:
        The exit code.
    """
    started = time.monotonic()
    end = EndOnce()  # a second signal must not cut short what the first one has begun
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    secure_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if completion.asked_for():
            completion.prepare()
            program.main(words, NAME)
        with program.make_context(NAME, words, obj=started) as context:
            result = program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except BaseException as error:
        ignore_signals()
        return report(error)
    return result if isinstance(result, int) else 0
