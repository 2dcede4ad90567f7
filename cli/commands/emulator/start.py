"""`emulator start`: start it, and print the environment that leads to it."""

import ipaddress
import re
from pathlib import Path

import click
from click.core import ParameterSource

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import STATE_DIR, print_environment, report, state_dir_of, translated
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ChoiceFlag, IntegerFlag, ListFlag, PathFlag, SwitchFlag
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator import background
from cos_customizer.emulator.errors import EmulatorError

FLAGS = (
    STATE_DIR,
    ChoiceFlag(
        "machines",
        "What instances are: qemu, real virtual machines; or scripted, which run nothing and only play a serial "
        "transcript that was given to the emulator, for tests (docs/emulator-api.md).",
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
    IntegerFlag(
        "registry-port", "Port of the registry of container images on 127.0.0.1; 0 takes a free one.", default=0
    ),
    ListFlag(
        "project",
        "Project whose bucket PROJECT_cloudbuild exists from the beginning; any other project's is made when it is "
        "first used. Default: my-project.",
        value="PROJECT,…",
        example="-project=my-project",
    ),
    PathFlag(
        "seed",
        "YAML file with what is there from the beginning, and again after `emulator reset`: images, buckets with "
        "objects, secrets, faults (docs/emulator-in-tests.md).",
        value="FILE",
        example="-seed=seed.yaml",
    ),
    Flag(
        "host",
        "IPv4 address that -port listens on, beside 127.0.0.1; it serves all services. 0.0.0.0 stands for all "
        "of this machine's, as in a container. Whoever reaches it may do everything: nobody is asked for a password. "
        "Default: 127.0.0.1.",
        default="127.0.0.1",
        value="ADDRESS",
        example="-host=0.0.0.0",
    ),
    ListFlag(
        "allow-hosts",
        "Names that clients may call this machine by, beside localhost and 127.0.0.1. Requests under other names are "
        "refused, since web pages could send them.",
        value="NAME,…",
        example="-allow-hosts=compute-engine",
    ),
    SwitchFlag("foreground", "Stay in the foreground until interrupted."),
)


@command("start", FLAGS, rank=1)
def start(
    state_dir: str | None,
    machines: str,
    port: int,
    storage_port: int,
    registry_port: int,
    project: list[str],
    seed: str | None,
    host: str,
    allow_hosts: list[str],
    foreground: bool,
) -> None:
    """Start it, and print its environment.

    That is the environment variables that point clients to it. If it already runs as it is asked for here, that is
    said, and the variables are printed. The first start with real machines builds their disk image, which takes about a
    minute.
    """
    options = background.Options(
        state_dir=str(state_dir_of(state_dir)),
        cache_dir=str(background.default_cache_dir()),
        machines="scripted" if machines == "scripted" else "qemu",
        port=_port(port, "port"),
        storage_port=_port(storage_port, "storage-port"),
        registry_port=_port(registry_port, "registry-port"),
        projects=tuple(project) or ("my-project",),
        seed=_seed(seed),
        host=_address(host),
        host_names=tuple(_host_name(name) for name in allow_hosts),
    )
    running = background.find(Path(options.state_dir))
    if running:
        _check_same(running, options, state_dir)
        report(f"already running (process {running.pid}, {running.machines} machines)")
        print_environment(running.environment)
        return
    try:
        if foreground:
            background.run(options, lambda ready: print_environment(ready.environment), report)
            return
        started = background.start(options, report)
        print_environment(started.environment)
        report(f"ready (process {started.pid}, {started.machines} machines)")  # standard output goes into an eval
    except EmulatorError as error:
        raise translated(error) from error


def _check_same(running: background.RunningEmulator, options: background.Options, given: str | None) -> None:
    """Refuse to pass an emulator that runs for one that was asked for and is another.

    Raises:
        CustomizerError: it is.
    """
    wanted = (
        ("-machines", options.machines if _is_given("machines") else running.machines, running.machines),
        ("-port", options.port or running.port, running.port),
        ("-storage-port", options.storage_port or running.storage_port, running.storage_port),
        ("-registry-port", options.registry_port or running.registry_port, running.registry_port),
        ("-host", options.host if _is_given("host") else running.host, running.host),
    )
    other = [(flag, asked, there) for flag, asked, there in wanted if asked != there]
    if options.seed not in ("", running.seed):
        other.append(("-seed", "FILE", "another seed" if running.seed else ""))
    if other:
        flags, there = (", ".join(f"{each[0]}={each[i]}" for each in other) for i in (1, 2))
        which = f" -state-dir={given}" if given else ""
        raise CustomizerError(
            f"the emulator already runs with {there}, not with {flags} (process {running.pid})",
            f"stop it first: cos-customizer emulator stop{which}; or start another one beside it, with a -state-dir "
            "of its own.",
        )


def _address(text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text)
        if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
            raise ValueError
    except ValueError:
        hint = "0.0.0.0 stands for all of this machine's."
        raise UsageError(f"-host: {text[:100]!r} is no IPv4 address of a machine", hint) from None
    return str(address)


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?", text):
        raise UsageError(f"-allow-hosts: {text[:100]!r} is no name of a host", "it has neither a port nor a scheme.")
    return text.lower()


def _seed(file: str | None) -> str:
    """A seed file's content as JSON, after all checks.

    Raises:
        UsageError: what is wrong with it.
    """
    if not file:
        return ""
    from cos_customizer.customizer.bounded_yaml import BoundedLoader
    from cos_customizer.emulator.seed.model import SeedError, read_seed

    try:
        return read_seed(Path(file), BoundedLoader).model_dump_json(by_alias=True, exclude_defaults=True)
    except SeedError as error:
        raise UsageError(f"-seed: {error}", error.hint) from None


def _is_given(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def _port(number: int, flag: str) -> int:
    if not 0 <= number <= 65535:
        raise UsageError(f"-{flag}: {number} is no port", "a port is a number from 1 to 65535, or 0 for a free one.")
    return number
