"""`make faults`: builds on scripted machines, each with something that goes wrong, and a table of what came of them.

`TENTH=n` takes every tenth case, from the n-th on; `TENTH=commit` lets the commit choose; `ONLY=pattern` takes those
whose names a regular expression finds. Exit code 1 if anything came out wrong.
"""

import os
import re
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from support.fault_cases import COLUMNS, Case, Undisturbed, Verdict, attempt, matrix
from support.fault_place import FaultPlace
from support.rotation import part

from cos_customizer.flows.local_server import LocalServer

_place: FaultPlace
_undisturbed: Undisturbed


def _begin(prefect: dict[str, str], directory: str) -> None:
    """Make a worker's place."""
    global _place, _undisturbed
    _place = FaultPlace(Path(tempfile.mkdtemp(dir=directory)), prefect)
    _undisturbed = Undisturbed.seen(_place)


def _cases() -> list[Case]:
    return matrix(_undisturbed)


def _attempt(case: Case) -> Verdict:
    try:
        return attempt(_place, case, _undisturbed)
    except Exception:  # no exception of another process need be one here: what is told is the text
        raise RuntimeError(f"{case.name} could not be tried:\n{traceback.format_exc()}") from None


def _chosen(cases: list[Case]) -> list[Case]:
    cases = list(part(cases, "TENTH", 10))
    if only := os.environ.get("ONLY"):
        cases = [case for case in cases if re.search(only, case.name)]
    return cases


def _report(verdicts: list[Verdict], seconds: float) -> int:
    """Print the table; the exit code."""
    counts = {column: sum(any(kind == column for kind, _ in each.problems) for each in verdicts) for column in COLUMNS}
    slowest = max(verdicts, key=lambda each: each.seconds)
    print("| cases | " + " | ".join(COLUMNS) + " |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    print(f"| {len(verdicts)} | " + " | ".join(str(counts[column]) for column in COLUMNS) + " |")
    print(f"{seconds:.0f} s; the slowest took {slowest.seconds:.0f} s: {slowest.case.name}")
    return int(any(counts.values()))


def _workers(directory: str) -> ProcessPoolExecutor:
    # More than there are cores, for many cases wait: for retries, for time to pass.
    count = 1 + (os.cpu_count() or 1)
    return ProcessPoolExecutor(count, get_context("spawn"), _begin, (dict(os.environ), directory))


def main() -> int:
    """Try the cases, some side by side."""
    began = time.monotonic()
    verdicts = []
    with tempfile.TemporaryDirectory() as directory, LocalServer(), _workers(directory) as pool:
        cases = _chosen(pool.submit(_cases).result())
        print(f"{len(cases)} cases", flush=True)
        for number, verdict in enumerate(pool.map(_attempt, cases), start=1):
            verdicts.append(verdict)
            for column, problem in verdict.problems:
                print(f"{verdict.case.name}: {column}: {problem}", flush=True)
            if verdict.problems:
                print(verdict.said, flush=True)
            if number % 50 == 0:
                print(f"{number} of {len(cases)} after {time.monotonic() - began:.0f} s", flush=True)
    return _report(verdicts, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
