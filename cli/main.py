"""The program `cos-customizer`: its commands, and what its exit codes say."""

import io
import signal
import sys
import time
from collections.abc import Sequence

import click

from cos_customizer.cli import completion, reference
from cos_customizer.cli.commands.build import build
from cos_customizer.cli.commands.expire_images import expire_images
from cos_customizer.cli.commands.finish_image_build import finish_image_build
from cos_customizer.cli.commands.install_gpu import install_gpu
from cos_customizer.cli.commands.kernel_args import kernel_args
from cos_customizer.cli.commands.rebuild_images import rebuild_images
from cos_customizer.cli.commands.rollback import rollback
from cos_customizer.cli.commands.run_script import run_script
from cos_customizer.cli.commands.schema import schema
from cos_customizer.cli.commands.start_image_build import start_image_build
from cos_customizer.cli.commands.sweep import sweep
from cos_customizer.cli.go_flags import Flag, GoGroup
from cos_customizer.cli.messages import report
from cos_customizer.cli.workdir import WORKDIR_FLAG
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.flows.interrupts import SIGNALS, EndOnce, ignore_signals

NOT_YET = {
    "seal-oem": "The OEM partition cannot be sealed yet.",
    "disable-auto-update": "Automatic updates are disabled on the builder VM only, by its metadata.",
    "anthos-installer-install": "The Anthos installer is not supported yet; a run-script step can install it.",
}
"""Build steps of the original and its later releases that have no counterpart here so far."""

NAME = "cos-customizer"

_SECTIONS = {
    "Build steps": ("start-image-build", "run-script", "install-gpu", "kernel-args", "finish-image-build"),
    "Recipes": ("build", "schema"),
    "Image families and leftovers": ("rebuild-images", "expire-images", "rollback", "sweep"),
    "Without a Google account": ("emulator",),
    "About the program": ("help", "commands", "flags", "version", "completion"),
}
_EMULATOR_HELP = "Run Compute Engine, Cloud Storage and Cloud Logging on this machine."


class Refusal(click.Command):
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


class Program(GoGroup):
    """The root group; what is heavy is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands, in the order of the help."""
        return [name for names in _SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name, or None."""
        if cmd_name in NOT_YET:
            error = UsageError(f"{cmd_name} is not there yet", f"{NOT_YET[cmd_name]} Nothing was done.")
            return Refusal(cmd_name, error, f"Not there yet. {NOT_YET[cmd_name]}")
        if cmd_name == "emulator":
            return _emulator()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise reference.no_such_command(args[0], [*self.list_commands(ctx), *NOT_YET])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Show the commands in sections."""
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, _EMULATOR_HELP if name == "emulator" else self.commands[name].short_help or "")
                        for name in names
                    ]
                )
        with formatter.section("Not there yet"):
            formatter.write_text(", ".join(NOT_YET))


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
        return Refusal("emulator", missing, _EMULATOR_HELP)
    return emulator


@click.group(
    "cos-customizer",
    cls=Program,
    params=[WORKDIR_FLAG, Flag("version", "Print the version and exit.", kind="bool")],
    invoke_without_command=True,
)
@click.pass_context
def program(ctx: click.Context, /, version: bool, **_values: str) -> None:
    """Customize Compute Engine images: boot a builder VM, run scripts on it, make an image of its disk.

    An image build is a sequence of build steps: start-image-build, any number of run-script, at most one install-gpu,
    finish-image-build. They pass on what they were told through files below the home directory, so that each may run in
    a container of its own, as in Cloud Build.

    Flags are written as -flag=value or -flag value. Exit codes: 0 done or already there, 1 failed or timed out, 2 wrong
    usage (the local state is kept), 130 interrupted, 143 terminated.
    """
    if version:
        click.echo(reference.version())
        ctx.exit()
    if ctx.invoked_subcommand is None:
        raise UsageError("no command was given", "`cos-customizer help` explains them.")


for _command in (
    start_image_build,
    run_script,
    install_gpu,
    kernel_args,
    finish_image_build,
    build,
    schema,
    rebuild_images,
    expire_images,
    rollback,
    sweep,
    reference.show_help,
    reference.list_commands,
    reference.list_flags,
    reference.show_version,
    completion.completion,
):
    program.add_command(_command)


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
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
