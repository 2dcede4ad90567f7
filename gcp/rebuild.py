"""Finding out whether a recipe's image is to be made anew."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.provenance import Provenance, fingerprint
from cos_customizer.customizer.rebuild import dated_name, why_to_build
from cos_customizer.customizer.spec import BuildSpec, SourceImage
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.context import prepare_archive
from cos_customizer.gcp.images import ResolvedImage, find_image, newest_of_family, resolve_source


@dataclass(frozen=True)
class RebuildPlan:
    """What a recipe comes to now.

    Attributes:
        spec: to build: source image and digest of the build context are the ones looked at, the name is new.
        newest: name of the newest released image of the family; empty if there is none.
        why: why it is to be built; empty if it is not.
    """

    spec: BuildSpec
    newest: str
    why: str


def plan_rebuild(
    clients: Clients, spec: BuildSpec, directory: Path, *, force: bool, day: date, reserved: Collection[str] = ()
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
        raise UsageError("output.family (-image-family) must be set", "a family is what is kept fresh.")
    source = resolve_source(clients, spec.source)
    digest = prepare_archive(clients, spec.context, [*spec.steps, *spec.verify.scripts], directory).sha256
    recipe = fingerprint(spec, source.id, digest)
    newest = newest_of_family(clients, output.project, output.family)
    provenance = Provenance.parse(newest.description) if newest else None
    why = why_to_build(newest.name if newest else "", provenance, source.id, source.name, recipe, force)

    def taken(name: str) -> bool:
        image = find_image(clients, output.project, name)
        return name in reserved or (image is not None and not _may_be_taken_up(image, recipe))

    if why:
        name = dated_name(output.name_for(source.name), day, taken)
        pinned = SourceImage(project=source.project, name=source.name, architecture=spec.source.architecture)
        spec = spec.model_copy(
            update={
                "source": pinned,
                "context": spec.context.model_copy(update={"sha256": digest}),
                "output": output.model_copy(update={"name": name, "suffix": None}),
            }
        )
    return RebuildPlan(spec, newest.name if newest else "", why)


def _may_be_taken_up(image: ResolvedImage, recipe: str) -> bool:
    """Whether an image is what a killed build of this recipe has left, to be verified and released."""
    provenance = Provenance.parse(image.description)
    return image.state == "unreleased" and provenance is not None and provenance.recipe == recipe
