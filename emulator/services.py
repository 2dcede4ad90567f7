"""What one emulator keeps: the services behind its ports, opened on a state directory, which can be replaced."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from shutil import rmtree

from cos_customizer.emulator import limits
from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.guest_access import scopes_of
from cos_customizer.emulator.kms.store import Keys
from cos_customizer.emulator.logging.entries import LogEntries
from cos_customizer.emulator.machines.backend import Backend
from cos_customizer.emulator.machines.guest_firewall import may_reach
from cos_customizer.emulator.machines.scripted import ScriptedBackend
from cos_customizer.emulator.registry.api import RegistryApi
from cos_customizer.emulator.registry.store import Store as ContainerImages
from cos_customizer.emulator.registry.upstream import MIRRORS, Upstream, mirrors_of
from cos_customizer.emulator.secret_manager.store import Secrets

KEPT = (
    *("compute.sqlite", "compute.sqlite-wal", "compute.sqlite-shm"),
    *("logs.sqlite", "logs.sqlite-wal", "logs.sqlite-shm"),
    *("storage", "machines", "registry", "secrets.json", "keys.json"),
)
"""Names in a state directory that are its state; the others are about the process that uses it."""
REPLACED = ".replaced"
"""Where the state before is, while another takes its place."""
STAGING = ".staging."
"""How the names of directories begin in which another state is put together."""
_ALL_MOVED = "all-moved"


@dataclass(frozen=True)
class Services:
    """Compute Engine, Cloud Logging, Secret Manager, Cloud KMS and the images of the registry.

    Attributes:
        images: of the registry.
        registry: answers the registry's requests.
    """

    engine: ComputeEngine
    logs: LogEntries
    secrets: Secrets
    keys: Keys
    images: ContainerImages
    registry: RegistryApi

    def close(self) -> None:
        """Stop all machines, and release the directory."""
        self.logs.close()
        self.engine.close()


def open_services(
    directory: Path,
    clock: Clock,
    faults: Faults,
    backend: Backend,
    given_attributes: Callable[[], dict[str, str]],
    host_ports: Callable[[], tuple[int, ...]],
    storage: Callable[[], str],
) -> Services:
    """Go on from what an earlier emulator has left in a directory.

    Args:
        directory: the state directory.
        clock: the emulator's.
        faults: that are ordered.
        backend: runs the machines.
        given_attributes: see `ComputeEngine`.
        host_ports: see `ComputeEngine`.
        storage: see `ComputeEngine`.

    Raises:
        EmulatorError: the directory is in use or of another kind.
    """
    backend.faults = faults
    if isinstance(backend, ScriptedBackend):
        backend.clock = clock
    engine = ComputeEngine(directory, clock, faults, backend, given_attributes, host_ports, storage)
    try:
        logs = LogEntries(directory, clock)
        try:
            secrets = Secrets(directory, clock)
            keys = Keys(directory, clock)
            images = ContainerImages(directory / "registry", limits.most_registry())
            mirrors = mirrors_of(os.environ.get(MIRRORS, ""))
            upstream = Upstream(images, lambda address: may_reach(IPv4Address(address)), mirrors)
        except BaseException:
            logs.close()
            raise
    except BaseException:
        engine.close()
        raise
    registry = RegistryApi(images, upstream, lambda authorization: scopes_of(engine, authorization))
    return Services(engine, logs, secrets, keys, images, registry)


@contextmanager
def replaced_state(directory: Path, new: Path) -> Iterator[None]:
    """Put a state in the place of the one that is there, which is closed; an exception in the block undoes it.

    Args:
        directory: the state directory.
        new: a directory with the new state, on the same file system, whose content is moved.
    """
    before = directory / REPLACED
    rmtree(before, ignore_errors=True)
    before.mkdir(mode=0o700)
    _move(KEPT, directory, before)
    (before / _ALL_MOVED).touch()
    try:
        _move(KEPT, new, directory)
        yield
    except BaseException:
        restore_replaced(directory)
        raise
    gone = directory / f"{REPLACED}.{threading.get_ident()}"
    before.rename(gone)  # from here on, there is nothing to go back to
    rmtree(gone, ignore_errors=True)


def recover_state(directory: Path) -> None:
    """Put in order what a killed emulator has left half replaced; one that runs on the directory is not disturbed."""
    if not directory.is_dir():
        return
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # whoever opens the directory next says so
        restore_replaced(directory)
        for left in (*directory.glob(f"{REPLACED}.*"), *directory.glob(f"{STAGING}*")):
            _remove(left)


def restore_replaced(directory: Path) -> None:
    """Put the state back that was to be replaced by another, if whoever did that has not come to its end."""
    before = directory / REPLACED
    if before.is_dir():
        if (before / _ALL_MOVED).exists():
            for name in KEPT:
                _remove(directory / name)
        _move(KEPT, before, directory)
        rmtree(before, ignore_errors=True)


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        if (source / name).exists():
            try:
                (source / name).rename(target / name)
            except OSError as error:
                raise EmulatorError(f"cannot move {source / name}: {error.strerror}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
