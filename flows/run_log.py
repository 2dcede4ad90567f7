"""The log of a run in Prefect: what a flow's events say, and tables of what it did."""

import logging
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from cos_customizer.customizer.families.removal import Removal, summary
from cos_customizer.customizer.reporting.events import ConsoleOutput, Event, Note, StepChange, publish

LINES_PER_RECORD = 50
"""Serial lines that make one log record: Prefect's API takes about a thousand records a second."""
_LINE_IN_LOG = 4096


def write_to_run_log(event: Event) -> None:
    """Write an event to the log of the task run or flow run that it is published in. A listener.

    Args:
        event: What has happened.
    """
    logger = _logger()
    if isinstance(event, ConsoleOutput):
        lines = [line[:_LINE_IN_LOG] for line in event.lines]
        for first in range(0, len(lines), LINES_PER_RECORD):
            logger.info("%s", "\n".join(lines[first : first + LINES_PER_RECORD]))
    elif isinstance(event, Note):
        logger.log(getattr(logging, event.level.upper()), "%s: %s", event.topic, event.whole)
    elif isinstance(event, StepChange):
        logger.log(logging.ERROR if event.state == "failed" else logging.INFO, "%s", event.summary)


def report_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Leave a table with the run, as an artifact. That it cannot be stored is no reason for the run to fail.

    Args:
        key: The artifact's: lower-case letters, digits, hyphens.
        rows: Of the table; the first one's keys are its head.
        description: What the table shows, as Markdown.
    """
    try:
        create_table_artifact(table=rows, key=key, description=description)
    except Exception as error:  # the Prefect API's trouble, not ours
        _logger().warning("the table %s could not be stored: %s", key, error)


def report_removals(removals: Sequence[Removal], key: str, where: str, description: str) -> None:
    """Log what becomes of things, those that are kept apart, and make a table of all.

    Args:
        removals: What was looked at.
        key: Of the artifact; its versions are the runs of the flow.
        where: Heading of what `Removal.where` says: `family`, say.
        description: Of the artifact, before the counts.
    """
    for removal in removals:
        if removal.action != "keep":
            text = f"{removal.kind} {removal.where}/{removal.name}: {removal.reason}"
            publish(Note(removal.action, text, "error" if removal.action == "failed" else "info"))
    publish(Note("in all", summary(removals)))
    table = [
        {"action": each.action, "kind": each.kind, where: each.where, "name": each.name, "why": each.reason}
        for each in removals
    ]
    report_table(key, table, f"{description}: {summary(removals)}")


def _logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("cos_customizer")
