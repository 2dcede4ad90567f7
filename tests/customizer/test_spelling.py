"""What a misspelled name may have meant."""

import pytest

from cos_customizer.customizer.spelling import did_you_mean, nearest


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("preload", ["preload.sh"]),
        ("preloda.sh", ["preload.sh"]),
        ("mylib.sh", ["lib/mylib.sh", "other/mylib.sh"]),
        ("scripts/preload.sh", ["preload.sh"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_near_names_are_what_a_typing_error_may_have_meant(wanted: str, near: list[str]) -> None:
    assert nearest(wanted, ["lib/mylib.sh", "other/mylib.sh", "preload.sh", "README"])[: len(near) or 3] == near


def test_at_most_three_near_names_are_offered() -> None:
    assert len(nearest("a.sh", [f"{number}/a.sh" for number in range(9)])) == 3


@pytest.mark.parametrize(
    ("wanted", "names", "before", "question"),
    [
        ("scirpt", ["script", "env"], "-", "did you mean -script?"),
        ("nam", ["name", "names"], "output.", "did you mean output.name or output.names?"),
        ("x", ["name"], "", ""),
    ],
)
def test_the_question_names_them_as_they_are_written(wanted: str, names: list[str], before: str, question: str) -> None:
    assert did_you_mean(wanted, names, before) == question
