"""Telling of a build's progress: to the run's log in Prefect, and to whoever listens in this process."""

import logging
from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from cos_customizer.customizer.reporting import events
from cos_customizer.customizer.reporting.events import ConsoleOutput, Event, Note, StepChange

LINES_PER_RECORD = 50
"""Serial lines that make one log record: Prefect's API takes about a thousand records a second."""
_LINE_IN_LOG = 4096


def report(event: Event) -> None:
    """Write an event to the run's log, and publish it.

    Args:
        event: what has happened.
    """
    logger = _logger()
    if isinstance(event, ConsoleOutput):
        lines = [line[:_LINE_IN_LOG] for line in event.lines]
        for first in range(0, len(lines), LINES_PER_RECORD):
            logger.info("%s", "\n".join(lines[first : first + LINES_PER_RECORD]))
    elif isinstance(event, Note):
        logger.log(getattr(logging, event.level.upper()), "%s: %s", event.topic, event.text)
    elif isinstance(event, StepChange):
        logger.log(logging.ERROR if event.state == "failed" else logging.INFO, "%s", event.summary)
    events.publish(event)


def report_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Leave a table with the run, as an artifact. That it cannot be stored is no reason for the run to fail.

    Args:
        key: the artifact's: lower-case letters, digits, hyphens.
        rows: of the table; the first one's keys are its head.
        description: what the table shows, as Markdown.
    """
    try:
        create_table_artifact(table=rows, key=key, description=description)
    except Exception as error:  # the Prefect API's trouble, not ours
        _logger().warning("the table %s could not be stored: %s", key, error)


def _logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("cos_customizer")
