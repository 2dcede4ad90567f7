"""What the planning of rebuilds looks at, however many recipes ask for it: each source, project and context once."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.scratch_directory import ScratchDirectory
from cos_customizer.customizer.spec.model import BuildContext, BuildSpec, SourceImage
from cos_customizer.gcp import context as build_context
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, list_images, resolve_source
from cos_customizer.gcp.side_by_side import side_by_side


class ProjectImages:
    """The images of a project as they were listed, so that recipes are compared without another call.

    Args:
        images: all of them, in whatever state.
    """

    def __init__(self, images: Iterable[ResolvedImage]) -> None:
        self._by_name: dict[str, ResolvedImage] = {}
        self._newest: dict[str, ResolvedImage] = {}
        self._current: dict[str, ResolvedImage] = {}
        for image in sorted(images, key=lambda each: each.age):
            self._by_name[image.name] = image
            if image.family and image.status == "READY" and not image.state:
                self._newest[image.family] = image
            if image.family and image.status == "READY" and not image.deprecation:
                self._current[image.family] = image

    def find(self, name: str) -> ResolvedImage | None:
        """The image of a name, or None."""
        return self._by_name.get(name)

    def newest_of_family(self, family: str) -> ResolvedImage | None:
        """The newest one of a family that was released, deprecated or not; None if there is none."""
        return self._newest.get(family)

    def current_of_family(self, family: str) -> ResolvedImage | None:
        """The one that the family gives: the newest that is not deprecated; None if there is none."""
        return self._current.get(family)


@dataclass(frozen=True)
class Facts:
    """What was found out; an error stands where that was not possible.

    Attributes:
        sources: source images, by what recipes call them.
        images: of the projects that images are made in, by project.
        contexts: digests of build contexts, by the recipe.
    """

    sources: Mapping[SourceImage, ResolvedImage | CustomizerError]
    images: Mapping[str, ProjectImages | CustomizerError]
    contexts: Mapping[str, str | CustomizerError]


def find_sources(
    clients: Clients, sources: Collection[SourceImage]
) -> dict[SourceImage, ResolvedImage | CustomizerError]:
    """Find source images, one lookup for each.

    Args:
        clients: Google's clients.
        sources: by name, milestone or family; each is looked for once.

    Returns:
        By what was looked for, the image or why it cannot be used.
    """
    return side_by_side(partial(resolve_source, clients), sources)


def list_output_images(clients: Clients, projects: Collection[str]) -> dict[str, ProjectImages | CustomizerError]:
    """List the images of projects, five hundred for a call.

    Args:
        clients: Google's clients.
        projects: in which images are to be made.

    Returns:
        By project, its images or why they cannot be listed.
    """
    return side_by_side(lambda project: ProjectImages(list_images(clients, project)), projects)


def digest_contexts(clients: Clients, builds: Mapping[str, BuildSpec]) -> dict[str, str | CustomizerError]:
    """Archive build contexts, each once, and see whether they have what the recipes' steps need.

    Args:
        clients: Google's clients, for contexts in Cloud Storage.
        builds: specifications, by recipe.

    Returns:
        By recipe, the digest of its build context, or why there is none.
    """
    users: dict[BuildContext, list[str]] = {}
    for recipe, spec in builds.items():
        users.setdefault(spec.context, []).append(recipe)

    def look_at(context: BuildContext) -> dict[str, str | CustomizerError]:
        with ScratchDirectory() as directory:
            return _digests(clients, context, {recipe: builds[recipe] for recipe in users[context]}, directory)

    found: dict[str, str | CustomizerError] = {}
    for context, digests in side_by_side(look_at, users, os.cpu_count() or 1).items():
        found |= dict.fromkeys(users[context], digests) if isinstance(digests, CustomizerError) else digests
    return found


def _digests(
    clients: Clients, context: BuildContext, builds: Mapping[str, BuildSpec], directory: Path
) -> dict[str, str | CustomizerError]:
    """The digest of one context, for each recipe that can work with it."""
    steps = {recipe: [*spec.steps, *spec.verify.scripts] for recipe, spec in builds.items()}
    made, found = build_context.make_archive(clients, context, directory)
    contents = build_context.contents_of(made, [step for each in steps.values() for step in each])
    digests: dict[str, str | CustomizerError] = {}
    for recipe in builds:
        try:
            for warning in build_context.check_steps(steps[recipe], context, found, contents):
                publish(Note("script", f"{recipe}: {warning}", "warning"))
            build_context.initial_state_in(made, context, found, builds[recipe].output.uefi_keys)
            digests[recipe] = found.sha256
        except CustomizerError as error:
            digests[recipe] = error
    return digests
