"""What two inventories differ in. What differs between any two builds of one recipe does not show; see `noise`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from cos_customizer.customizer.contents import noise
from cos_customizer.customizer.contents.inventory import Container, File, Inventory, Partition

Area = Literal["system", "packages", "containers", "units", "kernel_arguments", "partitions", "verity", "modules"]
"""What is compared beside files. `system` are the variables of `/etc/os-release`."""
AREAS: tuple[Area, ...] = get_args(Area)
Way = Literal["added", "removed", "changed"]
Aspect = Literal["kind", "content", "size", "mode", "owner", "target"]
"""What can change of a file."""
_ANY_ARCHITECTURE = ("", "all", "any", "noarch", "(none)")
"""Of packages for whatever machine."""


@dataclass(frozen=True)
class Change:
    """Something that has come, gone, or become something else.

    Attributes:
        name: Of the package, container, unit, ….
        before: What it was: a version, a digest, a state; None if it was not there.
        after: What it is; None if it is no more there.
    """

    name: str
    before: str | None
    after: str | None

    @property
    def way(self) -> Way:
        """What has become of it."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


@dataclass(frozen=True)
class FileChange:
    """A file that has come, gone, or become another.

    Attributes:
        path: Where it is.
        before: What it was; None if it was not there.
        after: What it is; None if it is no more there.
        aspects: What of it has changed; empty unless it is on both sides.
    """

    path: str
    before: File | None
    after: File | None
    aspects: tuple[Aspect, ...] = ()

    @property
    def way(self) -> Way:
        """What has become of it."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def file(self) -> File:
        """It as it is, or as it was last."""
        found = self.after or self.before
        assert found
        return found

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, or was one until it went."""
        return self.file.kind == "directory"


@dataclass(frozen=True)
class Size:
    """How much of something there is.

    Attributes:
        name: `files`, `containers`.
        before: Bytes.
        after: Bytes.
    """

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class Difference:
    """What two inventories differ in.

    Attributes:
        system: By variable of `/etc/os-release`.
        packages: By name; versions.
        containers: By reference; digests. One whose tag has moved to another digest has changed.
        units: By name; states.
        kernel_arguments: By name; whole arguments.
        partitions: By label, or number where there is none; what they are.
        verity: By device; root hashes. Of what a build seals itself only that it is sealed.
        modules: By name; versions.
        files: By path.
        sizes: Of files and containers in all. They follow from the rest.
        left_out: What was not compared, and why, in words: what one of the inventories lacks may seem to have come or
            gone.
    """

    system: tuple[Change, ...] = ()
    packages: tuple[Change, ...] = ()
    containers: tuple[Change, ...] = ()
    units: tuple[Change, ...] = ()
    kernel_arguments: tuple[Change, ...] = ()
    partitions: tuple[Change, ...] = ()
    verity: tuple[Change, ...] = ()
    modules: tuple[Change, ...] = ()
    files: tuple[FileChange, ...] = ()
    sizes: tuple[Size, ...] = ()
    left_out: tuple[str, ...] = field(default=())

    def area(self, area: Area) -> tuple[Change, ...]:
        """The changes of one area."""
        changes: tuple[Change, ...] = getattr(self, area)
        return changes

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return bool(self.files) or any(self.area(area) for area in AREAS)


