"""The flow that tells of new source images, for a schedule: so nobody waits for a night's rebuild."""

import json
from dataclasses import asdict
from typing import Annotated, Any

from prefect import flow
from prefect.types import MAX_VARIABLE_VALUE_LENGTH
from prefect.variables import Variable
from pydantic import AfterValidator, Field

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.sources import TIME_LIMIT, SourceLook, check_memory, raise_failures
from cos_customizer.customizer.reporting.events import Note, listening, publish
from cos_customizer.customizer.spec.values import NonEmpty, PositiveDuration
from cos_customizer.flows.announcements import announce
from cos_customizer.flows.prefect_logs import tidy_logs
from cos_customizer.flows.rebuild_planning import recipe_files
from cos_customizer.flows.run_log import report_table, write_to_run_log
from cos_customizer.flows.time_limit import in_time
from cos_customizer.tasks import families
from cos_customizer.tasks.operation import in_order

tidy_logs()

MEMORY = "cos_customizer_sources"
"""The Prefect variable in which a flow remembers what it has seen, unless it is given another."""


@flow(name="watch-sources", flow_run_name="watch sources", persist_result=False)
def watch_sources(
    recipes: Annotated[list[NonEmpty], Field(min_length=1)],
    memory: Annotated[str, AfterValidator(check_memory)] = MEMORY,
    timeout: PositiveDuration = TIME_LIMIT,
) -> list[SourceLook]:
    """Announce source images that are new: the event `cos-customizer.source.renewed`, by which automations rebuild.

    The first time that a family or milestone is seen, its image is only remembered.

    Args:
        recipes: Files of recipes, or patterns such as recipes/*.yaml, relative to the working directory: that of the
            deployment, for a worker. Looked at are the families and milestones that they start from.
        memory: Name of the Prefect variable that remembers what was seen. Two deployments that watch for other recipes
            have one each.
        timeout: Time limit of the run as a Go duration.

    Returns:
        Each family or milestone, and what it gives.

    Raises:
        UsageError: there is no recipe of a name.
        CustomizerError: a recipe or a source could not be looked at; the others were.
    """
    files = recipe_files(recipes)
    with listening(write_to_run_log), listening(announce), in_time(timeout), in_order():
        looks = families.look_at_sources(files, _remembered(memory))
        for renewed in looks.renewed:
            publish(renewed)  # before it is remembered: twice is better than not at all
            publish(Note("renewed", f"{renewed.project} {renewed.source} gives {renewed.image}"))
        _remember(memory, looks.ids)
        for row in looks.rows:
            if row.outcome == "failed":
                publish(Note("failed", f"{row.source or ', '.join(row.recipes)}: {row.why}", "error"))
    rows = [{**asdict(row), "recipes": ", ".join(row.recipes)} for row in looks.rows]
    report_table("watch-sources", rows, "What the sources of recipes give.")
    raise_failures(looks.rows)
    return looks.rows


def _remembered(memory: str) -> dict[str, str]:
    seen: Any = Variable.get(memory, default={})
    return {str(key): str(value) for key, value in seen.items()} if isinstance(seen, dict) else {}


def _remember(memory: str, ids: dict[str, str]) -> None:
    if len(json.dumps(ids)) > MAX_VARIABLE_VALUE_LENGTH:
        raise CustomizerError(
            f"{len(ids)} sources are more than a Prefect variable remembers ({MAX_VARIABLE_VALUE_LENGTH:,} characters)",
            "share the recipes out to several deployments, each with a memory of its own.",
        )
    Variable.set(memory, ids, overwrite=True)
