"""Finding out which recipes' images are to be made anew."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from glob import glob, has_magic
from pathlib import Path

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.families.provenance import fingerprint
from cos_customizer.customizer.families.rebuild import Rebuild, dated_name, why_to_build
from cos_customizer.customizer.names import UNRELEASED
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.scratch_directory import ScratchDirectory
from cos_customizer.customizer.spec.model import BuildSpec, SourceImage
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.context import prepare_archive
from cos_customizer.gcp.images import ResolvedImage, find_image, image_from_family, newest_of_family, resolve_source


@dataclass(frozen=True)
class RebuildPlan:
    """What a recipe comes to now.

    Attributes:
        spec: to build: source image and digest of the build context are the ones looked at, the name is new.
        newest: name of the newest released image of the family; empty if there is none.
        why: why it is to be built; empty if it is not.
        gives: name of the image that the family gives instead of the newest, which was rolled back; else empty.
    """

    spec: BuildSpec
    newest: str
    why: str
    gives: str = ""


def plan_rebuild(
    clients: Clients, spec: BuildSpec, directory: Path, force: bool, day: date, reserved: Collection[str] = ()
) -> RebuildPlan:
    """Find out whether a recipe's image is to be made anew, and as what.

    The image to compare with is the newest of the family that was released, deprecated or not: after a rollback it is
    the one that was rolled back, and the same recipe does not bring it back.

    Args:
        clients: Google's clients.
        spec: the recipe.
        directory: for temporary files.
        force: build in any case.
        day: to put into the name of the new image.
        reserved: names that others are going to use.

    Raises:
        UsageError: the recipe cannot work, or has no family to compare with.
        CustomizerError: the API does not say.
    """
    output = spec.output
    if not output.family:
        raise UsageError("output.family must be set", "a family is what is kept fresh.")
    source = resolve_source(clients, spec.source)
    digest = prepare_archive(clients, spec.context, [*spec.steps, *spec.verify.scripts], directory).sha256
    recipe = fingerprint(spec, source.id, digest)
    newest = newest_of_family(clients, output.project, output.family)
    provenance = newest.provenance if newest else None
    why = why_to_build(newest.name if newest else "", provenance, source.id, source.name, recipe, force)

    def taken(name: str) -> bool:
        image = find_image(clients, ImageRef(output.project, name))
        return name in reserved or (image is not None and not _may_be_taken_up(image, recipe))

    if why:
        name = dated_name(spec.output.name_for(source.name), day, taken)
        pinned = SourceImage(project=source.project, name=source.name, architecture=spec.source.architecture)
        spec = spec.model_copy(
            update={
                "source": pinned,
                "context": spec.context.model_copy(update={"sha256": digest}),
                "output": output.model_copy(update={"name": name, "suffix": None, "on_existing": "skip"}),
            }
        )
    gives = ""
    if newest is not None and newest.deprecation and not why:
        current = image_from_family(clients, output.project, output.family)
        gives = current.name if current else "none"
    return RebuildPlan(spec, newest.name if newest else "", why, gives)


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


Plan = Callable[[str, BuildSpec, Path, bool, date, Collection[str]], RebuildPlan]
Planned = dict[str, RebuildPlan | CustomizerError]


def plan_all(files: Sequence[str], force: bool, plan: Plan, on_planned: Callable[[Rebuild], object]) -> Planned:
    """What each recipe comes to; one that cannot be planned fails alone.

    Args:
        files: of the recipes.
        force: build all of them.
        plan: `plan_rebuild`, or a task that does it: called with the file and that function's arguments.
        on_planned: called with each recipe once it is planned.

    Returns:
        By file, the plan or why there is none.
    """
    planned: Planned = {}
    names: list[str] = []
    families: dict[tuple[str, str], str] = {}
    day = datetime.now(UTC).date()
    for file in files:
        try:
            spec = read_recipe(Path(file)).spec()
            other = families.setdefault((spec.output.project, spec.output.family or file), file)
            if other != file:
                raise UsageError(f"it has the family of {other}", "they would replace each other's images for ever.")
            with ScratchDirectory() as directory:
                found = planned[file] = plan(file, spec, directory, force, day, names)
            names += [found.spec.output.name or ""] if found.why else []
        except CustomizerError as error:
            planned[file] = error
        on_planned(row_of(file, planned[file]))
    return planned


def row_of(file: str, plan: RebuildPlan | CustomizerError, built: bool = False, failure: str = "") -> Rebuild:
    """What has become of a recipe, or would.

    Args:
        file: of the recipe.
        plan: what it comes to, or why it comes to nothing.
        built: whether its image was built, should that have been the plan.
        failure: why the build has failed; empty if it has not.
    """
    if isinstance(plan, CustomizerError):
        return Rebuild(recipe=file, why=plan.message)
    family = plan.spec.output.family or ""
    if not plan.why:
        rolled_back = f"; rolled back: the family gives {plan.gives}" if plan.gives else ""
        why = f"nothing has changed{rolled_back}"
        return Rebuild(recipe=file, family=family, outcome="up-to-date", image=plan.newest, why=why)
    if failure:
        return Rebuild(recipe=file, family=family, image=plan.newest, why=failure)
    name = plan.spec.output.name or ""
    return Rebuild(recipe=file, family=family, outcome="built" if built else "to-build", image=name, why=plan.why)


def _may_be_taken_up(image: ResolvedImage, recipe: str) -> bool:
    """Whether an image is what a killed build of this recipe has left, to be verified and released."""
    provenance = image.provenance
    return image.state == UNRELEASED and provenance is not None and provenance.recipe == recipe
