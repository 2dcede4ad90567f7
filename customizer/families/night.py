"""The report of many rebuilds, for somebody who has not written the recipes: a page of Markdown."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.families.build_queue import Attempt, Job, Wait
from cos_customizer.customizer.families.rebuild import NOTHING, Rebuild
from cos_customizer.customizer.reporting.calls_a_minute import CallsByMinute, peaks, summed
from cos_customizer.customizer.reporting.causes import IN_WORDS
from cos_customizer.customizer.reporting.markdown import as_text, table

_NAMED = 5
"""How many recipes are called by their names in one cell."""
MOST_LINES = 50
"""Of one table of the page; the run's own table has the rest."""
_OUTCOMES = {
    "built": "built",
    "to-build": "to build",
    "up-to-date": "up to date",
    "failed": "failed",
    "skipped": "skipped",
}
_WAITS: dict[Wait, str] = {
    "family": "another build of the family",
    "capacity": "capacity or quota",
    "worker": "a worker",
}


@dataclass(frozen=True)
class Night:
    """What a run of `rebuild-images` has done.

    Attributes:
        rows: one for each recipe.
        jobs: the builds.
        seconds: all of it has taken.
        at_most: builds that were let in flight at once.
        sources: how many recipes are made of each source image.
        calls: to Google's APIs that this run itself has made.
    """

    rows: Sequence[Rebuild]
    jobs: Sequence[Job] = ()
    seconds: float = 0.0
    at_most: int = 1
    sources: Mapping[str, int] = field(default_factory=dict)
    calls: CallsByMinute = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """How many of each: `12 built, 950 up to date, 3 failed`."""
        counts = Counter(row.outcome for row in self.rows)
        return ", ".join(f"{counts[key]} {word}" for key, word in _OUTCOMES.items() if counts[key])  # type: ignore[index]

    def page(self) -> str:
        """The report."""
        lines = [
            "# Rebuilt images",
            "",
            f"**{self.summary}**, of {_recipes(len(self.rows))}, in {human_duration(self.seconds)}.",
            "",
            *table(("", ""), self._facts()),
            *self._failed(),
            *_section("Built", self._of("built"), ("Image", "Recipe", "Why", "Took"), _built),
            *_section("Skipped", self._of("skipped"), ("Recipe", "Why"), lambda row: (row.recipe, row.why)),
            *self._up_to_date(),
        ]
        return "\n".join(lines) + "\n"

    def _of(self, outcome: str) -> list[Rebuild]:
        return [row for row in self.rows if row.outcome == outcome]

    def _facts(self) -> list[tuple[str, str]]:
        facts = [
            ("Source image", f"{as_text(name)}, of {_recipes(count)}")
            for name, count in sorted(self.sources.items(), key=lambda item: -item[1])[:5]
        ]
        if len(self.sources) > 5:
            facts.append(("", f"and {len(self.sources) - 5} more"))
        attempts = [attempt for job in self.jobs for attempt in job.attempts if attempt.began]
        if attempts:
            peak = most_at_once(attempts)
            limit = f", of {self.at_most} (`max_in_flight`)" if self.at_most > 1 else ""
            facts.append(("VMs at once", f"{peak} at the peak{limit}: a build has one at a time"))
            longest = max(self.jobs, key=_seconds)
            took = f"{human_duration(median(attempt.seconds for attempt in attempts))} (the median)"
            facts.append(("A build took", f"{took}; at most {human_duration(_seconds(longest))}: {_name(longest)}"))
        for what, words in _WAITS.items():
            waiting = [job for job in self.jobs if job.waits.get(what, 0.0) >= 1]
            if waiting:
                longest = max(waiting, key=lambda job: job.waits[what])
                most = f"{human_duration(longest.waits[what])} at most: {_name(longest)}"
                facts.append((f"Waited for {words}", f"{_recipes(len(waiting))}, {most}"))
        if again := [job for job in self.jobs if len(job.attempts) > 1]:
            facts.append(("Tried again", f"{_recipes(len(again))}, for want of capacity or quota"))
        calls = summed([self.calls, *(attempt.calls for job in self.jobs for attempt in job.attempts)])
        told = ", ".join(f"{most:,} {group}" for group, most in peaks(calls).items())
        return [*facts, ("Calls a minute, at the peak", told)] if told else facts

    def _failed(self) -> list[str]:
        failed = self._of("failed")
        lines = ["", f"## Failed ({len(failed)})"] if failed else []
        for cause, words in IN_WORDS.items():
            messages: dict[str, list[str]] = {}
            for row in failed:
                if (row.cause or "other") == cause:
                    messages.setdefault(row.why, []).append(row.recipe)
            if messages:
                commonest = sorted(messages.items(), key=lambda item: -len(item[1]))
                rows = [(_list_of(recipes), as_text(" ".join(why.split()))) for why, recipes in commonest]
                count = sum(map(len, messages.values()))
                lines += ["", f"### {words} ({count})", "", *_cut(("Recipes", "What was said"), rows)]
        return lines

    def _up_to_date(self) -> list[str]:
        rows = self._of("up-to-date")
        if not rows:
            return []
        same = [row for row in rows if row.why == NOTHING]
        lines = ["", f"## Up to date ({len(rows)})", ""]
        if same:
            names = _list_of([row.recipe for row in same]) if len(same) <= _NAMED else _recipes(len(same))
            lines += [f"{names}: {NOTHING}.", ""]
        others = [row for row in rows if row.why != NOTHING]
        return lines + (_cut(("Recipe", "Why"), [(row.recipe, row.why) for row in others]) if others else [])


def most_at_once(attempts: Iterable[Attempt]) -> int:
    """How many builds were at work at a time, at the peak.

    Args:
        attempts: those that began.
    """
    changes = sorted(change for each in attempts for change in ((each.began, 1), (each.ended, -1)))
    at_work = most = 0
    for _, change in changes:
        at_work += change
        most = max(most, at_work)
    return most


def _section(
    title: str, rows: Sequence[Rebuild], head: Sequence[str], cells: Callable[[Rebuild], tuple[str, ...]]
) -> list[str]:
    if not rows:
        return []
    return ["", f"## {title} ({len(rows)})", "", *_cut(head, [tuple(map(as_text, cells(row))) for row in rows])]


def _built(row: Rebuild) -> tuple[str, ...]:
    return row.image, row.recipe, row.why, "" if row.seconds is None else human_duration(row.seconds)


def _cut(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table of no more lines than somebody reads."""
    lines = table(head, rows[:MOST_LINES])
    left = len(rows) - MOST_LINES
    return [*lines, "", f"… and {left} more: the run's table `rebuild-images` has them all."] if left > 0 else lines


def _list_of(recipes: Sequence[str]) -> str:
    """Recipes by name, where they are few."""
    if len(recipes) <= _NAMED:
        return ", ".join(map(as_text, recipes))
    return f"{as_text(recipes[0])} and {len(recipes) - 1} more"


def _recipes(count: int) -> str:
    return f"{count:,} {'recipe' if count == 1 else 'recipes'}"


def _seconds(job: Job) -> float:
    return max((attempt.seconds for attempt in job.attempts), default=0.0)


def _name(job: Job) -> str:
    return as_text(job.recipe)
