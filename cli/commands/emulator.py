"""`emulator`: the local Compute Engine as a background process."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cos_customizer.cli.commands.run_cloudbuild import run_cloudbuild
from cos_customizer.cli.flags import ChoiceFlag, IntegerFlag, ListFlag, PathFlag, SwitchFlag
from cos_customizer.cli.go_flags import GoCommand, GoGroup
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator import background
from cos_customizer.emulator.errors import EmulatorError

_STATE_DIR = PathFlag(
    "state-dir",
    "Directory that keeps images, disks, stopped instances, objects and log entries from one start to the next. "
    "Default: cos-customizer/emulator below $XDG_STATE_HOME (~/.local/state).",
    value="DIR",
    only="directory",
    example="-state-dir=/tmp/cloud",
)
_START_FLAGS = (
    _STATE_DIR,
    ChoiceFlag(
        "machines",
        "What instances are: qemu, real virtual machines; or scripted, which only play a serial transcript that was "
        "given to the emulator, for tests.",
        choices=("qemu", "scripted"),
        default="qemu",
        value="KIND",
        example="-machines=scripted",
    ),
    IntegerFlag(
        "port",
        "Port of Compute Engine, Cloud Logging and Secret Manager on 127.0.0.1; 0 takes a free one.",
        default=0,
    ),
    IntegerFlag("storage-port", "Port of Cloud Storage on 127.0.0.1; 0 takes a free one.", default=0),
    ListFlag(
        "project",
        "Project whose bucket PROJECT_cloudbuild exists from the beginning; any other project's is made when it is "
        "first used. Default: my-project.",
        value="PROJECT,…",
        example="-project=my-project",
    ),
    SwitchFlag("foreground", "Stay in the foreground until interrupted."),
)


@click.group("emulator", cls=GoGroup, short_help="Run a local Compute Engine and what builds need beside it.")
def emulator() -> None:
    """Run Compute Engine, Cloud Storage, Cloud Logging and Secret Manager on this machine.

    `emulator start` prints the environment variables that point cos-customizer, gcloud and Google's client libraries
    to it: eval "$(cos-customizer emulator start)". Nothing listens beyond 127.0.0.1, and no Google account is needed.
    """


@emulator.command("start", cls=GoCommand, params=list(_START_FLAGS), short_help="Start it, and print its environment.")
def start(
    state_dir: str | None, machines: str, port: int, storage_port: int, project: list[str], foreground: bool
) -> None:
    """Start the emulator and print the environment variables that point clients to it.

    If it already runs, that is said, and the variables are printed. The first start with real machines builds their
    disk image, which takes about a minute.
    """
    options = background.Options(
        state_dir=str(_state_dir(state_dir)),
        cache_dir=str(background.default_cache_dir()),
        machines="scripted" if machines == "scripted" else "qemu",
        port=_port(port, "port"),
        storage_port=_port(storage_port, "storage-port"),
        projects=tuple(project) or ("my-project",),
    )
    running = background.find(Path(options.state_dir))
    if running:
        _report(f"already running (process {running.pid}, {running.machines} machines)")
        _print_environment(running.environment)
        return
    try:
        if foreground:
            background.run(options, lambda ready: _print_environment(ready.environment), _report)
            return
        _print_environment(background.start(options, _report).environment)
    except EmulatorError as error:
        raise _translated(error) from error


@emulator.command("stop", cls=GoCommand, params=[_STATE_DIR], short_help="Stop it and all its machines.")
def stop(state_dir: str | None) -> None:
    """Stop the emulator and all its machines. Images, disks, stopped instances, objects and log entries are kept."""
    _report("stopped" if background.stop(_state_dir(state_dir)) else "not running")


@emulator.command("status", cls=GoCommand, params=[_STATE_DIR], short_help="Say whether it runs, and where.")
def status(state_dir: str | None) -> None:
    """Say whether the emulator runs, and where; exit code 1 if it does not."""
    running = _running(state_dir)
    click.echo(f"running, process {running.pid}, {running.machines} machines")
    click.echo(f"Compute Engine  {running.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE']}")
    click.echo(f"Cloud Storage   {running.environment['STORAGE_EMULATOR_HOST']}")
    click.echo(f"Cloud Logging   {running.environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING']}")
    click.echo(f"Secret Manager  {running.environment.get('CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER', '-')}")
    click.echo(f"its own API     {running.control}")
    click.echo(f"log             {running.log}")


@emulator.command("env", cls=GoCommand, params=[_STATE_DIR], short_help="Print its environment again.")
def env(state_dir: str | None) -> None:
    """Print the environment variables that point clients to the running emulator."""
    _print_environment(_running(state_dir).environment)


emulator.add_command(run_cloudbuild)


def _state_dir(given: str | None) -> Path:
    return Path(given).absolute() if given else background.default_state_dir()


def _port(number: int, flag: str) -> int:
    if not 0 <= number <= 65535:
        raise UsageError(f"-{flag}: {number} is no port", "a port is a number from 1 to 65535, or 0 for a free one.")
    return number


def _running(state_dir: str | None) -> background.RunningEmulator:
    running = background.find(_state_dir(state_dir))
    if running is None:
        where = f" on {_state_dir(state_dir)}" if state_dir else ""
        raise CustomizerError(f"the emulator does not run{where}", "start it: cos-customizer emulator start.")
    return running


def _translated(error: EmulatorError) -> CustomizerError:
    return CustomizerError(str(error), error.hint)


def _report(text: str) -> None:
    click.echo(f"emulator: {text}", err=True)


def _print_environment(environment: Mapping[str, Any]) -> None:
    for name, value in environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")