def difference(before: Inventory, after: Inventory) -> Difference:
    """Compare two inventories.

    Args:
        before: Of the image that is compared with.
        after: Of the other one.

    Returns:
        How to come from the one to the other; nothing of what any two builds of one recipe differ in.
    """
    files, compared_by_size = _files(before.files, after.files)
    by_size = f"bytes of {compared_by_size} file{'' if compared_by_size == 1 else 's'} that only the size is known of"
    return Difference(
        system=_changes(before.system, after.system),
        packages=_changes(_packages(before), _packages(after)),
        containers=_changes(_containers(before.containers), _containers(after.containers)),
        units=_changes(_units(before), _units(after)),
        kernel_arguments=_changes(_arguments(before), _arguments(after)),
        partitions=_partitions(before.partitions, after.partitions),
        verity=_verity(before, after),
        modules=_changes(before.modules, after.modules),
        files=files,
        sizes=(
            Size("files", _bytes(before.files.values()), _bytes(after.files.values())),
            Size("containers", _of_containers(before), _of_containers(after)),
        ),
        left_out=(*_left_out(before.left_out, after.left_out), *([by_size] if compared_by_size else [])),
    )


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    names = sorted(before.keys() | after.keys())
    return tuple(
        Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def _joined(pairs: Iterable[tuple[str, str]], separator: str = ", ") -> dict[str, str]:
    """Values by name; those of one name together, in their order."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in pairs:
        found[name].append(value)
    return {name: separator.join(values) for name, values in found.items()}


def _packages(inventory: Inventory) -> dict[str, str]:
    """Versions by name: a name may be installed in several of them, and for a second architecture."""
    counts = Counter(each.architecture for each in inventory.packages)
    usual = {*_ANY_ARCHITECTURE, *(name for name, _ in counts.most_common(1))}
    return _joined(
        (each.name, each.version if each.architecture in usual else f"{each.version} ({each.architecture})")
        for each in sorted(inventory.packages)
    )


def _containers(containers: Iterable[Container]) -> dict[str, str]:
    return _joined(sorted({pair for each in containers for pair in _references(each)}))


def _references(container: Container) -> Iterator[tuple[str, str]]:
    """What it is called, and its digest. One without a tag is called by its repository, one without that by its id."""
    names = container.names or tuple(sorted({digest.partition("@")[0] for digest in container.digests}))
    where = f" ({container.runtime} {container.namespace})" if container.namespace else ""
    for name in names or (container.id,):
        yield f"{name}{where}", container.id


def _units(inventory: Inventory) -> dict[str, str]:
    return {name: state for name, state in inventory.units.items() if not noise.is_passing_unit(state)}


def _arguments(inventory: Inventory) -> dict[str, str]:
    arguments = map(noise.without_own_seal, inventory.kernel_arguments)
    return _joined(((each.partition("=")[0], each) for each in arguments), " ")


def _partitions(before: Iterable[Partition], after: Iterable[Partition]) -> tuple[Change, ...]:
    then, now = _by_label(before), _by_label(after)
    changes = []
    for name in sorted(then.keys() | now.keys(), key=lambda name: (now.get(name) or then[name]).number):
        old, new = then.get(name), now.get(name)
        with_bytes = bool(old and new and old.sha256 and new.sha256 and not noise.has_passing_bytes(new))
        texts = [each and _partition_text(each, with_bytes) for each in (old, new)]
        if texts[0] != texts[1]:
            changes.append(Change(name, *texts))
    return tuple(changes)


def _by_label(partitions: Iterable[Partition]) -> dict[str, Partition]:
    found: dict[str, Partition] = {}
    for each in sorted(partitions):
        name = each.label or f"partition {each.number}"
        found[f"{name} ({each.number})" if name in found else name] = each
    return found


def _partition_text(partition: Partition, with_bytes: bool) -> str:
    texts = (
        f"number {partition.number}",
        f"{partition.size} bytes",
        partition.file_system,
        f"type {partition.type}" if partition.type else "",
        f"sha256:{partition.sha256}" if with_bytes else "",
    )
    return ", ".join(filter(None, texts))


def _verity(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    sides = (
        {name: "sealed" if name == noise.OWN_SEAL else each for name, each in side.verity.items()}
        for side in (before, after)
    )
    return _changes(*sides)


def _files(before: Mapping[str, File], after: Mapping[str, File]) -> tuple[tuple[FileChange, ...], int]:
    """What has become of files, by path; and of how many no more than the size could be compared."""
    changes, by_size = [], 0
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new and (old is None or old.kind != "file" or old.sha256):
            continue
        if noise.is_passed_over(path):
            continue
        if old is None or new is None:
            changes.append(FileChange(path, old, new))
            continue
        if _only_size_known(old, new):
            by_size += 1
        if aspects := tuple(_aspects(old, new)):
            changes.append(FileChange(path, old, new, aspects))
    return tuple(changes), by_size


def _only_size_known(old: File, new: File) -> bool:
    regular = old.kind == new.kind == "file"
    return regular and not (old.sha256 and new.sha256) and old.size == new.size > 0 and not _passing(old)


def _passing(file: File) -> bool:
    return file.kind == "file" and noise.has_passing_content(file.path)


def _aspects(old: File, new: File) -> Iterator[Aspect]:
    if old.kind != new.kind:
        yield "kind"
    elif not _passing(new):
        if old.sha256 and new.sha256 and old.sha256 != new.sha256:
            yield "content"
        if old.size != new.size:
            yield "size"
    if old.mode != new.mode:
        yield "mode"
    if (old.user, old.group) != (new.user, new.group):
        yield "owner"
    if old.target != new.target and old.kind == new.kind:
        yield "target"


def _bytes(files: Iterable[File]) -> int:
    return sum(each.size for each in files if not noise.is_passed_over(each.path) and not _passing(each))


def _of_containers(inventory: Inventory) -> int:
    """Bytes of all container images; one that docker and containerd both have counts once for each."""
    return sum({(each.runtime, each.namespace, each.id): each.size for each in inventory.containers}.values())


def _left_out(before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[str]:
    for text in dict.fromkeys((*before, *after)):
        where = "both images" if text in before and text in after else "the former" if text in before else "the latter"
        yield f"in {where}: {text}"
