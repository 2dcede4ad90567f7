"""All that an emulator keeps, as a whole: saved, loaded and removed, while it runs and its clients wait."""

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from cos_customizer.emulator import limits
from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.files import reserving
from cos_customizer.emulator.machines.backend import Backend
from cos_customizer.emulator.machines.scripted import ScriptedBackend
from cos_customizer.emulator.request_log import RequestLog
from cos_customizer.emulator.saved_state.archive import Reader
from cos_customizer.emulator.saved_state.parts import Loaded, enough_room, load_state, save_state
from cos_customizer.emulator.services import STAGING, Services, replaced_state
from cos_customizer.emulator.storage.cloud_storage import CloudStorage
from cos_customizer.emulator.turnstile import Turnstile

_WAY_BACK = 2 << 20
"""Bytes on the disk that the state before takes to be opened again, if another one finds no room."""


class WholeState:
    """An emulator whose state can be taken away and another put in its place."""

    clock: Clock
    faults: Faults
    calls: RequestLog
    _state_dir: Path
    _turnstile: Turnstile
    _services: Services
    _storage: CloudStorage
    _backend: Backend
    _projects: set[str]

    def _open(self) -> Services:
        """Open the services on what is in the state directory."""
        raise NotImplementedError

    def _take_up(self) -> None:
        """Let requests reach the services that are open now."""
        raise NotImplementedError

    def _plant(self) -> None:
        """Put in what is there from the beginning."""
        raise NotImplementedError

    def reset(self) -> None:
        """Remove everything: resources, machines, objects, container images, secrets, keys, log entries.

        Faults, scripts and the log of requests go, too. The seed is put in again. The clock goes on, as it cannot be
        turned back.

        Raises:
            EmulatorError: requests do not end, or files cannot be moved; nothing was changed.
        """
        with tempfile.TemporaryDirectory(dir=self._state_dir, prefix=STAGING) as directory:
            self._replace(Loaded(Path(directory), self._backend.name))
        self._plant()

    def save(self, file: BinaryIO) -> None:
        """Write the whole state to a file, secrets with their values and keys too. Requests wait meanwhile.

        Raises:
            EmulatorError: machines run, or something is under way.
        """
        with self._turnstile.closed():
            self._services.engine.check_at_rest()
            services = self._services
            about = {"machines": self._backend.name, "saved": self.clock.timestamp()}
            save_state(
                file,
                about,
                self._state_dir,
                services.engine.shared.store,
                self._storage.store,
                services.images,
                services.logs,
                services.secrets,
                services.keys,
            )

    def saved(self) -> BinaryIO:
        """Return a file with the whole state, which is gone when it is closed; see `save`."""
        with enough_room():
            file = cast(BinaryIO, tempfile.TemporaryFile(dir=self._state_dir, prefix=STAGING))  # noqa: SIM115
        try:
            self.save(file)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def load(self, source: Reader) -> None:
        """Put a state that was saved in the place of the present one; faults, scripts and requests are forgotten, too.

        Args:
            source: has what `save` has written. Machines that run are stopped, and gone.

        Raises:
            EmulatorError: it is foreign, damaged or of a later version, or see `reset`; nothing was changed.
        """
        with tempfile.TemporaryDirectory(dir=self._state_dir, prefix=STAGING) as directory:
            self._replace(load_state(source, Path(directory), self._backend.name, limits.most_registry()))

    def _replace(self, loaded: Loaded) -> None:
        def end_waiting() -> None:
            self.faults.clear()
            self._services.engine.end_waiting()

        with self._turnstile.closed(end_waiting), enough_room(), reserving(self._state_dir, _WAY_BACK) as give_free:
            end_waiting()
            secrets = self._services.secrets.saved()  # whose values are in no file
            self._close()
            try:
                with replaced_state(self._state_dir, loaded.directory):
                    self._reopen()
                    try:
                        self._services.secrets.restore(loaded.secrets)
                    except BaseException:
                        self._close()
                        raise
            except Exception as error:
                give_free()
                self._reopen()
                self._services.secrets.restore(secrets)
                why = f"the state cannot be taken up, and the one before is there again: {error!r}"
                raise error if isinstance(error, EmulatorError) else EmulatorError(why) from error
            self.calls.clear()
            self._projects.clear()
            if isinstance(self._backend, ScriptedBackend):
                self._backend.transcripts.clear()
            self._take_up()

    def _close(self) -> None:
        self._services.close()
        self._storage.store.close()
        self.clock.forget_listeners()

    def _reopen(self) -> None:
        self._services = self._open()
        try:
            self._storage.reopen()
        except BaseException:
            self._services.close()
            raise
        self._take_up()
