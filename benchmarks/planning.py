"""How long it takes to plan the rebuild of many recipes, and how many calls."""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.bench import PROGRAM, PROJECT, ZONE, Cloud, Figure, run

_RECIPES = 1000
_CALLS = 100
_RATIO = 5.0
_PLAIN = """
import sys, tarfile, yaml
for number in range(int(sys.argv[1])):
    with open(f"recipe-{number:04}.yaml") as file:
        yaml.safe_load(file)
    with tarfile.open("plain.tar.gz", "w:gz") as archive:
        archive.add(f"recipe-{number:04}")
"""
"""What nobody can do without: read each recipe, archive each build context."""


def measure(cloud: Cloud) -> Iterator[Figure]:
    """Measure.

    Args:
        cloud: to run against.
    """
    place = cloud.directory / "workspace" / "recipes"
    place.mkdir()
    for number in range(_RECIPES):
        _write_recipe(place, f"recipe-{number:04}")
    plan = (PROGRAM, "rebuild-images", "-recipe=recipe-*.yaml", "-dry-run")
    plain = (sys.executable, "-c", _PLAIN, str(_RECIPES))
    seconds, beside = [], []
    for _ in range(3):
        cloud.ask("DELETE", "calls")
        seconds.append(run(plan, cloud.environment, place).seconds)
        beside.append(run(plain, cloud.environment, place).seconds)
    calls = cloud.ask("GET", "calls?last=1")["count"]
    ratio = sorted(seconds)[1] / sorted(beside)[1]
    yield Figure(f"plan {_RECIPES} recipes, calls", calls, _CALLS, "")
    yield Figure(f"plan {_RECIPES} recipes", sorted(seconds)[1], None, "s")
    yield Figure("  the same, by PyYAML and tarfile alone", ratio, _RATIO, "x")


def _write_recipe(place: Path, name: str) -> None:
    (place / name).mkdir()
    (place / name / "setup.sh").write_text(f"echo {name}\n")
    recipe = {
        "source": {"project": "cos-cloud", "family": "cos-125-lts"},
        "context": {"path": name},
        "scratch": {"bucket": f"{PROJECT}_cloudbuild", "workdir": "benchmark"},
        "steps": [{"script": "setup.sh"}],
        "builder": {"project": PROJECT, "zones": [ZONE]},
        "output": {"project": PROJECT, "name": name, "family": name},
    }
    (place / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
