"""What each of many recipes comes to: what they share is looked up once. Prefect is not imported here."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from glob import glob, has_magic
from pathlib import Path

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.families.rebuild import NOTHING, Rebuild
from cos_customizer.customizer.reporting.causes import cause_of
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.flows.failures_in_a_row import FailuresInARow
from cos_customizer.gcp.rebuild import RebuildPlan, plan_rebuild
from cos_customizer.gcp.rebuild_facts import Facts
from cos_customizer.tasks import families


def recipe_files(recipes: Sequence[str]) -> list[str]:
    """The files of recipes, each once, whatever it is called.

    Args:
        recipes: files, or patterns such as `recipes/*.yaml`, relative to the working directory.

    Raises:
        UsageError: none was given, or a pattern matches none.
    """
    found: dict[str, str] = {}
    for recipe in recipes:
        is_pattern = has_magic(recipe) and not os.path.lexists(recipe)  # a file's name may have brackets
        # pathlib has no pattern that may be absolute.
        matches = sorted(glob(recipe, recursive=True)) if is_pattern else [recipe]  # noqa: PTH207
        if not matches:
            there = sorted(glob(recipe.rpartition("*.")[0] + "*.y*ml")) if "*." in recipe else []  # noqa: PTH207
            raise UsageError(
                f"no recipe matches {recipe!r} in {str(Path.cwd())!r}",
                f"there is {there[0]}: the pattern for it ends in *{Path(there[0]).suffix}." if there else "",
            )
        for match in matches:
            found.setdefault(os.path.realpath(match), match)  # pathlib raises errors where links go in circles
    if not found:
        raise UsageError("no recipe was given", "give files, or patterns such as 'recipes/*.yaml'.")
    return list(found.values())


def decide(
    files: Sequence[str], force: bool, failures: FailuresInARow
) -> tuple[dict[str, RebuildPlan], dict[str, Rebuild]]:
    """What would become of each recipe; one that cannot be planned fails alone.

    All recipes of one source get the same image, even if a newer one appears meanwhile.

    Args:
        files: of the recipes.
        force: build all of them.
        failures: those that were counted before are read.

    Returns:
        By recipe, what is known of those that can be planned, and what would become of each.
    """
    planned = _plan_all(files, force)
    plans = {file: plan for file, plan in planned.items() if isinstance(plan, RebuildPlan)}
    rows = {file: _row_of(file, plan) for file, plan in planned.items()}
    failures.read({file: plan for file, plan in plans.items() if plan.why})
    if not force:
        rows |= {file: failures.skip(rows[file]) for file in failures.given_up()}
    return plans, rows


def _plan_all(files: Sequence[str], force: bool) -> dict[str, RebuildPlan | CustomizerError]:
    specs = _read(files)
    builds = {file: spec for file, spec in specs.items() if isinstance(spec, BuildSpec)}
    facts = _find_out(builds)
    day = datetime.now(UTC).date()
    names: dict[str, set[str]] = {}
    planned: dict[str, RebuildPlan | CustomizerError] = {}
    for file, spec in specs.items():
        if isinstance(spec, CustomizerError):
            planned[file] = spec
            continue
        taken = names.setdefault(spec.output.project, set())
        try:
            plan = planned[file] = plan_rebuild(file, spec, facts, force, day, taken)
        except CustomizerError as error:
            planned[file] = error
        else:
            if plan.why:
                taken.add(plan.spec.output.name or "")
    return planned


def _read(files: Sequence[str]) -> dict[str, BuildSpec | CustomizerError]:
    specs: dict[str, BuildSpec | CustomizerError] = {}
    owners: dict[tuple[str, str], str] = {}
    for file in files:
        try:
            spec = read_recipe(Path(file)).spec()
            if not spec.output.family:
                raise UsageError("output.family must be set", "a family is what is kept fresh.")
            other = owners.setdefault((spec.output.project, spec.output.family), file)
            if other != file:
                raise UsageError(f"it has the family of {other}", "they would replace each other's images for ever.")
            specs[file] = spec
        except CustomizerError as error:
            specs[file] = error
    return specs


def _find_out(builds: Mapping[str, BuildSpec]) -> Facts:
    """Ask for what the recipes need, each thing once."""
    if not builds:
        return Facts({}, {}, {})
    users = Counter(spec.source for spec in builds.values())
    sources = families.find_sources(list(users))
    for source, image in sources.items():
        if source.name is None and not isinstance(image, CustomizerError):  # a name is what it is
            asked = source.family or f"milestone {source.milestone}"
            recipes = "a recipe" if users[source] == 1 else f"{users[source]} recipes"
            publish(Note("source", f"{source.project}/{asked} is {image.name}", aside=f", for {recipes}"))
    images = families.list_output_images(sorted({spec.output.project for spec in builds.values()}))
    return Facts(sources, images, families.digest_contexts(builds))


def _row_of(file: str, plan: RebuildPlan | CustomizerError) -> Rebuild:
    if isinstance(plan, CustomizerError):
        return Rebuild(recipe=file, why=plan.message, cause=cause_of(plan))
    family = plan.spec.output.family or ""
    if plan.why:
        name = plan.spec.output.name or ""
        return Rebuild(recipe=file, family=family, outcome="to-build", image=name, why=plan.why)
    rolled_back = f"; rolled back: the family gives {plan.gives}" if plan.gives else ""
    why = f"{NOTHING}{rolled_back}"
    return Rebuild(recipe=file, family=family, outcome="up-to-date", image=plan.newest, why=why)
