"""A difference for programs: JSON of a form that stays, of which `docs/difference.schema.json` is the schema."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cos_customizer.customizer.contents.compared import Compared, Role, Side
from cos_customizer.customizer.contents.difference import AREAS, Aspect, Change, FileChange, Way
from cos_customizer.customizer.contents.difference_text import summary
from cos_customizer.customizer.contents.inventory import File, FileKind

VERSION: Literal[1] = 1
"""Of the form. Fields may be added to it; one that is there keeps its name and meaning."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparedImage(_Model):
    """One of the two images."""

    project: str
    image: str = Field(description="Its name.")
    id: str = Field("", description="Its numeric id, if it is known.")
    role: Role = Field(
        description="`current`: what the family gives; `source`: the other image was made from it; `image`: it was "
        "asked for, or is the one that is compared."
    )
    family: str = Field("", description="The family that it was looked up by.")


class NamedChange(_Model):
    """Something that has come, gone or become something else."""

    name: str = Field(description="Of the package, the container image, ….")
    change: Way
    before: str | None = Field(description="What it was: a version, a digest, a state. null: it was not there.")
    after: str | None = Field(description="What it is. null: it is no more there.")


class FileState(_Model):
    """A file on one side."""

    kind: FileKind
    mode: str = Field(description="Permission bits in octal digits: `0644`.")
    owner: str = Field(description="Numbers of user and group: `0:0`.")
    size: int = Field(description="Bytes.")
    sha256: str | None = Field(description="Digest of its bytes. null: it is no regular file, or was not read.")
    target: str | None = Field(description="Where a link leads. null: it is none.")


class ChangedFile(_Model):
    """A file that has come, gone or become another."""

    path: str = Field(description="Absolute. Bytes that are no UTF-8 are written as `\\xff`.")
    change: Way
    aspects: list[Aspect] = Field(description="What of it has changed; empty unless it is on both sides.")
    before: FileState | None
    after: FileState | None


class ChangedSize(_Model):
    """How much of something there is."""

    name: str = Field(description="`files` or `containers`.")
    before: int = Field(description="Bytes.")
    after: int = Field(description="Bytes.")


class DifferenceReport(_Model):
    """What two images differ in."""

    version: Literal[1] = Field(VERSION, description="Of this form.")
    before: ComparedImage = Field(description="The image that is compared with.")
    after: ComparedImage = Field(description="The image that is compared.")
    summary: str = Field(description="All of it in one line.")
    different: bool = Field(description="Whether there is any difference.")
    system: list[NamedChange] = Field(description="Variables of /etc/os-release.")
    packages: list[NamedChange] = Field(description="Packages; versions.")
    containers: list[NamedChange] = Field(description="Container images by reference; digests.")
    units: list[NamedChange] = Field(description="Units of systemd; states: `enabled`, `masked`.")
    kernel_arguments: list[NamedChange] = Field(description="Arguments of the kernel by name; whole arguments.")
    partitions: list[NamedChange] = Field(description="Partitions by label; what they are.")
    verity: list[NamedChange] = Field(description="Verified devices; root hashes, or `sealed`.")
    modules: list[NamedChange] = Field(description="Kernel modules that are no part of the system; versions.")
    files: list[ChangedFile]
    sizes: list[ChangedSize] = Field(description="Of files and container images in all.")
    left_out: list[str] = Field(description="What was not compared, and why.")


def report(compared: Compared) -> DifferenceReport:
    """A difference in the form that programs read.

    Args:
        compared: Two images.
    """
    difference = compared.difference
    return DifferenceReport(
        before=_image(compared.before),
        after=_image(compared.after),
        summary=_text(summary(difference)),
        different=bool(difference),
        **{area: [_change(each) for each in difference.area(area)] for area in AREAS},  # type: ignore[arg-type]
        files=[_file_change(each) for each in difference.files],
        sizes=[ChangedSize(name=each.name, before=each.before, after=each.after) for each in difference.sizes],
        left_out=[_text(each) for each in difference.left_out],
    )


def to_json(compared: Compared) -> str:
    """A difference as JSON, indented, with a line end.

    Args:
        compared: Two images.
    """
    return report(compared).model_dump_json(indent=2) + "\n"


def _image(side: Side) -> ComparedImage:
    return ComparedImage(project=side.project, image=side.name, id=side.id, role=side.role, family=side.family)


def _change(change: Change) -> NamedChange:
    values = (None if value is None else _text(value) for value in (change.before, change.after))
    before, after = values
    return NamedChange(name=_text(change.name), change=change.way, before=before, after=after)


def _file_change(change: FileChange) -> ChangedFile:
    return ChangedFile(
        path=_text(change.path),
        change=change.way,
        aspects=list(change.aspects),
        before=_state(change.before),
        after=_state(change.after),
    )


def _state(file: File | None) -> FileState | None:
    if file is None:
        return None
    return FileState(
        kind=file.kind,
        mode=f"{file.mode:04o}",
        owner=f"{file.user}:{file.group}",
        size=file.size,
        sha256=file.sha256,
        target=None if file.target is None else _text(file.target),
    )


def _text(text: str) -> str:
    r"""A text that JSON can hold: bytes that are no UTF-8 are written as `\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
