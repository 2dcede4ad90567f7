"""What the parameters of a flow run say of its build: `build_image` gets the specification, `build_recipe` a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.customizer.spec.recipe import read_recipe


def spec_of(parameters: Mapping[str, Any]) -> BuildSpec:
    """The specification of a run's build.

    Args:
        parameters: of the flow run.

    Raises:
        UsageError: they give none; or the recipe cannot be read, or is none.
    """
    if "recipe" in parameters:
        return read_recipe(Path(parameters["recipe"])).with_settings(parameters.get("settings") or []).spec()
    return parse_spec(parameters.get("spec"))


def run_name(parameters: Mapping[str, Any]) -> str:
    """What the run of a build is called: `build my-image`.

    Args:
        parameters: of the flow run.
    """
    what = "dry run of" if parameters.get("dry_run") else "build"
    try:
        output = spec_of(parameters).output
    except CustomizerError:  # which the run itself will say, under the name of what it was given
        return f"{what} {parameters.get('recipe', '')}".strip()
    return name_of_build(output.name or f"*{output.suffix}", what)


def name_of_build(image: str, what: str = "build") -> str:
    """What the run of a build is called.

    Args:
        image: the output image's name, or what is known of it.
        what: is done.
    """
    return f"{what} {image}"
