"""What a repository of one's own begins with: files in `repository/`, which are complete as they stand.

They name an image, a project, a bucket and a zone; `init` writes them with others in the place of those.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.names import RESOURCE_NAME, check_bucket, check_project, check_resource_name

TEMPLATES = Path(__file__).with_name("repository")
NAME, PROJECT, BUCKET, ZONE = "my-image", "my-project", "my-project_cloudbuild", "us-west1-b"
"""What the files are written for."""
REQUIREMENT = "cos-customizer[emulator]"
_LONGEST_NAME = 63 - len("-20261231")
"""Characters of an image's name that `rebuild-images` appends a date to."""


@dataclass(frozen=True)
class NewRepository:
    """What the files of a new repository are about.

    Attributes:
        name: of the image and its family.
        project: that it is made in.
        bucket: for scratch space.
        zones: of the builder VM.
        requirement: what pip installs the program from.
    """

    name: str = NAME
    project: str = PROJECT
    bucket: str = BUCKET
    zones: Sequence[str] = (ZONE,)
    requirement: str = REQUIREMENT

    def check(self) -> None:
        """Refuse what no recipe could hold.

        Raises:
            UsageError: a value cannot be right, or is none where YAML is read.
        """
        checks = {"name": check_resource_name, "project": check_project, "gcs-bucket": check_bucket}
        values = {"name": self.name, "project": self.project, "gcs-bucket": self.bucket}
        for flag, check in checks.items():
            try:
                check(values[flag])
            except ValueError as error:
                raise UsageError(f"-{flag}: {error}") from None
            if not _is_text(values[flag]):
                raise UsageError(f"-{flag}: YAML does not read {values[flag]!r} as a text", "take another name.")
        if len(self.name) > _LONGEST_NAME:
            raise UsageError(f"-name: {self.name!r} leaves no room for a date", f"{_LONGEST_NAME} characters do.")
        for zone in self.zones:
            if not RESOURCE_NAME.fullmatch(zone):
                raise UsageError(f"-zone: {zone!r} is not a zone's name", "for example: us-west1-b.")
        if not self.requirement.strip() or not self.requirement.isprintable():
            raise UsageError("-requirement: it is not a line of a requirements file")

    def files(self) -> dict[str, str]:
        """The text of each file, by its path in the repository."""
        words = {NAME: self.name, PROJECT: self.project, BUCKET: self.bucket, ZONE: ", ".join(self.zones)}
        words[REQUIREMENT] = self.requirement
        longest_first = sorted(map(re.escape, words), key=len, reverse=True)
        pattern = re.compile(rf"(?<![\w-])({'|'.join(longest_first)})(?![\w-])")

        def filled(text: str) -> str:
            return pattern.sub(lambda found: words[found[0]], text)

        paths = sorted(path for path in TEMPLATES.rglob("*") if path.is_file())
        return {filled(str(path.relative_to(TEMPLATES))): filled(path.read_text(encoding="utf-8")) for path in paths}


def _is_text(word: str) -> bool:
    """Whether YAML takes a word for what it is, and not for a number, a date, or nothing."""
    return bool(yaml.safe_load(word) == word)


def name_from(directory: Path) -> str:
    """A name for the image of a directory's repository: the directory's own, as far as an image may be called so.

    Args:
        directory: absolute.
    """
    name = re.sub("[^a-z0-9]+", "-", directory.name.lower())[:_LONGEST_NAME].strip("-")
    return name if RESOURCE_NAME.fullmatch(name) and _is_text(name) else NAME


def write(directory: Path, files: Mapping[str, str], skip_existing: bool) -> list[str]:
    """Write files that are not there; whatever is there stays as it is.

    Args:
        directory: of the repository; it is made if it is not there.
        files: texts by path.
        skip_existing: leave out what is there, instead of refusing it all.

    Returns:
        The paths that were written.

    Raises:
        UsageError: some are there, or the directory cannot be one; nothing was written.
        CustomizerError: they cannot be written.
    """
    for folder in [directory, *sorted({directory / above for name in files for above in Path(name).parents})]:
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            raise UsageError(f"{str(folder)!r} is not a directory")
    there = [name for name in files if (directory / name).exists() or (directory / name).is_symlink()]
    if there and not skip_existing:
        raise UsageError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already, and nothing was written",
            "-skip-existing writes the others and leaves these as they are.",
        )
    written = [name for name in files if name not in there]
    for name in written:
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(files[name])
        except OSError as error:
            raise CustomizerError(f"cannot write {str(path)!r}: {error.strerror}") from error
    return written
