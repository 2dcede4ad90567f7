"""The report of a night: what somebody reads who has not written the recipes."""

from collections import Counter

from cos_customizer.customizer.families.build_queue import Attempt
from cos_customizer.customizer.families.night import MOST_LINES, Night, most_at_once
from cos_customizer.customizer.families.rebuild import NOTHING, Rebuild, folded

SAME = [
    Rebuild(recipe=f"same-{number:03}.yaml", family="f", outcome="up-to-date", image="i", why=NOTHING)
    for number in range(950)
]
BUILT = [
    Rebuild(recipe=f"web-{number:03}.yaml", outcome="built", image=f"web-{number:03}", why="new source", seconds=61.0)
    for number in range(MOST_LINES + 3)
]
FAILED = [
    Rebuild(recipe="a.yaml", outcome="failed", why="there is no bucket b", cause="recipe"),
    Rebuild(
        recipe="b.yaml", outcome="failed", why="step 1/1 failed: run-script x|y.sh exited with 3", cause="step-failed"
    ),
    Rebuild(recipe="c.yaml", outcome="failed", why="there is no bucket b", cause="recipe"),
]
ROLLED_BACK = Rebuild(recipe="r.yaml", outcome="up-to-date", why=f"{NOTHING}; rolled back: the family gives r-1")
SKIPPED = Rebuild(recipe="s.yaml", outcome="skipped", why="3 failures in a row")


def test_a_thousand_recipes_make_a_page_that_somebody_reads() -> None:
    page = Night([*SAME, *BUILT, *FAILED, ROLLED_BACK, SKIPPED], seconds=2040).page()
    assert "**53 built, 951 up to date, 3 failed, 1 skipped**, of 1,008 recipes, in 34 min." in page
    assert len(page.splitlines()) < 2 * MOST_LINES
    assert "… and 3 more" in page
    assert "950 recipes: nothing has changed." in page
    assert "same-" not in page
    assert "r-1" in page


def test_failures_stand_together_by_their_cause_and_equal_words_are_said_once() -> None:
    lines = Night(FAILED).page().splitlines()
    heads = [line for line in lines if line.startswith("#")]
    assert heads == [
        "# Rebuilt images",
        "## Failed (3)",
        "### A step failed (1)",
        "### The recipe, or what it names, is not right (2)",
    ]
    assert r"| b.yaml | step 1/1 failed: run-script x\|y.sh exited with 3 |" in lines
    assert "| a.yaml, c.yaml | there is no bucket b |" in lines


def test_a_table_has_one_line_for_what_is_as_it_was() -> None:
    rows = folded([*SAME, *FAILED, ROLLED_BACK])
    assert rows[:-1] == [*FAILED, ROLLED_BACK]
    assert (rows[-1].recipe, rows[-1].outcome) == ("950 recipes", "up-to-date")
    assert folded(SAME[:3]) == SAME[:3]


def test_how_many_were_at_once_is_counted_by_their_times() -> None:
    times = [(0, 10), (5, 15), (10, 20), (12, 13), (30, 31)]
    assert most_at_once(Attempt(began, ended) for began, ended in times) == 3
    assert most_at_once([]) == 0


def test_the_busiest_minute_of_each_group_is_counted_over_all_processes() -> None:
    calls = {7: Counter({"reads of serial consoles": 1200}), 8: Counter({"reads of serial consoles": 5, "lists": 2})}
    assert "| 1,200 reads of serial consoles, 2 lists |" in Night(FAILED, calls=calls).page()
