"""The local state that build steps pass on: files in a directory, since each step may be a new container.

The state is live while `state.json` exists. It is written under a temporary name, flushed to disk and renamed, so a
reader sees the old or the new one and never half of one. The archive of the build context lies beside it under a name
of its own for each build; files of others in the same directory are left alone.
"""

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.spelling import did_you_mean, quoted

DEFAULT_WORKDIR = ".cos-customizer-workdir"
VERSION = 1
_LARGEST_STATE = 256 << 20
"""Bytes of a state that are read: it has the names of all files of the build context."""
_STATE = "state.json"
_ENDED = "ended.txt"
"""What has become of the last build whose state was here: a line for people, when there is no live state."""
_LONGEST_ENDING = 1000
_NEWLINE = "\n"
_ARCHIVE_PREFIX, _ARCHIVE_SUFFIX = "context-", ".tar.gz"
_LOCK_PATIENCE = 10.0
"""Seconds to wait for another step that is writing the same state."""


@dataclass(frozen=True)
class BuildState:
    """What the steps so far have written down.

    Attributes:
        spec: a partial `BuildSpec` as JSON-like data; `context.path` is the archive.
        files: paths of the files in the archive, sorted.
        build_context: the path that was archived, for people.
    """

    spec: dict[str, Any]
    files: tuple[str, ...]
    build_context: str

    @property
    def archive(self) -> Path:
        """The archive of the build context."""
        return Path(self.spec["context"]["path"])

    def check_script(self, flag: str, script: str) -> None:
        """Make sure that a script is in the build context.

        Args:
            flag: that names the script.
            script: its path, normalized.

        Raises:
            UsageError: it is not; the hint says what may have been meant.
        """
        if script in self.files:
            return
        raise UsageError(
            f"{flag}: there is no {quoted(script)} in the build context",
            did_you_mean(script, self.files)
            or "paths are relative to the build context's root, which start-image-build has archived as it was then.",
        )


class Draft:
    """A state in the making: the archive goes to `archive`, then `commit` makes it all live at once.

    Attributes:
        archive: where the archive of the build context goes.
    """

    def __init__(self, directory: "StateDirectory") -> None:
        self.archive = directory.path / f"{_ARCHIVE_PREFIX}{os.urandom(4).hex()}{_ARCHIVE_SUFFIX}"
        self.committed = False
        self._directory = directory

    def commit(self, spec: dict[str, Any], files: tuple[str, ...], build_context: str) -> None:
        """Make the state live.

        Args:
            spec: partial specification, its `context.sha256` set.
            files: paths of the files in the archive.
            build_context: the path that was archived.
        """
        with self.archive.open("rb") as archive:
            os.fsync(archive.fileno())
        spec = {**spec, "context": {**spec.get("context", {}), "path": str(self.archive)}}
        self._directory.write(BuildState(spec, files, build_context))
        self.committed = True
        (self._directory.path / _ENDED).unlink(missing_ok=True)


