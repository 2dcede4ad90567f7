"""What the emulator's commands share: which emulator they are about, and how they speak of it."""

import http.client
import json
import os
import shlex
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.flag_kinds import PathFlag
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator import background
from cos_customizer.emulator.errors import EmulatorError

if TYPE_CHECKING:
    from cos_customizer.gcp.clients import Clients

STATE_DIR = PathFlag(
    "state-dir",
    "Directory that keeps images, disks, stopped instances, objects and log entries from one start to the next. "
    "Default: cos-customizer/emulator below $XDG_STATE_HOME (~/.local/state).",
    value="DIR",
    only="directory",
    example="-state-dir=/tmp/cloud",
)
"""Of the commands that start and stop an emulator."""
USED_STATE_DIR = PathFlag(
    "state-dir",
    "State directory of the emulator to use. By default the one that the environment variables point to, or else "
    "the one that runs on the default directory.",
    value="DIR",
    only="directory",
    example="-state-dir=/tmp/cloud",
)
"""Of the commands that use one."""
START = 'start it: eval "$(cos-customizer emulator start)".'
VARIABLES = ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "STORAGE_EMULATOR_HOST")
OPTIONAL_VARIABLES = (
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS",
)
_PATIENCE = 5.0
_LONG_PATIENCE = 1800.0


def state_dir_of(given: str | None) -> Path:
    """The state directory that a flag names, or the default one."""
    return Path(given).absolute() if given else background.default_state_dir()


def running_on(given: str | None) -> background.RunningEmulator:
    """The emulator that runs on a state directory.

    Args:
        given: the directory; None: the default one.

    Raises:
        CustomizerError: none does.
    """
    running = background.find(state_dir_of(given))
    if running is None:
        where = f" on {state_dir_of(given)}" if given else ""
        raise CustomizerError(f"the emulator does not run{where}", START)
    return running


def environment_of(given: str | None) -> dict[str, str]:
    """The variables that lead to an emulator that answers: this process' own, unless a state directory is given.

    Args:
        given: the state directory, or None.

    Raises:
        CustomizerError: no emulator answers, or the variables lead somewhere else.
    """
    found = {name: os.environ[name] for name in (*VARIABLES, *OPTIONAL_VARIABLES) if os.environ.get(name)}
    if given is not None or not found.keys() >= set(VARIABLES):
        return running_on(given).environment
    for name, address in found.items():
        if not answers(address):
            raise CustomizerError(f"no emulator answers at {address} ({name})", START)
    return found


def answers(address: str) -> bool:
    """Whether anything answers at an address of this machine.

    Raises:
        CustomizerError: the address is not this machine's.
    """
    try:
        read_service(address, "/")
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True


def read_service(address: str, path: str) -> bytes:
    """Ask a service of this machine, without a proxy."""
    url = urllib.parse.urlsplit(address)
    if url.scheme != "http" or url.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise CustomizerError(
            f"{address} is not this machine",
            "the commands of `emulator` are for the emulator only: unset the variable, or give -state-dir.",
        )
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=_PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def projects_of(environment: Mapping[str, str]) -> list[str]:
    """The ids of the projects that an emulator has: those that have anything, or were used.

    Args:
        environment: the variables that lead to it.

    Raises:
        CustomizerError: what answers is no emulator of ours.
    """
    address = environment[VARIABLES[0]]
    try:
        status = json.loads(read_service(address, "/emulator/status"))
        return [str(project) for project in status["projects"]]
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        raise CustomizerError(f"what answers at {address} is not this program's emulator", START) from None


def registry_port_of(given: str | None) -> int:
    """The port of an emulator's registry of container images.

    Args:
        given: the state directory, or None.

    Raises:
        CustomizerError: no emulator answers, or it is none of ours.
    """
    address = environment_of(given)[VARIABLES[0]]
    try:
        return int(json.loads(read_service(address, "/emulator/status"))["registryPort"])
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        raise CustomizerError(f"what answers at {address} is not this program's emulator", START) from None


def names_of(given: str | None, collections: Sequence[str]) -> list[str]:
    """The names in collections of all projects, for shell completion: without Google's library, which takes seconds.

    Args:
        given: the state directory, or None.
        collections: such as `global/images`.

    Returns:
        The names; none where no emulator runs.
    """
    try:
        environment = environment_of(given)
        places = [f"{project}/{each}" for project in projects_of(environment) for each in collections]
        answers = [
            json.loads(read_service(environment[VARIABLES[0]], f"/compute/v1/projects/{place}")) for place in places
        ]
    except (CustomizerError, OSError, http.client.HTTPException, ValueError):
        return []
    listed = [found for answer in answers for found in _items(answer.get("items", []))]
    return sorted({str(each["name"]) for each in listed})


def _items(items: Any) -> list[Any]:
    """The resources of a list, or of an aggregated list."""
    if isinstance(items, list):
        return items
    return [each for scope in items.values() for each in scope.get("instances", [])]


@dataclass(frozen=True)
class LocalCloud:
    """A running emulator, as its users see it.

    Attributes:
        environment: the variables that lead to it.
        clients: Google's, for it.
    """

    environment: Mapping[str, str]
    clients: "Clients"

    @classmethod
    def of(cls, given: str | None) -> "LocalCloud":
        """The emulator to use.

        Args:
            given: its state directory, or None.

        Raises:
            CustomizerError: no emulator answers.
        """
        environment = environment_of(given)
        from cos_customizer.gcp.clients import connect

        return cls(environment, connect(environment))

    def post(self, path: str, body: object) -> None:
        """Ask the emulator's own API to do something that may take long.

        Args:
            path: for example `/emulator/exports`.
            body: what goes to it, as JSON.

        Raises:
            CustomizerError: it was refused, or failed.
        """
        address = urllib.parse.urlsplit(self.environment[VARIABLES[0]])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_LONG_PATIENCE)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise CustomizerError(str(json.loads(text)["error"]["message"]))
        except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
            raise CustomizerError(f"the emulator at {address.netloc} does not answer", START) from None
        finally:
            connection.close()

    def projects(self) -> list[str]:
        """See `projects_of`."""
        return projects_of(self.environment)


def translated(error: EmulatorError) -> CustomizerError:
    """An error of the emulator's as one of the program's."""
    return CustomizerError(str(error), error.hint)


def check_disk_name(file: Path) -> None:
    """Refuse a file whose name says nothing of how a disk is in it.

    Raises:
        UsageError: it is refused.
    """
    from cos_customizer.emulator.machines import disk_formats

    try:
        if not disk_formats.is_archive(file):
            disk_formats.disk_format(file)
    except EmulatorError as error:
        raise UsageError(str(error), error.hint) from None


def report(text: str) -> None:
    """Say something beside the output."""
    click.echo(f"emulator: {text}", err=True)


def print_environment(environment: Mapping[str, Any]) -> None:
    """Print variables as a shell reads them."""
    for name, value in environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")
