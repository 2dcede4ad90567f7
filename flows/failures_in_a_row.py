"""Leaving recipes alone that fail again and again, until they change or somebody forces them."""

from collections.abc import Mapping

from cos_customizer.customizer.errors import CustomizerError, in_words
from cos_customizer.customizer.families.rebuild import Rebuild
from cos_customizer.customizer.reporting.causes import NOT_THE_RECIPES
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.gcp.failure_counts import FailureCount, place_of
from cos_customizer.gcp.rebuild import RebuildPlan
from cos_customizer.tasks import families


class FailuresInARow:
    """How often each recipe has failed in a row, this time and before.

    That it cannot be read or kept is told, and is no reason for anything to fail.

    Args:
        most: after which a recipe is left alone; None: nothing is counted.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._counts: dict[str, FailureCount] = {}
        """By recipe, what its object says, whatever was built then."""
        self._plans: Mapping[str, RebuildPlan] = {}

    def read(self, plans: Mapping[str, RebuildPlan]) -> None:
        """Read what was counted before.

        Args:
            plans: by recipe; of those that are to be built.
        """
        self._plans = plans
        if self._most is None or not plans:
            return
        found = families.read_failures(sorted({plan.spec.scratch.bucket for plan in plans.values()}))
        for bucket, counts in found.items():
            if isinstance(counts, CustomizerError):
                publish(Note("failures", f"{counts.message}; recipes of {bucket} are all tried", "warning"))
        for recipe, plan in plans.items():
            place = place_of(plan.spec)
            counts = found[place.bucket]
            if not isinstance(counts, CustomizerError) and place.name in counts:
                self._counts[recipe] = counts[place.name]

    def given_up(self) -> list[str]:
        """The recipes that have failed too often, as they are now."""
        return [recipe for recipe, plan in self._plans.items() if self._most and self._of(plan, recipe) >= self._most]

    def skip(self, row: Rebuild) -> Rebuild:
        """What becomes of one of them.

        Args:
            row: what would become of it.
        """
        why = f"{self._counts[row.recipe].count} failures in a row: it is tried again when it or its source changes"
        image = self._plans[row.recipe].newest
        return row.model_copy(update={"outcome": "skipped", "image": image, "why": f"{why}, or if it is forced"})

    def note(self, row: Rebuild, plan: RebuildPlan) -> Rebuild:
        """Count the failure of a build that is over, or forget those before a success.

        Args:
            row: what has become of it.
            plan: of it.

        Returns:
            The same, with a word on it if it will not be tried again.
        """
        if self._most is None or row.cause in NOT_THE_RECIPES:
            return row
        try:
            if row.outcome != "failed":
                if row.recipe in self._counts:
                    families.clear_failures(plan.spec)
                return row
            count = self._of(plan, row.recipe) + 1
            families.write_failure(plan.spec, FailureCount(plan.recipe, count), row.why)
        except Exception as error:  # the bucket's trouble, or the Prefect API's
            publish(Note("failures", f"{row.recipe}: {in_words(error)}; this is not counted", "warning"))
            return row
        if count < self._most:
            return row
        told = f"failure {count} in a row: it is not tried again until it or its source changes, or it is forced"
        return row.model_copy(update={"why": f"{row.why}; {told}"})

    def _of(self, plan: RebuildPlan, recipe: str) -> int:
        known = self._counts.get(recipe)
        return known.count if known is not None and known.recipe == plan.recipe else 0