class StateDirectory:
    """The directory that holds the local state of one build.

    Attributes:
        path: the directory; it may not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def named(cls, workdir: str | None) -> "StateDirectory":
        """The directory that `-local-state-workdir` names.

        Args:
            workdir: an absolute path, or one relative to the home directory; empty or None for the default.

        Raises:
            UsageError: it is relative, and there is no home directory.
        """
        path = Path(workdir or DEFAULT_WORKDIR)
        if path.is_absolute():
            return cls(path)
        home = os.environ.get("HOME")
        if not home:
            raise UsageError(
                "HOME is not set, and the local state is kept below it",
                "set HOME, or give -local-state-workdir as an absolute path.",
            )
        return cls(Path(home).absolute() / path)

    @contextlib.contextmanager
    def new(self, force: bool = False) -> Iterator[Draft]:
        """Begin a state; nothing is left behind unless it is committed.

        Args:
            force: replace a live state.

        Raises:
            UsageError: there is a live state, or the directory cannot be written.
        """
        try:
            made = not self.path.exists()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(13, "no permission to write")
        except OSError as error:
            raise self._unusable(error) from error
        with self._locked():
            if not force and (self.path / _STATE).exists():
                raise UsageError(
                    f"an image build has been started already: there is state in {str(self.path)!r}",
                    "finish-image-build ends it; start-image-build -force starts over; "
                    "-local-state-workdir keeps two builds apart.",
                )
            draft = Draft(self)
            try:
                try:
                    draft.archive.touch(mode=0o600)
                except OSError as error:  # a directory that is no place for files, such as /proc/self/fd
                    raise self._unusable(error) from error
                yield draft
            finally:
                self._sweep(keep=draft.archive if draft.committed else self._live_archive())
                if made and not draft.committed:
                    with contextlib.suppress(OSError):
                        self.path.rmdir()

    def _unusable(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot keep the local state in {str(self.path)!r}: {error.strerror}",
            "set HOME to a directory that can be written, or choose another with -local-state-workdir.",
        )

    def read(self) -> BuildState:
        """The live state.

        Raises:
            UsageError: there is none, or it cannot be used; the message says where it was looked for.
        """
        file = self.path / _STATE
        try:
            with file.open("rb") as stream:
                data = json.loads(stream.read(_LARGEST_STATE))
            version = data["version"]
            if version == VERSION:
                state = self._state_of(data)
        except (FileNotFoundError, NotADirectoryError):
            if ended := self._tombstone():
                raise UsageError(
                    f"the image build that was started here ended {ended}", "start-image-build begins another."
                ) from None
            raise UsageError(
                f"no image build has been started: there is no {str(file)!r}",
                "start-image-build comes first; all steps of a build need the same HOME and -local-state-workdir.",
            ) from None
        except OSError as error:
            raise UsageError(f"cannot read the local state {str(file)!r}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError(
                f"the local state {str(file)!r} is damaged", "start over: start-image-build -force."
            ) from None
        if version != VERSION:
            raise UsageError(
                f"the local state {str(file)!r} has version {version!r}; this cos-customizer knows version {VERSION}",
                "use one version of cos-customizer for all steps, or start over: start-image-build -force.",
            )
        if not state.archive.is_file():
            raise UsageError(
                f"the archive of the build context, {str(state.archive)!r}, is gone",
                "start over: start-image-build -force.",
            )
        return state

    def _state_of(self, data: dict[str, Any]) -> BuildState:
        """What a file of our version says, as far as the steps before finish-image-build rely on it.

        Raises:
            ValueError, KeyError, TypeError: it says something else; somebody else has written it.
        """
        spec, files, build_context = data["spec"], data["scripts"], data["build_context"]
        name, steps = spec["context"]["path"], spec.get("steps", [])
        texts = [build_context, name, *_list(files)]
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise ValueError("a text is expected")
        if not all(isinstance(step, dict) and isinstance(step.get("type"), str) for step in _list(steps)):
            raise ValueError("a step is a mapping that has a type")
        if not all(isinstance(value, str) for value in spec.get("source", {}).values()):
            raise TypeError("the source image is a mapping of texts")
        spec = {**spec, "context": {**spec["context"], "path": str(self.path / Path(name).name)}}
        return BuildState(spec, tuple(files), build_context)

    def add_step(self, step: dict[str, Any]) -> int:
        """Append a step to the live state.

        Args:
            step: a step of a `BuildSpec` as JSON-like data.

        Returns:
            The step's number, from 1.

        Raises:
            UsageError: as `read`.
        """
        if not self.path.is_dir():
            self.read()
        with self._locked():
            state = self.read()
            with self._taken(state):
                steps = [*state.spec.get("steps", []), step]
                self.write(BuildState({**state.spec, "steps": steps}, state.files, state.build_context))
        return len(steps)

    @contextlib.contextmanager
    def finishing(self) -> Iterator[BuildState]:
        """The live state, to build from: no step is added to it meanwhile, and nobody else builds from it.

        A process that is killed in this context gives the state free.

        Raises:
            UsageError: as `read`, or somebody builds from it.
        """
        if not self.path.is_dir():
            self.read()
        with contextlib.ExitStack() as held:
            with self._locked():
                state = self.read()
                held.enter_context(self._taken(state))
            yield state

    @contextlib.contextmanager
    def _taken(self, state: BuildState) -> Iterator[None]:
        descriptor = os.open(state.archive, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(
                f"finish-image-build is at work on the local state in {str(self.path)!r}",
                "wait for it, or keep builds apart with -local-state-workdir.",
            ) from None
        finally:
            os.close(descriptor)

    def write(self, state: BuildState) -> None:
        """Write the state, whole or not at all.

        Raises:
            CustomizerError: it cannot be written.
        """
        data = {
            "version": VERSION,
            "build_context": state.build_context,
            "spec": {**state.spec, "context": {**state.spec["context"], "path": state.archive.name}},
            "scripts": state.files,
        }
        try:
            write_atomically(self.path / _STATE, json.dumps(data, indent=1) + "\n")
        except OSError as error:
            raise CustomizerError(f"cannot write the local state in {str(self.path)!r}: {error.strerror}") from error

    def remove(self, state: BuildState, ended: str) -> None:
        """Remove a build's state; a newer one that has taken its place is left alone.

        A line about the build stays, for whoever looks for its state.

        Args:
            state: of the build.
            ended: what has become of the build, in words: `my-image built`.
        """
        with contextlib.suppress(OSError, UsageError), self._locked():
            if self._live_archive() == state.archive:
                line = f"at {human_time(time.time())}: {ended.partition(_NEWLINE)[0][:_LONGEST_ENDING]}"
                write_atomically(self.path / _ENDED, line + _NEWLINE)
                (self.path / _STATE).unlink()
            self._sweep(keep=self._live_archive())

    def _tombstone(self) -> str:
        """When a build ended that was started here, and how; empty if none has."""
        with contextlib.suppress(OSError), (self.path / _ENDED).open(encoding="utf-8", errors="replace") as file:
            return file.readline(2 * _LONGEST_ENDING).strip()
        return ""

    def _live_archive(self) -> Path | None:
        with contextlib.suppress(UsageError):
            return self.read().archive
        return None

    def _sweep(self, keep: Path | None) -> None:
        """Remove archives and temporary files of ours, left by steps that were killed too."""
        for pattern in (_ARCHIVE_PREFIX + "[0-9a-f]" * 8 + _ARCHIVE_SUFFIX, f".{_STATE}.*", f".{_ENDED}.*"):
            for file in self.path.glob(pattern):
                if file != keep:
                    file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other steps from writing the same state."""
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise UsageError(f"cannot open the local state in {str(self.path)!r}: {error.strerror}") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same_file(descriptor, self.path):
                    break
                os.close(descriptor)
            except BlockingIOError:
                os.close(descriptor)
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"another step is at work on the local state in {str(self.path)!r}",
                        "wait for it, or keep builds apart with -local-state-workdir.",
                    ) from None
                time.sleep(0.02)
        try:
            yield
        finally:
            os.close(descriptor)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is expected")
    return value


def _same_file(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def write_atomically(path: Path, text: str) -> None:
    """Write a file for its owner alone, whole or not at all: under a temporary name first, flushed, then renamed.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
