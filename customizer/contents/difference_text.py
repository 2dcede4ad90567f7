"""A difference for people: in one line, and for a terminal."""

import posixpath
from collections import Counter
from collections.abc import Sequence

from cos_customizer.customizer.contents import file_groups
from cos_customizer.customizer.contents.difference import AREAS, Area, Change, Difference, FileChange, Size, Way
from cos_customizer.customizer.contents.file_groups import Group
from cos_customizer.customizer.contents.inventory import File

TITLES: dict[Area, str] = {
    "system": "System",
    "packages": "Packages",
    "containers": "Container images",
    "units": "Units of systemd",
    "kernel_arguments": "Kernel arguments",
    "partitions": "Partitions",
    "verity": "Verified devices (dm-verity)",
    "modules": "Kernel modules",
}
SIGNS: dict[Way, str] = {"added": "+", "changed": "~", "removed": "-"}
_WAYS: tuple[Way, ...] = ("added", "changed", "removed")
_NOUNS: dict[Area, tuple[str, str]] = {
    "system": ("variable of os-release", "variables of os-release"),
    "packages": ("package", "packages"),
    "containers": ("container image", "container images"),
    "units": ("unit", "units"),
    "kernel_arguments": ("kernel argument", "kernel arguments"),
    "partitions": ("partition", "partitions"),
    "verity": ("verified device", "verified devices"),
    "modules": ("kernel module", "kernel modules"),
}
NO_DIFFERENCE = "no difference"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_SHORT_DIGEST = len("sha256:") + 12


def summary(difference: Difference) -> str:
    """A difference in one line: `3 packages changed, 12 files added in /var/lib/app, 1 unit masked`.

    Args:
        difference: Of two images.

    Returns:
        It, or `no difference`.
    """
    parts: list[str] = []
    for area in ("packages", "containers"):
        parts += _counted(area, difference.area(area))
    parts += _counted_files(difference.files)
    parts += _counted_units(difference.units)
    for area in AREAS:
        if area not in ("packages", "containers", "units"):
            parts += _counted(area, difference.area(area))
    return ", ".join(parts) or NO_DIFFERENCE


def _counted(area: Area, changes: Sequence[Change]) -> list[str]:
    counts = Counter(change.way for change in changes)
    return [f"{counted(counts[way], *_NOUNS[area])} {way}" for way in _WAYS if counts[way]]


def _counted_units(changes: Sequence[Change]) -> list[str]:
    """Units by what they are now: `1 unit masked`."""
    counts = Counter(change.after or "removed" for change in changes)
    return [f"{counted(number, *_NOUNS['units'])} {state}" for state, number in sorted(counts.items())]


def _counted_files(changes: Sequence[FileChange]) -> list[str]:
    parts = []
    for way, number in file_groups.counts(changes).items():
        of_way = [change for change in changes if change.way == way]
        place = _common_directory(
            [each.path for each in of_way if not each.is_directory] or [each.path for each in of_way]
        )
        parts.append(f"{counted(number, 'file', 'files')} {way}{f' in {shown(place)}' if place != '/' else ''}")
    return parts


def _common_directory(paths: Sequence[str]) -> str:
    return posixpath.commonpath([posixpath.dirname(path) for path in paths])


def counted(number: int, one: str, several: str) -> str:
    """How many of something: `1 file`, `12 files`."""
    return f"{number} {one if number == 1 else several}"


def text(difference: Difference, *, every_file: bool = False) -> list[str]:
    """A difference in lines, for a terminal.

    Args:
        difference: Of two images.
        every_file: Whether each file has its line. Else a directory with many changes is one line that counts them.
    """
    lines: list[str] = []
    for area in AREAS:
        if changes := difference.area(area):
            width = min(48, max(len(shown(change.name)) for change in changes))
            lines += ["", f"{TITLES[area]}: {_in_all(Counter(each.way for each in changes))}"]
            lines += [f"  {SIGNS[change.way]} {shown(change.name):{width}}  {values(change)}" for change in changes]
    if difference.files:
        lines += ["", f"Files: {_in_all(file_groups.counts(difference.files))}"]
        found = (file_groups.singly if every_file else file_groups.groups)(difference.files)
        width = min(60, max(len(shown(group.path)) for group in found))
        lines += [f"  {sign(group)} {shown(group.path):{width}}  {about(group)}".rstrip() for group in found]
    lines += _sizes(difference) if difference else ["", NO_DIFFERENCE.capitalize() + "."]
    if difference.left_out:
        lines += ["", "Not compared:", *(f"  {shown(each)}" for each in difference.left_out)]
    return lines[1:]


