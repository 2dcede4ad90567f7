"""`run-script`: write down a script to run on the builder VM."""

from typing import TYPE_CHECKING

import click

from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import MapFlag, SwitchFlag
from cos_customizer.cli.flag_values import Candidates
from cos_customizer.cli.go_flags import see_help
from cos_customizer.cli.noted_step import note_step
from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.fields import FieldPath, message_of, placed
from cos_customizer.customizer.spec.script_checks import (
    MASK,
    OPTIONS,
    REPEAT_AFTER_REBOOT,
    check_environment_secrets,
    check_environment_size,
    check_given_once,
    normalize_script,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


_LOOKED_THROUGH = 128 << 20
"""Bytes of an unpacked build context: a second's work, at most."""


def _files_of_the_context(ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
    from click.shell_completion import CompletionItem

    try:
        files = StateDirectory.named(workdir_of(ctx, ctx.params.get(WORKDIR_FLAG.name or ""))).read().files
    except CustomizerError:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(file) for file in files if file.startswith(incomplete)]


FLAGS = (
    Flag(
        "script",
        OPTIONS["steps.run-script.script"],
        value="PATH",
        names_file=True,
        completer=Candidates("script", _files_of_the_context),
        example="-script=preload.sh",
    ),
    MapFlag(
        "env",
        OPTIONS["steps.run-script.env"],
        also="They are stored in the local state, too. A value cannot hold a comma.",
        value="NAME=VALUE,…",
        example="-env=RELEASE=1,FOO=bar",
        secret=True,
    ),
    MapFlag(
        "env-secret",
        OPTIONS["steps.run-script.env_secrets"],
        value="NAME=VERSION,…",
        example="-env-secret=TOKEN=projects/my-project/secrets/token/versions/latest",
        secret=True,
    ),
    SwitchFlag("repeat-after-reboot", OPTIONS[REPEAT_AFTER_REBOOT.path]),
    WORKDIR_FLAG,
)


def _look_at(script: str, state: BuildState) -> None:
    """Refuse what bash cannot run, and warn of what it most likely will not do.

    finish-image-build does so in any case, before it makes anything; here only what lies near the archive's beginning.
    """
    from cos_customizer.customizer.context import read_files
    from cos_customizer.customizer.script_contents import LIMIT, check_scripts

    try:
        warnings = check_scripts(read_files(state.archive, [script], LIMIT, _LOOKED_THROUGH))
    except UsageError as error:
        raise UsageError(f"-script: {error.message}", error.hint) from None
    for warning in warnings:
        click.echo(f"cos-customizer: warning: {warning}", err=True)


@command("run-script", FLAGS, section=BUILD_STEPS, rank=2)
@click.pass_context
def run_script(
    ctx: click.Context,
    /,
    script: str | None,
    env: dict[str, str],
    env_secret: dict[str, str],
    repeat_after_reboot: bool,
    local_state_workdir: str | None,
) -> int:
    """Run a script of the build context on the builder VM.

    The script is only written down here; finish-image-build runs all scripts in the order of their run-script steps,
    each with the build context as working directory. A script that fails, fails the build; one that ends by `exit 3010`
    is followed by a reboot.
    """
    from cos_customizer.customizer import names

    if not script:
        raise UsageError("-script must be set", see_help("run-script"))
    try:
        script = normalize_script(script)
    except ValueError as error:
        raise UsageError(f"-script: {error}") from None
    try:
        for name in env:
            names.check_environment_name(name)
        check_environment_size(env)
    except ValueError as error:
        raise UsageError(f"-env: {error}") from None
    try:
        check_environment_secrets(env_secret)
    except ValueError as error:
        raise UsageError(f"-env-secret: {error}") from None
    try:
        check_given_once(env, env_secret)
    except ValueError as error:
        message = placed(message_of(error), FieldPath("steps.run-script"))
        raise UsageError(message, see_help("run-script")) from None
    state = StateDirectory.named(workdir_of(ctx, local_state_workdir))
    started = state.read()
    started.check_script("-script", script)
    _look_at(script, started)
    step = {
        "type": "run-script",
        "script": script,
        "env": env,
        "env_secrets": env_secret,
        "repeat_after_reboot": repeat_after_reboot,
    }
    shown = [*(f"{name}={MASK}" for name in env), *(f"{name}={version}" for name, version in env_secret.items())]
    variables = f" (env {', '.join(shown)})" if shown else ""
    given = {name: value for name, value in step.items() if value}
    return note_step(state, given, f"run-script {script}{variables}")
