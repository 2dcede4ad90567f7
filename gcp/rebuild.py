"""Deciding which recipes' images are to be made anew, from what was found out about all of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.provenance import fingerprint
from cos_customizer.customizer.families.rebuild import dated_name, why_to_build
from cos_customizer.customizer.names import UNRELEASED
from cos_customizer.customizer.spec.model import BuildSpec, SourceImage
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.rebuild_facts import Facts

T = TypeVar("T")


@dataclass(frozen=True)
class RebuildPlan:
    """What a recipe comes to now.

    Attributes:
        spec: to build: source image and digest of the build context are the ones looked at, the name is new.
        newest: name of the newest released image of the family; empty if there is none.
        why: why it is to be built; empty if it is not.
        gives: name of the image that the family gives instead of the newest, which was rolled back; else empty.
        recipe: fingerprint of all that the image is made of.
        source: the source image, as PROJECT/NAME.
    """

    spec: BuildSpec
    newest: str
    why: str
    gives: str = ""
    recipe: str = ""
    source: str = ""


def plan_rebuild(
    recipe: str, spec: BuildSpec, facts: Facts, force: bool, day: date, reserved: Collection[str] = ()
) -> RebuildPlan:
    """Decide whether a recipe's image is to be made anew, and as what.

    The image to compare with is the newest of the family that was released, deprecated or not: after a rollback it is
    the one that was rolled back, and the same recipe does not bring it back.

    Args:
        recipe: its file.
        spec: what it says.
        facts: what was found out.
        force: build in any case.
        day: to put into the name of the new image.
        reserved: names in its project that others are going to use.

    Raises:
        CustomizerError: something was not to be found out.
    """
    output = spec.output
    assert output.family, "a recipe without a family is not looked at"
    source = _known(facts.sources[spec.source])
    digest = _known(facts.contexts[recipe])
    images = _known(facts.images[output.project])
    made_of = fingerprint(spec, source.id, digest)
    newest = images.newest_of_family(output.family)
    provenance = newest.provenance if newest else None
    why = why_to_build(newest.name if newest else "", provenance, source.id, source.name, made_of, force)

    def taken(name: str) -> bool:
        image = images.find(name)
        return name in reserved or (image is not None and not _may_be_taken_up(image, made_of))

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
        current = images.current_of_family(output.family)
        gives = current.name if current else "none"
    return RebuildPlan(spec, newest.name if newest else "", why, gives, made_of, f"{source.project}/{source.name}")


def _known(fact: T | CustomizerError) -> T:
    if isinstance(fact, CustomizerError):
        raise fact
    return fact


def _may_be_taken_up(image: ResolvedImage, recipe: str) -> bool:
    """Whether an image is what a killed build of this recipe has left, to be verified and released."""
    provenance = image.provenance
    return image.state == UNRELEASED and provenance is not None and provenance.recipe == recipe
