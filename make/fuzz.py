"""`make fuzz`: many cases of bad input of each kind, and a table of what came of them.

Arguments: how many cases of each kind (20,000), and kinds to leave it at. Exit code 1 if anything came of them that is
not an error in words. The seed is printed; `SEED=n` takes it again.
"""

import os
import random
import sys
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from support.fuzz import KINDS, Kind, timed
from support.fuzz_place import place

_COLUMNS = ("kind", "cases", "unexpected", "tracebacks", "wrong exit codes", "slowest")


def _fuzz(kind: Kind, cases: int, number: int) -> list[str]:
    """Try cases of a kind; the row of the table. What went wrong is printed, each only once."""
    found: Counter[str] = Counter()
    seen: set[str] = set()
    slowest: list[float] = [0.0]

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.cases)
    def attempt(case: object) -> None:
        verdict, seconds = timed(kind, case)
        found["cases"] += 1
        for column in ("unexpected", "traceback", "wrong_code"):
            found[column] += bool(getattr(verdict, column))
        if seconds > slowest[0]:
            slowest[0] = seconds
            if seconds > 2:
                print(f"{kind.name}: {seconds:.1f} s: {str(case)[:300]!r}", flush=True)
        last = verdict.problem.strip().splitlines()[-1:] or [""]
        if verdict.problem and last[0] not in seen:
            seen.add(last[0])
            print(f"{kind.name}: {str(case)[:1000]!r}\n{verdict.problem[-2000:]}", flush=True)

    with place():
        attempt()
    counts = [f"{found[column]:,}" for column in ("cases", "unexpected", "traceback", "wrong_code")]
    return [kind.name, *counts, f"{slowest[0]:.2f} s"]


def main(arguments: list[str]) -> int:
    """Run all kinds, or those that are named."""
    cases = int(arguments[0]) if arguments else 20_000
    number = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {number}", flush=True)
    rows = [
        _fuzz(kind, cases, number)
        for kind in KINDS
        if kind.name.replace(" ", "-") in arguments[1:] or not arguments[1:]
    ]
    table = [list(_COLUMNS), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return int(any(count != "0" for row in rows for count in row[2:5]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
