"""A seed file: YAML, checked as a whole before anything of it is made. `docs/emulator-in-tests.md` describes it."""

import base64
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.faults import FIELDS, Fault
from cos_customizer.emulator.kms.signing import ALGORITHMS
from cos_customizer.emulator.machines.disk_formats import disk_format, is_archive
from cos_customizer.emulator.projects import READ_ONLY_PROJECT, is_project_id

STAND_IN = f"projects/{READ_ONLY_PROJECT}/global/images/family/cos-stable"
"""What an image is made of unless the seed says so."""
_NAME = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
"""https://cloud.google.com/compute/docs/naming-resources"""
_DIRECTORY = "directory"


def _project(value: Any) -> Any:
    if isinstance(value, str) and (not is_project_id(value) or value == READ_ONLY_PROJECT):
        raise ValueError("it is no project's id")
    return value


def _file(value: Any, info: ValidationInfo) -> Any:
    """A path from the seed file's directory, made absolute: another process reads it."""
    if isinstance(value, str):
        path = (info.context or {}).get(_DIRECTORY, Path()) / value
        try:
            if not path.is_file():  # no pipe, which would be waited for
                raise ValueError(f"there is no file {str(path)!r}")
            path.open("rb").close()
        except OSError as error:
            raise ValueError(f"{str(path)[:1000]!r} cannot be read: {error.strerror}") from None
        return str(path)
    return value


Project = Annotated[str, BeforeValidator(_project)]
FilePath = Annotated[str, BeforeValidator(_file)]
Labels = dict[str, str]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, populate_by_name=True)


class SeedContent(_Model):
    """Bytes: one of the three.

    Attributes:
        text: they are this text's, in UTF-8.
        base64: they are encoded so.
        file: they are those of a file.
    """

    text: str | None = None
    base64: str | None = None
    file: FilePath | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.text, self.base64, self.file)) != 1:
            raise ValueError("it takes one of text, base64 and file")
        if self.base64 is not None:
            try:
                self._decoded()
            except ValueError:
                raise ValueError("base64 is not encoded so") from None
        return self

    def content(self) -> bytes:
        """Return the bytes.

        Raises:
            EmulatorError: the file cannot be read.
        """
        if self.text is not None:
            return self.text.encode()
        if self.base64 is not None:
            return self._decoded()
        try:
            return Path(self.file or "").read_bytes()
        except OSError as error:
            raise EmulatorError(f"{self.file} cannot be read: {error.strerror}") from None

    def _decoded(self) -> bytes:
        # Programs break it into lines.
        return base64.b64decode("".join((self.base64 or "").split()), validate=True)


class SeedImage(_Model):
    """An image: of another one (the stand-in), of a disk in a file, or blank."""

    name: Annotated[str, Field(pattern=_NAME)]
    project: Project | None = None
    family: Annotated[str, Field(pattern=_NAME)] | None = None
    description: str = ""
    labels: Labels = {}
    source_image: str | None = None
    file: FilePath | None = None
    blank: bool = False
    disk_size_gb: Annotated[int, Field(ge=1, le=65536)] | None = None
    guest_os_features: list[str] = []
    architecture: Literal["X86_64", "ARM64"] | None = None
    deprecated: Literal["DEPRECATED", "OBSOLETE", "DELETED"] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((self.source_image is not None, self.file is not None, self.blank)) > 1:
            raise ValueError("it takes one of sourceImage, file and blank")
        if self.file is not None and not is_archive(Path(self.file)):
            try:
                disk_format(Path(self.file))
            except EmulatorError as error:
                raise ValueError(f"{error}: {error.hint}") from None
        return self


class SeedObject(SeedContent):
    """An object of a bucket."""

    name: Annotated[str, Field(min_length=1, max_length=1024)]
    content_type: Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$")] = "application/octet-stream"
    metadata: dict[str, str] = {}


class SeedBucket(_Model):
    """A bucket, with what is in it."""

    name: Annotated[str, Field(min_length=3, max_length=222)]
    project: Project | None = None
    location: str = "US"
    objects: list[SeedObject] = []


class SeedSecret(SeedContent):
    """A secret with one version."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
    project: Project | None = None
    labels: Labels = {}


class SeedKey(_Model):
    """A key of Cloud KMS that signs, with one version; its ring is made too.

    Attributes:
        name: `RING/KEY`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}/[A-Za-z0-9_-]{1,63}$")]
    project: Project | None = None
    location: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] = "global"
    algorithm: Literal[tuple(sorted(ALGORITHMS))] = "EC_SIGN_P256_SHA256"  # type: ignore[valid-type]


def _fault(value: Any) -> Any:
    """A fault's fields, checked by name, type and value."""
    if not isinstance(value, dict):
        raise ValueError("it is no mapping")
    for name in value:
        if name not in FIELDS:
            raise ValueError(f"{name}: there is no such field; there are {', '.join(FIELDS)}")
    if "kind" not in value:
        raise ValueError("kind: it is required")
    Fault(**value)
    return value


class Seed(_Model):
    """What an emulator has from the beginning.

    Attributes:
        project: of what names none.
    """

    project: Project = "my-project"
    images: list[SeedImage] = []
    buckets: list[SeedBucket] = []
    secrets: list[SeedSecret] = []
    keys: list[SeedKey] = []
    faults: list[Annotated[dict[str, Any], BeforeValidator(_fault)]] = []


class SeedError(EmulatorError):
    """The seed file cannot be used."""


def read_seed(path: Path, loader: type[yaml.SafeLoader]) -> Seed:
    """Read a seed file, and check all of it. Paths in it count from its directory.

    Args:
        path: of the file.
        loader: reads its text, and limits it.

    Raises:
        SeedError: it cannot be read, or what is wrong in which field.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read((1 << 20) + 1)  # some files never end
        data = yaml.load(text, loader)  # noqa: S506 (it is a safe one)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SeedError(f"{path} cannot be read: {why}") from None
    except yaml.YAMLError as error:
        raise SeedError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SeedError(f"{path} is no seed", f"a seed is a mapping with {', '.join(Seed.model_fields)}")
    try:
        seed = Seed.model_validate(data, context={_DIRECTORY: path.absolute().parent})
    except ValidationError as error:
        raise _error_in(path, error) from None
    _check_unique(path, seed)
    return seed


def _error_in(path: Path, error: ValidationError) -> SeedError:
    found = error.errors(include_url=False)
    where = ".".join(str(part) for part in found[0]["loc"])
    why = found[0]["msg"].removeprefix("Value error, ")
    if found[0]["type"] == "extra_forbidden":
        why = "there is no such field"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    why = re.sub(r"^Input should", "it should", why)
    return SeedError(f"{path}: {where}: {why}{more}", "docs/emulator-in-tests.md has all fields")


def _check_unique(path: Path, seed: Seed) -> None:
    def check(field: str, keys: list[tuple[str, ...]]) -> None:
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise SeedError(f"{path}: {field}.{number}.name: {key[-1]!r} is there already")

    check("images", [(each.project or seed.project, each.name) for each in seed.images])
    check("buckets", [(each.name,) for each in seed.buckets])
    check("secrets", [(each.project or seed.project, each.name) for each in seed.secrets])
    check("keys", [(each.project or seed.project, each.location, each.name) for each in seed.keys])
    for number, bucket in enumerate(seed.buckets):
        check(f"buckets.{number}.objects", [(each.name,) for each in bucket.objects])
