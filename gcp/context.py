"""The build context as one archive, wherever it comes from."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cos_customizer.customizer import names
from cos_customizer.customizer.contents import sbom_input
from cos_customizer.customizer.contents.sbom_input import SbomInput
from cos_customizer.customizer.context import (
    ARCHIVE_SUFFIXES,
    ContextArchive,
    archive_context,
    files_in,
    read_archive,
    read_files,
)
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.script_contents import LIMIT, check_scripts
from cos_customizer.customizer.spec.model import BuildContext
from cos_customizer.customizer.spec.options import SBOM_INPUT
from cos_customizer.customizer.spec.steps.kinds import Step
from cos_customizer.customizer.spec.uefi_keys import MOST_BYTES, KeyFile, check_key_files, initial_state
from cos_customizer.customizer.spelling import quoted
from cos_customizer.gcp import scratch
from cos_customizer.gcp.clients import Clients

_LARGEST_SCRIPT = 64 << 20
"""Bytes of a script whose digest is taken."""


@dataclass(frozen=True)
class Archive:
    """The build context as one file.

    Attributes:
        path: the gzipped tar file.
        sha256: digest of its uncompressed tar stream.
        initial_state: what firmware begins with, by the files of keys in it; the API's `InitialStateConfig`.
    """

    path: Path
    sha256: str
    initial_state: dict[str, Any] = field(default_factory=dict)


def prepare_archive(
    clients: Clients, context: BuildContext, steps: Sequence[Step], directory: Path, keys: Collection[KeyFile] = ()
) -> Archive:
    """Make sure that the build context is one archive on this machine, and that it has what the build needs.

    A directory is archived, and a file too, unless it is an archive by its name (`*.tar.gz`, `*.tgz`); an object in
    Cloud Storage is an archive and is downloaded.

    Args:
        clients: Google's clients, for a context in Cloud Storage.
        context: of the build.
        steps: those of the build, and scripts that verify its image: their files must be in the context.
        directory: for the archive, if it is made here; empty, and removed by the caller.
        keys: files of UEFI keys of the output image.

    Raises:
        UsageError: the context cannot be archived, or is no sound archive; a step's file is missing from it, or is
            nothing that bash can run; a file of keys is missing, or is none; or it has another digest than given.
        CustomizerError: it cannot be fetched from Cloud Storage.
    """
    made, found = make_archive(clients, context, directory)
    contents = contents_of(made, steps)
    for warning in check_steps(steps, context, found, contents):
        publish(Note("script", warning, "warning"))
    return Archive(made, found.sha256, initial_state_in(made, context, found, keys))


def make_archive(clients: Clients, context: BuildContext, directory: Path) -> tuple[Path, ContextArchive]:
    """Make sure that the build context is one archive on this machine, and see what is in it.

    Args:
        clients: as `prepare_archive` takes them.
        context: of the build.
        directory: as for `prepare_archive`.

    Returns:
        The archive's file, and what is in it.

    Raises:
        UsageError: the context cannot be archived, or is no sound archive, or has another digest than given.
        CustomizerError: it cannot be fetched from Cloud Storage.
    """
    made = directory / "context.tar.gz"
    remote, source = names.bucket_and_object(context.path), Path(context.path)
    if remote is not None:
        scratch.download(clients, ObjectRef(*remote), made)
        found = read_archive(made, context.path)
    elif source.name.endswith(ARCHIVE_SUFFIXES) and source.is_file():
        made, found = source, read_archive(source, context.path)
    else:
        found = archive_context(source, made)
    _check_digest(context, found)
    return made, found


def contents_of(archive: Path, steps: Iterable[Step]) -> dict[str, bytes]:
    """The scripts of some steps, as far as they are looked at, by their names.

    Args:
        archive: of the build context.
        steps: whose scripts are read, all of them in one go.
    """
    return read_files(archive, dict.fromkeys(script for step in steps for script in step.scripts), LIMIT)


def check_steps(
    steps: Iterable[Step], context: BuildContext, found: ContextArchive, contents: Mapping[str, bytes]
) -> list[str]:
    """Check that a build context has what steps need, and that bash can run their scripts.

    Args:
        steps: of one build.
        context: of the build, for people.
        found: what is in its archive.
        contents: of those scripts, and perhaps of others.

    Returns:
        Warnings.

    Raises:
        UsageError: a step's file is missing, or is nothing that bash can run.
    """
    scripts: dict[str, None] = {}
    for step in steps:
        step.check_files(found.files, context.path)
        scripts |= dict.fromkeys(step.scripts)
    return check_scripts({script: contents[script] for script in scripts if script in contents})


def initial_state_in(
    archive: Path, context: BuildContext, found: ContextArchive, keys: Collection[KeyFile]
) -> dict[str, Any]:
    """What firmware of VMs of the output image begins with; see `customizer.spec.uefi_keys`.

    Args:
        archive: the context's file.
        context: what it was made of.
        found: what is in it.
        keys: the files of keys in it.

    Raises:
        UsageError: one is missing, or is none that firmware takes.
    """
    check_key_files(keys, found.files, context.path)
    return initial_state(keys, read_files(archive, [key.path for key in keys], MOST_BYTES + 1)) if keys else {}


def script_digests(archive: Archive, steps: Iterable[Step]) -> dict[str, str]:
    """SHA-256 of the scripts of some steps, by their names; those of more than 64 MiB are left out.

    Args:
        archive: Of the build context.
        steps: Whose scripts are read.
    """
    scripts = dict.fromkeys(script for step in steps for script in step.scripts)
    contents = read_files(archive.path, scripts, _LARGEST_SCRIPT + 1) if scripts else {}
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in contents.items()
        if len(content) <= _LARGEST_SCRIPT
    }


def sbom_input_in(archive: Archive, path: str) -> SbomInput:
    """What a build context says of the output image's materials.

    Args:
        archive: The context.
        path: Of the file in it.

    Raises:
        UsageError: There is no such file, or it does not say that.
    """
    content = read_files(archive.path, [path], sbom_input.MOST_BYTES + 1).get(path)
    if content is None:
        raise UsageError(
            Message("{}: there is no {} in the build context", SBOM_INPUT, quoted(path)),
            "paths are relative to the build context's root.",
        )
    if len(content) > sbom_input.MOST_BYTES:
        raise UsageError(Message("{}: {} has more than {:,} bytes", SBOM_INPUT, path, sbom_input.MOST_BYTES))
    return SbomInput.parse(content, path)


def check_directory(context: BuildContext, steps: Iterable[Step], keys: Collection[KeyFile] = ()) -> None:
    """See whether a directory on this machine has what the build needs. An archive is not opened: the build will.

    Args:
        context: of the build.
        steps: as `prepare_archive` takes them.
        keys: likewise.

    Raises:
        UsageError: it is not there, a file is missing from it, or is nothing that bash, or firmware, takes.
    """
    source = Path(context.path)
    if names.bucket_and_object(context.path) is not None or source.is_file():
        return
    files = files_in(source)
    scripts: dict[str, bytes] = {}
    for step in steps:
        step.check_files(files, context.path)
        for script in filter(lambda each: (source / each).is_file(), step.scripts):  # a pipe would wait for a writer
            with suppress(OSError), (source / script).open("rb") as file:
                scripts[script] = file.read(LIMIT)
    check_scripts(scripts)
    check_key_files(keys, files, context.path)


def _check_digest(context: BuildContext, found: ContextArchive) -> None:
    if context.sha256 and context.sha256 != found.sha256:
        raise UsageError(
            f"build context {context.path} has digest {found.sha256}, not {context.sha256}",
            "it has changed since the specification was written; without context.sha256 any content is taken.",
        )
