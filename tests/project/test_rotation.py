"""Parts of what takes long come round: each test and case has its turn, and nothing is left to nobody."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.rotation import part, that_wait


def _test(file: str, name: str, *marks: pytest.MarkDecorator) -> pytest.Item:
    by_name = {decorated.mark.name: decorated.mark for decorated in marks}
    fields = {"path": SimpleNamespace(name=file), "originalname": name.partition("[")[0], "name": name}
    return cast(pytest.Item, SimpleNamespace(get_closest_marker=by_name.get, **fields))


VM, VITAL = pytest.mark.vm, pytest.mark.vital
TESTS = [
    _test("test_a.py", "test_fast"),
    _test("test_a.py", "test_boot[1]", VM),
    _test("test_a.py", "test_boot[2]", VM),
    _test("test_b.py", "test_shares", VM, pytest.mark.xdist_group("shared")),
    _test("test_c.py", "test_shares_too", VM, pytest.mark.xdist_group("shared")),
    _test("test_c.py", "test_alone", VM),
    _test("test_c.py", "test_first_of_all", VM, VITAL),
]


@pytest.mark.parametrize("parts", [1, 2, 3, 10])
def test_parts_are_the_whole_and_share_nothing(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    numbers: list[int] = []
    for turn in range(parts):
        monkeypatch.setenv("TURN", str(turn))
        numbers += part(range(25), "TURN", parts)
    assert sorted(numbers) == list(range(25))


def test_all_are_taken_where_nothing_asks_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURN", raising=False)
    assert list(part(range(25), "TURN", 10)) == list(range(25))
    assert that_wait(TESTS, "TURN", 2) == []


def test_the_commit_chooses_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURN", "commit")
    assert len(part(range(20), "TURN", 10)) == 2


def test_what_is_no_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURN", "third")
    with pytest.raises(ValueError, match="TURN is 'third'"):
        part([], "TURN", 10)


def test_vms_wait_for_their_turn_by_whole_groups_and_the_vital_never(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Any] = []
    for turn in range(2):
        monkeypatch.setenv("TURN", str(turn))
        names = {item.name for item in that_wait(TESTS, "TURN", 2)}
        for group in ({"test_boot[1]", "test_boot[2]"}, {"test_shares", "test_shares_too"}):
            assert group <= names or not group & names
        waiting += names
    assert sorted(waiting) == sorted(item.name for item in TESTS[1:-1])
