"""Customize Compute Engine images: boot a builder VM, run scripts on it, make an image of its disk.

    from cos_customizer import build_image, read_recipe

    result = build_image(read_recipe("recipes/web.yaml"))
    print(result.image)

What stands in `__all__` is public, and a change to it stands in the changelog; docs/library.md explains it. Every
module below `cos_customizer` is private, but for the flows that a deployment of Prefect names by
`cos_customizer.flows.build_image.build_image` and the like.

To import this takes no time: a name's own module is imported once the name is asked for, and Prefect once something is
built.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cos_customizer import quick_imports

if TYPE_CHECKING:
    from cos_customizer.customizer.errors import (
        BuildFailedError,
        BuildTimeoutError,
        CustomizerError,
        UsageError,
    )
    from cos_customizer.customizer.families.rebuild import Rebuild, RebuildFailedError
    from cos_customizer.customizer.reporting.result import BuildResult, StepResult
    from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
    from cos_customizer.customizer.spec.recipe import Recipe, read_recipe
    from cos_customizer.flows.library import build_image, rebuild_images

    __version__: str

__all__ = [
    "BuildFailedError",
    "BuildResult",
    "BuildSpec",
    "BuildTimeoutError",
    "CustomizerError",
    "Rebuild",
    "RebuildFailedError",
    "Recipe",
    "StepResult",
    "UsageError",
    "__version__",
    "build_image",
    "parse_spec",
    "read_recipe",
    "rebuild_images",
]

_PLACES = {
    "customizer.errors": ("BuildFailedError", "BuildTimeoutError", "CustomizerError", "UsageError"),
    "customizer.families.rebuild": ("Rebuild", "RebuildFailedError"),
    "customizer.reporting.result": ("BuildResult", "StepResult"),
    "customizer.spec.model": ("BuildSpec", "parse_spec"),
    "customizer.spec.recipe": ("Recipe", "read_recipe"),
    "flows.library": ("build_image", "rebuild_images"),
}
"""The names of each module that are public."""

quick_imports.install()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cos-customizer")
    for place, names in _PLACES.items():
        if name in names:
            found = getattr(importlib.import_module(f"{__name__}.{place}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
