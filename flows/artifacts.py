"""What Prefect's UI shows of a build beside its log: tags, progress, a summary, a table of deprecated images.

A convenience: whatever goes wrong here, the build goes on. A build with a Prefect server of its own, which nobody sees,
leaves it out.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, SettingsContext, get_settings_context

from cos_customizer.customizer.contents.difference_markdown import markdown
from cos_customizer.customizer.contents.difference_text import summary as one_line
from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.reporting import console_links, summary
from cos_customizer.customizer.reporting.calls_a_minute import to_text
from cos_customizer.customizer.reporting.dry_run_page import dry_run_page
from cos_customizer.customizer.reporting.events import (
    BuildEnded,
    ContentsCompared,
    Event,
    Note,
    PhaseChange,
    Stage,
    StepChange,
    listening,
    publish,
)
from cos_customizer.customizer.reporting.failure import Phase
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows import local_server
from cos_customizer.flows.dry_run import DryRun
from cos_customizer.flows.parameters import name_of_build
from cos_customizer.flows.record import Record
from cos_customizer.flows.run_log import report_table
from cos_customizer.gcp.call_counts import counts
from cos_customizer.gcp.clients import clients

REBUILD_TAG = "rebuild"
"""Of a run that `rebuild-images` has started."""
CALLS_LABEL = "cos-customizer.calls"
"""Of such a run: what `calls_a_minute.to_text` says of its calls."""
_LONGEST_LINE = 500
_UPDATE_INTERVAL = 2.0
"""Seconds between two updates of the progress: a build may have many quick steps."""
_BOOTS: dict[Phase, Stage] = {"boot": "build", "test boot": "verify"}


def tag_run(spec: BuildSpec) -> None:
    """Tag the flow run with the build's family and source.

    Args:
        spec: of the build.
    """
    if not local_server.is_throw_away():
        _try("tags", lambda: _add_tags(summary.tags(spec)))


@contextmanager
def shown(record: Record) -> Iterator[None]:
    """Show a build in Prefect's UI while this context lasts, and what has become of it.

    Args:
        record: notes on the build.
    """
    if local_server.is_throw_away():
        yield
        return
    with listening(_Showing(record).on_event):
        yield


def show_dry_run(planned: DryRun) -> None:
    """Leave a page with the run that says what the build would do.

    Args:
        planned: the dry run.
    """
    requests = [f"{request.method} {request.path}" for request in planned.requests]
    page = dry_run_page(planned.spec, requests, planned.result)
    key = summary.artifact_key(planned.spec, "dry-run")
    _try("page of the dry run", lambda: create_markdown_artifact(page, key, f"{len(requests)} requests"))


class _Showing:
    def __init__(self, record: Record) -> None:
        self._record = record
        self._spec = record.spec
        self._total = len(self._spec.steps) + len(self._spec.verify.scripts)
        self._done = 0
        self._progress: UUID | None = None
        self._due = 0.0
        self._works = True
        self._is_renamed = False

    def on_event(self, event: Event) -> None:
        if not self._works:
            return
        if isinstance(event, PhaseChange) and event.state == "started":
            self._rename()
            if event.phase in _BOOTS:
                stage = _BOOTS[event.phase]
                self._works = _try(
                    "progress", lambda: self._set_progress(self._percent, f"waiting for {self._vm(stage)} to boot")
                )
        elif isinstance(event, StepChange):
            first = 0 if event.stage == "build" else len(self._spec.steps)
            self._done = first + event.number - (event.state != "succeeded")
            if time.monotonic() >= self._due:
                self._works = _try("progress", lambda: self._show_progress(event))
                self._due = time.monotonic() + _UPDATE_INTERVAL
        elif isinstance(event, ContentsCompared):
            _try("page of changes", lambda: self._show_changes(event))
        elif isinstance(event, BuildEnded):
            self._works = False  # it is over
            _try("count of calls", lambda: _tell_calls(self._record))
            _try("summary", lambda: self._summarize(event.result, getattr(event.error, "output", ())))

    @property
    def _percent(self) -> float:
        return 100.0 * self._done / self._total if self._total else 0.0

    def _rename(self) -> None:
        """Call the run by its image, once the name of that is known."""
        if self._spec.output.name is None and self._record.output_name and not self._is_renamed:
            self._is_renamed = True
            _try("name", lambda: _call_run(name_of_build(self._record.output_name)))

    def _show_progress(self, event: StepChange) -> None:
        self._set_progress(self._percent, f"{event.label} {event.state}, on {self._vm(event.stage)}")

    def _vm(self, stage: Stage) -> str:
        build = self._record.build
        name = build.builder_vm if stage == "build" else build.test_vm
        if not _in_google_cloud():
            return name
        return f"[{name}]({console_links.vm(self._spec.builder.project, self._record.zones[stage], name)})"

    def _set_progress(self, percent: float, text: str) -> None:
        if self._progress is None:
            key = summary.artifact_key(self._spec, "progress")
            # The stubs know of the asynchronous variant only.
            made: Any = create_progress_artifact(percent, key, text)
            self._progress = made
        else:
            update_progress_artifact(self._progress, percent, text)

    def _show_changes(self, event: ContentsCompared) -> None:
        page = markdown(event.compared)
        if event.difference:
            page += f"\nThe whole difference, for programs: {event.difference}\n"
        create_markdown_artifact(
            page, summary.artifact_key(self._spec, "changes"), one_line(event.compared.difference)[:_LONGEST_LINE]
        )

    def _summarize(self, result: BuildResult, last_lines: Sequence[str]) -> None:
        if self._progress is not None and result.outcome == "built":
            self._set_progress(100.0, "done")
        page = summary.markdown(self._spec, result, last_lines, in_google_cloud=_in_google_cloud())
        create_markdown_artifact(page, summary.artifact_key(self._spec), f"build {result.build_id}: {result.outcome}")
        if result.deprecated:
            report_table(
                summary.artifact_key(self._spec, "deprecated"),
                _deprecations(self._spec, result),
                f"images of family {self._spec.output.family} that {result.image} replaces",
            )
        if result.source_image:
            _add_tags(summary.tags(self._spec, result.source_image.rpartition("/")[2]))


def _deprecations(spec: BuildSpec, result: BuildResult) -> list[dict[str, Any]]:
    ttl = spec.output.old_image_ttl
    deleted = human_time(time.time() + ttl) if ttl else "never"
    return [{"image": name, "replaced by": result.image, "counts as deleted": deleted} for name in result.deprecated]


def _add_tags(tags: list[str]) -> None:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    wanted = [*run.tags, *(tag for tag in tags if tag not in run.tags)]
    if wanted != run.tags:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=wanted)
        run.tags = wanted


def _tell_calls(record: Record) -> None:
    """Let a run of `rebuild-images` know how many calls to Google's APIs its build has made."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or REBUILD_TAG not in context.flow_run.tags:
        return
    calls = counts.since(time.time() - (time.monotonic() - record.started))
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(context.flow_run.id, {CALLS_LABEL: to_text(calls)})


def _call_run(name: str) -> None:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, name=name)
    context.flow_run.name = name


def _in_google_cloud() -> bool:
    return not clients().endpoints.anonymous


def _impatient() -> SettingsContext:
    """Settings with which Prefect's client soon gives up.

    Copied, where Prefect's `temporary_settings` reads all of them again, which takes 40 ms each time.
    """
    context = get_settings_context()
    api = context.settings.api.model_copy(update={"request_timeout": 5.0})
    client = context.settings.client.model_copy(update={"max_retries": 1})
    settings = context.settings.model_copy(update={"api": api, "client": client})
    return SettingsContext(profile=context.profile, settings=settings)


def _try(what: str, show: Callable[[], object]) -> bool:
    """Do it, and whether it went well. A server that is away must not stop the reading of the console for long."""
    try:
        with _impatient():
            show()
    except Exception as error:  # the Prefect API's trouble, not the build's
        publish(Note("prefect", f"no {what} in Prefect's UI: {error}", "warning"))
        return False
    return True
