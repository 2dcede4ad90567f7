"""Builds that fail, and the images around them, for tests of the build flow."""

from typing import Any

import pytest
from google.cloud import compute_v1

from cos_customizer.customizer.reporting.events import BuildEnded, Event, listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect


def images(emulator: Emulator) -> dict[str, Any]:
    """The images of our project, by name."""
    return {image["name"]: image for image in emulator.list("projects/my-project/global/images")}


def make_image(name: str, **fields: Any) -> None:
    """An image that somebody else has made."""
    source = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
    image = compute_v1.Image(name=name, source_image=source, **fields)
    operation = connect().images.insert_unary(project="my-project", image_resource=image)
    connect().global_operations.wait(project="my-project", operation=operation.name)


def failing(spec: BuildSpec, error: type[BaseException], match: str | None = None) -> tuple[Any, BuildResult]:
    """Run a build that ends in an error: the error, and what became of the build."""
    ended: list[BuildResult] = []

    def note(event: Event) -> None:
        if isinstance(event, BuildEnded):
            ended.append(event.result)

    with listening(note), pytest.raises(error, match=match) as caught:
        build_image(spec)
    return caught.value, ended[0]
