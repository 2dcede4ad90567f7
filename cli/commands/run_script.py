"""`run-script`: write down a script to run on the builder VM."""

from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.go_flags import Flag, GoCommand
from cos_customizer.cli.state import StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import CustomizerError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _ScriptInContext(click.ParamType):  # type: ignore[type-arg]
    """Completes to the files of the archived build context."""

    name = "script"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> "list[CompletionItem[str]]":
        from click.shell_completion import CompletionItem

        try:
            scripts = StateDirectory.named(workdir_of(ctx, ctx.params)).read().scripts
        except CustomizerError:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(script) for script in scripts if script.startswith(incomplete)]


FLAGS = (
    Flag(
        "script",
        "Path of the script, relative to the root of the build context. Required.",
        value="PATH",
        completer=_ScriptInContext(),
        example="-script=preload.sh",
    ),
    Flag(
        "env",
        "Environment variables of the script. May be repeated; a value cannot hold a comma. Values are stored in the "
        "local state and travel in the builder VM's metadata: pass the name of a secret, not the secret.",
        kind="map",
        value="NAME=VALUE,…",
        example="-env=RELEASE=1,FOO=bar",
        secret=True,
    ),
    WORKDIR_FLAG,
)


@click.command(
    "run-script", cls=GoCommand, params=list(FLAGS), short_help="Run a script of the build context on the builder VM."
)
@click.pass_context
def run_script(ctx: click.Context, /, **values: Any) -> int:
    """Run a script of the build context on the builder VM.

    The script is only written down here; finish-image-build runs all scripts in the order of their run-script steps,
    each with the build context as working directory. A script that fails, fails the build.
    """
    from cos_customizer.customizer import names
    from cos_customizer.customizer.spec.script_checks import check_environment_size, normalize_script

    try:
        script = normalize_script(values["script"] or "")
    except ValueError as error:
        text = str(error)
        raise UsageError(text if text.startswith("-script") else f"-script: {text}") from None
    env: dict[str, str] = values["env"]
    try:
        for name in env:
            names.check_environment_name(name)
        check_environment_size(env)
    except ValueError as error:
        raise UsageError(f"-env: {error}") from None
    state = StateDirectory.named(workdir_of(ctx, values))
    state.read().check_script("-script", script)
    number = state.add_step({"type": "run-script", "script": script, **({"env": env} if env else {})})
    topic = f"step {number}"
    variables = f" (env {', '.join(f'{name}=***' for name in env)})" if env else ""
    click.echo(f"{topic:<14}run-script {script}{variables}")
    return 0
