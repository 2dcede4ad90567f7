"""Cloud Logging of a build, where its specification asks for it: what the build tells, and never its trouble."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect.runtime import flow_run

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.reporting.events import Event, Note, listening, publish
from cos_customizer.customizer.reporting.log_entries import BuildFacts, EventEntries, source_path
from cos_customizer.flows.record import Record
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.cloud_logging import LogWriter
from cos_customizer.gcp.endpoints import Endpoints

_TOPIC = "log entries"


@contextmanager
def logged(record: Record) -> Iterator[None]:
    """Send the events of a build to Cloud Logging while the context lasts; at its end, what is left is sent.

    That takes a twentieth of the build's time limit at most, and five seconds at most. Whatever goes wrong with it is
    told in one warning.

    Args:
        record: of the build.

    Raises:
        UsageError: the build is on this machine, and Cloud Logging is not.
    """
    if not record.spec.cloud_logging:
        yield
        return
    Endpoints.from_environment(os.environ).check_logging()
    log = _BuildLog(record)
    with listening(log.on_event):
        try:
            yield
        finally:
            log.close(min(5.0, max(1.0, record.spec.timeout_seconds / 20)))


class _BuildLog:
    """Turns the events of one build into entries, and tells of trouble once."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._flow_run_id = str(flow_run.id)
        self._events = EventEntries(record.build.id)
        self._writer = LogWriter(lambda: clients().logging(record.spec.builder.project), self._facts())
        self._told = False

    def _facts(self) -> BuildFacts:
        record, spec = self._record, self._record.spec
        name = record.output_name or spec.output.name
        return BuildFacts(
            build_id=record.build.id,
            flow_run_id=self._flow_run_id,
            output_image=ImageRef(spec.output.project, name).path if name else "",
            source_image=record.source.path if record.source else source_path(spec.source),
            zone=record.zone,
        )

    def on_event(self, event: Event) -> None:
        """Log an event."""
        try:
            for entry in self._events.entries(event, self._facts(), datetime.now(UTC)):
                self._writer.write(entry)
        except Exception as error:  # no build fails because of its log
            self._warn(CustomizerError(f"could not log an event: {type(error).__name__}: {error}"))
        if self._writer.trouble:
            self._warn(self._writer.trouble)

    def close(self, patience: float) -> None:
        """Send what is left.

        Args:
            patience: seconds that this may take.
        """
        if self._writer.left_out:
            note = f"{self._writer.left_out:,} serial lines were left out: Cloud Logging took them too slowly"
            self.on_event(Note(_TOPIC, note, "warning"))
        undelivered = self._writer.close(patience)
        if self._writer.trouble:
            self._warn(self._writer.trouble, undelivered)
        elif self._writer.left_out:
            self._warn(CustomizerError(note))

    def _warn(self, trouble: CustomizerError, undelivered: int = 0) -> None:
        if self._told:
            return
        self._told = True
        missing = f"; {undelivered:,} entries are missing there" if undelivered else ""
        hint = f" ({trouble.hint.rstrip('.')})" if trouble.hint else ""
        publish(Note(_TOPIC, f"{trouble.message}{missing}{hint}", "warning"))
