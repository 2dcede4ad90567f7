"""`completion`: print what teaches a shell to complete commands and flags."""

import click

from cos_customizer.cli.command import ABOUT, command
from cos_customizer.cli.completion import VARIABLE, prepare


@command(
    "completion",
    [click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
    section=ABOUT,
    rank=5,
)
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script of a shell: bash, zsh or fish.

    For bash, add `eval "$(cos-customizer completion bash)"` to ~/.bashrc; for zsh the same with zsh to ~/.zshrc; for
    fish, write the output to ~/.config/fish/completions/cos-customizer.fish.
    """
    from click.shell_completion import get_completion_class

    prepare()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "cos-customizer", VARIABLE).source())
