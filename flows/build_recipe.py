"""The flow that builds the image of a recipe: what a person starts from Prefect's page."""

from prefect import flow

from cos_customizer.customizer.reporting.events import listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.values import NonEmpty
from cos_customizer.flows.artifacts import show_dry_run
from cos_customizer.flows.build_run import AS_BUILD, build_in_run
from cos_customizer.flows.dry_run import dry_run as rehearse
from cos_customizer.flows.parameters import spec_of
from cos_customizer.flows.run_log import write_to_run_log


@flow(name="build-recipe", **AS_BUILD)
def build_recipe(
    recipe: NonEmpty,
    settings: list[NonEmpty] = [],  # noqa: B006 - a form in the UI shows it, nobody changes it
    dry_run: bool = False,
) -> BuildResult | None:
    """Build the image of a recipe.

    Args:
        recipe: File of the recipe, relative to the directory that was deployed. For example: recipes/web.yaml
        settings: Fields of the recipe to set anew, each as key=value. For example: steps.0.env.RELEASE=42
        dry_run: Build nothing: only show the recipe as it is understood, and what would be sent to Google Cloud.

    Returns:
        What was built, or that the output image was there already; nothing of a dry run.

    Raises:
        UsageError: The recipe cannot be read, or cannot work.
        CustomizerError: as `build_image`.
    """
    spec = spec_of({"recipe": recipe, "settings": settings})
    if not dry_run:
        return build_in_run(spec)
    with listening(write_to_run_log):
        show_dry_run(rehearse(spec))
    return None
