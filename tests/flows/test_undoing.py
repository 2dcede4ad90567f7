"""Undoing: everything, in reverse, whatever happens to one part of it, and what is left is said."""

import pytest

from cos_customizer.customizer.errors import PermissionDeniedError
from cos_customizer.customizer.families.removal import Action, Removal
from cos_customizer.flows.undoing import Undoing


def test_what_was_done_is_undone_in_reverse_and_once() -> None:
    undoing, undone = Undoing(), []
    for number in range(3):
        undoing.add(str(number), lambda number=number: undone.append(number))  # type: ignore[misc]
    undoing.run()
    undoing.run()
    assert undone == [2, 1, 0]
    assert undoing.leftovers == []


def test_what_is_to_stay_stays() -> None:
    undoing, undone = Undoing(), []
    undoing.add("disk", lambda: undone.append("disk"))
    entry = undoing.add("image", lambda: undone.append("image"))
    undoing.add("object", lambda: undone.append("object"))
    entry.cancel()
    entry.cancel()
    undoing.run()
    entry.cancel()
    assert undone == ["object", "disk"]


def test_of_two_like_registrations_only_the_one_that_is_to_stay_is_taken_back() -> None:
    undoing, undone = Undoing(), []

    def undo() -> None:
        undone.append(1)

    entry = undoing.add("image", undo)
    undoing.add("image", undo)
    entry.cancel()
    entry.cancel()
    undoing.run()
    assert undone == [1]


def test_a_part_that_fails_is_left_and_the_rest_goes_on() -> None:
    undoing, undone = Undoing(), []

    def refuse() -> None:
        raise PermissionDeniedError("could not delete VM x: not allowed", "ask for more")

    def crash() -> None:
        raise ValueError("odd")

    undoing.add("first", lambda: undone.append("first"))
    undoing.add("VM x in zone z", refuse)
    undoing.add("disk y", crash)
    undoing.add("last", lambda: undone.append("last"))
    undoing.run()
    assert undone == ["last", "first"]
    assert undoing.leftovers == ["disk y (ValueError: odd)", "VM x in zone z (could not delete VM x: not allowed)"]


def test_what_is_registered_while_undoing_is_undone_as_well() -> None:
    undoing, undone = Undoing(), []

    def uncover() -> None:
        undoing.add("inner", lambda: undone.append("inner"))

    undoing.add("first", lambda: undone.append("first"))
    undoing.add("outer", uncover)
    undoing.run()
    assert undone == ["inner", "first"]


def test_an_end_in_the_middle_of_undoing_leaves_the_rest_to_the_next_run() -> None:
    undoing, undone = Undoing(), []
    ends = [KeyboardInterrupt()]

    def end() -> None:
        if ends:
            raise ends.pop()
        undone.append("second")

    undoing.add("first", lambda: undone.append("first"))
    undoing.add("second", end)
    with pytest.raises(KeyboardInterrupt):
        undoing.run()
    assert undone == []
    undoing.run()
    assert undone == ["second", "first"]


def test_what_could_not_be_removed_is_left() -> None:
    undoing = Undoing()
    undoing.add("VM x in zone z", lambda: [removal("VM", "failed"), removal("disk", "deleted")])
    undoing.run()
    assert undoing.leftovers == ["VM x in zone z (why)"]
    assert undoing.summary() == "1 disk"


@pytest.mark.parametrize(
    ("removed", "summary"),
    [
        ([], "nothing was left"),
        ([None, []], "nothing was left"),
        ([[("VM", "gone"), ("disk", "gone")]], "nothing was left"),
        ([[("VM", "deleted"), ("disk", "deleted")], [("object", "deleted")] * 2], "1 VM, 1 disk, 2 objects"),
        ([[("object", "deleted")], None, [("object", "deleted")], [("VM", "deleted")] * 2], "2 objects, 2 VMs"),
    ],
)
def test_the_summary_counts_what_was_there(removed: "list[list[tuple[str, Action]] | None]", summary: str) -> None:
    undoing = Undoing()
    for kinds in reversed(removed):
        undoing.add("it", lambda kinds=kinds: kinds and [removal(*kind) for kind in kinds])  # type: ignore[misc]
    undoing.run()
    assert undoing.summary() == summary


def removal(kind: str, action: Action) -> Removal:
    return Removal(kind, "z", "x", action, "why")
