"""A dry run as people read it: a page of Markdown."""

from collections.abc import Sequence

from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.yaml_text import to_yaml


def dry_run_page(spec: BuildSpec, requests: Sequence[str], result: BuildResult) -> str:
    """Tell what a build would do.

    Args:
        spec: of the build, with what was looked up in it; values of environment variables are masked.
        requests: method and path of each request that would change something, in order.
        result: what the build would come to.
    """
    lines = [f"# Dry run of {result.image or spec.output.name or f'…{spec.output.suffix}'}", ""]
    if result.outcome == "exists":
        lines += ["The image is there already: the build would do nothing.", ""]
    if requests:
        lines += ["Nothing was created. The build would send:", ""]
        lines += [f"{number}. `{request}`" for number, request in enumerate(requests, 1)]
        lines += [""]
    recipe = to_yaml(spec.model_dump(mode="json", exclude_none=True))
    # A fence of four: a text in the recipe may have one of three.
    return "\n".join([*lines, "The recipe as it is understood:", "", "````yaml", recipe + "````"]) + "\n"
