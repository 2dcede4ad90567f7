"""What is left of builds, and whether it may be swept away: labels in, decisions out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BUILD_LABEL, EXPIRY_LABEL, IMAGE_KEY, STATE_LABEL, UNRELEASED, BuildNames
from cos_customizer.customizer.references import ObjectRef

OBJECTS = "**cos-customizer/*/**"
"""Glob of every name that a build's objects in Cloud Storage can have, and of some others."""

_EXPIRY = re.compile(r"[1-9][0-9]{9}")
"""A Unix time from 2001 to 2286: other numbers are no expiry that a build has set."""


@dataclass(frozen=True)
class Leftover:
    """Something that bears a label like ours.

    Attributes:
        where: its zone or bucket, or `global`.
        id: numeric id; an object's generation.
        labels: its labels; an object's custom metadata.
        family: of an image.
        users: what uses it, for people: the VMs that a disk is attached to, the users of an image.
        takes: names of the disks that would be deleted with a VM.
        ours: whether this tool has made an image, as its description says.
        version: an object's metageneration, which changes with its metadata.
        contents: the object that tells what is in an image, if there is one.
    """

    kind: Literal["VM", "disk", "image", "object"]
    where: str
    name: str
    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    users: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    ours: bool = False
    version: str = ""
    contents: ObjectRef | None = None

    @property
    def tells_of_image(self) -> bool:
        """Whether it is an object that tells what is in an image, and stays as long as that, whatever its expiry."""
        return self.kind == "object" and IMAGE_KEY in self.labels


def decide(thing: Leftover, now: float) -> Removal:
    """Decide on one thing by what it says of itself.

    Args:
        thing: as it was last seen.
        now: Unix time.

    Returns:
        `delete` only for what bears our label and an expiry that is past, and is named as its build names it: who may
        label a thing, need not be one who may delete it. An image, whose name is the user's, only if its description
        says that this tool has made it, in the state `unreleased` and in no family; an object only below its build's
        prefix.
    """
    why = _reason_to_keep(thing, now)
    reason = why or f"build {thing.labels[BUILD_LABEL]} expired {human_time(int(thing.labels[EXPIRY_LABEL]))}"
    return Removal(thing.kind, thing.where, thing.name, "keep" if why else "delete", reason)


def _reason_to_keep(thing: Leftover, now: float) -> str:
    build, expiry = thing.labels.get(BUILD_LABEL), thing.labels.get(EXPIRY_LABEL)
    if not build:
        return f"no label {BUILD_LABEL}"
    if why := _reason_not_ours(thing, build):
        return why
    if thing.kind == "image" and thing.labels.get(STATE_LABEL) != UNRELEASED:
        return f"not labelled {STATE_LABEL}={UNRELEASED}"
    if thing.family:  # its release was cut short after the part that counts
        return f"verified, and in family {thing.family}"
    if expiry is None:
        return f"no label {EXPIRY_LABEL}"
    if not _EXPIRY.fullmatch(expiry):
        return f"label {EXPIRY_LABEL} is no time: {expiry!r}"
    if int(expiry) >= now:
        return f"build {build} expires {human_time(int(expiry))}"
    return ""


def _reason_not_ours(thing: Leftover, build: str) -> str:
    """Why a thing with our label is not what its build has made; empty if it is."""
    names = BuildNames.parse(build)
    if thing.kind == "object":
        inside = names is not None and f"/{names.scratch('')}" in f"/{thing.name}"
        return "" if inside else "not where a build keeps its objects"
    if thing.kind == "image":
        return "" if names is not None and thing.ours else "bears our labels, but was not made by cos-customizer"
    if names is None or thing.name not in (names.builder_vm, names.test_vm):
        return "bears our labels, but not our name"
    others = [disk for disk in thing.takes if disk != thing.name]
    return f"disk {others[0]}, which is not ours, would be deleted with it" if others else ""


def plan_sweep(things: Iterable[Leftover], now: float) -> list[tuple[Leftover, Removal]]:
    """Decide on everything that was found; see `decide`.

    Args:
        things: in any order.
        now: Unix time.

    Returns:
        VMs first, then what may be attached to them. A disk goes only if the VMs that use it do, and an image if
        nothing uses it.
    """
    order = ("VM", "disk", "image", "object")
    found = sorted(things, key=lambda thing: (order.index(thing.kind), thing.where, thing.name))
    decided = [(thing, decide(thing, now)) for thing in found]
    going = {
        (thing.where, thing.name) for thing, removal in decided if (thing.kind, removal.action) == ("VM", "delete")
    }
    return [(thing, _unless_used(thing, removal, going)) for thing, removal in decided]


def _unless_used(thing: Leftover, removal: Removal, going: set[tuple[str, str]]) -> Removal:
    staying = [user for user in thing.users if (thing.where, user) not in going]
    return in_use(thing, removal, staying) if removal.action == "delete" and staying else removal


def in_use(thing: Leftover, removal: Removal, users: Sequence[str]) -> Removal:
    """Keep a thing for what uses it.

    Args:
        thing: that would go.
        removal: as it was decided.
        users: at least one.
    """
    return removal.ended("keep", f"attached to VM {users[0]}" if thing.kind == "disk" else f"in use by {users[0]}")