def _in_all(counts: "Counter[Way] | dict[Way, int]") -> str:
    return ", ".join(f"{counts[way]} {way}" for way in _WAYS if counts.get(way))


def _sizes(difference: Difference) -> list[str]:
    changed = [size for size in difference.sizes if size.before != size.after]
    return ["", "Size:", *(f"    {size.name}: {growth(size)}" for size in changed)] if changed else []


def growth(size: Size) -> str:
    """From how many bytes to how many: `1.2 MiB → 3.4 MiB (+2.2 MiB)`."""
    more = size.after - size.before
    change = f"{'+' if more > 0 else '-'}{in_units(abs(more))}"
    return f"{in_units(size.before)} → {in_units(size.after)} ({change})"


def in_units(number: float) -> str:
    """Bytes as people write them: `312 bytes`, `1.2 MiB`."""
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else counted(int(number), "byte", "bytes")


def sign(group: Group) -> str:
    """`+`, `-` or `~`: the last one also of a directory in which files have come and gone."""
    ways = list(group.counts)
    return SIGNS[ways[0]] if len(ways) == 1 else SIGNS["changed"]


def about(group: Group) -> str:
    """What there is to say of files, in a few words."""
    if (change := group.single) is not None and not group.path.endswith("/"):
        return of_file(change)
    size = sum(change.file.size for change in group.changes if change.after is not None)
    told = [f"{number} {way}" for way, number in group.counts.items()]
    if len(told) == 1:
        number = next(iter(group.counts.values()))
        told = [counted(number, "file", "files")]
    return ", ".join([*told, *([in_units(size)] if size else [])])


def of_file(change: FileChange) -> str:
    """What has changed of one file, or what it is if it is new."""
    if change.before is None or change.after is None:
        return _as_it_is(change.file)
    old, new = change.before, change.after
    told = {
        "kind": f"{old.kind} → {new.kind}",
        "content": "content" if old.size == new.size else f"content, {in_units(old.size)} → {in_units(new.size)}",
        "size": "" if "content" in change.aspects else f"size {in_units(old.size)} → {in_units(new.size)}",
        "mode": f"mode {old.mode:04o} → {new.mode:04o}",
        "owner": f"owner {old.user}:{old.group} → {new.user}:{new.group}",
        "target": f"target {shown(old.target or '')} → {shown(new.target or '')}",
    }
    return ", ".join(filter(None, (told[aspect] for aspect in change.aspects)))


def _as_it_is(file: File) -> str:
    what = {"file": in_units(file.size), "link": f"→ {shown(file.target or '')}"}.get(file.kind, file.kind)
    usual = file.kind == "link" or file.mode in (0o644, 0o755)
    mode = "" if usual else f", mode {file.mode:04o}"
    return f"{what}{mode}" + ("" if file.user == file.group == 0 else f", owner {file.user}:{file.group}")


def values(change: Change, *, whole: bool = False) -> str:
    """From what to what; digests in short.

    Args:
        change: Of anything but a file.
        whole: Digests are not shortened.
    """
    before, after = (
        None if value is None else shown(value if whole else _short(value)) for value in (change.before, change.after)
    )
    if before is not None and after is not None:
        return f"{before} → {after}"
    return after if after is not None else before or ""


def _short(value: str) -> str:
    return ", ".join(
        part[:_SHORT_DIGEST] if part.startswith("sha256:") else part[:12] if _is_digest(part) else part
        for part in value.split(", ")
    )


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)


def shown(text: str) -> str:
    r"""A text in one line, whatever bytes a path is made of: what is no UTF-8, or controls a terminal, as `\xff`."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in readable)
