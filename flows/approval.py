"""A person's word on whether an image may be released: the run pauses in Prefect until it is given, or too late.

Prefect's own way: the run is in the state Paused, and who resumes it on its page answers a form. The process waits: a
suspended run would end it, and begin anew when it is resumed. Prefect is imported only where it is used.
"""

import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cos_customizer.customizer import deadline
from cos_customizer.customizer.contents.difference_markdown import markdown
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import NotApprovedError, UsageError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.spec.options import REQUIRE_APPROVAL
from cos_customizer.flows import local_server
from cos_customizer.flows.record import Record

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.input.run_input import Keyset, RunInput

OVERTIME = 60.0
"""Seconds for asking and for hearing the answer, beyond those that a person has."""
_POLL, _FIRST_POLL = 5.0, 0.2
"""Seconds between two looks at the run: few at first, for who has been waiting for the question."""
_CANCELLING = 30.0
"""Seconds in which a worker that cancels a run has ended its process."""
_LONGEST_PAGE = 50_000
"""Characters of what the form says above its fields."""


@dataclass(frozen=True)
class _Answer:
    decision: Literal["release", "refuse"]
    comment: str


def check(record: Record) -> None:
    """Refuse to ask where there is nobody to be asked.

    Args:
        record: Notes on the build, which has made nothing yet.

    Raises:
        UsageError: An approval is required, and no Prefect server that anybody else sees knows of the build.
    """
    if record.spec.verify.require_approval and not record.rehearsed and not _is_seen():
        raise UsageError(
            Message("{}: there is nobody to ask, since this build has no Prefect server but its own", REQUIRE_APPROVAL),
            "name a server by PREFECT_API_URL: the run pauses on its page.",
        )


def await_approval(record: Record) -> None:
    """Pause the run until a person has said that the image may be released.

    Args:
        record: Notes on the build, whose image awaits its release.

    Raises:
        NotApprovedError: The image was refused, or nobody has answered in time, or somebody has ended the run.
    """
    spec, image = record.spec, record.output_name
    patience = min(float(spec.verify.approval_timeout), deadline.left())
    answer = _ask(image, _page(record), patience, f"approval-{record.build.id}")
    if answer is None:
        raise NotApprovedError(
            f"nobody has approved it within {human_duration(patience)}",
            Message("start the build again; {} gives more time.", FieldPath("verify.approval_timeout")),
        )
    said = f": {answer.comment}" if answer.comment else ""
    if answer.decision != "release":
        raise NotApprovedError(f"it was refused{said}")
    publish(Note("approval", f"{image} may be released{said}"))


def _page(record: Record) -> str:
    """What the one who is asked is to read."""
    if record.compared is None:
        return f"May image {record.output_name} be released? What has changed in it is not known."
    page = markdown(record.compared, title=f"May {record.output_name} be released?")
    where = f"\nThe whole difference: {record.difference}\n" if record.difference else ""
    return (page if len(page) <= _LONGEST_PAGE else f"{page[:_LONGEST_PAGE]}\n\n…\n") + where


def _is_seen() -> bool:
    """Whether somebody else can see this run: it is one of a Prefect server that is not this process's own."""
    if local_server.is_throw_away() or _this_run() is None:
        return False
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def _this_run() -> "FlowRun | None":
    context: Any = sys.modules.get("prefect.context")
    run = context and context.FlowRunContext.get()
    found: FlowRun | None = run.flow_run if run else None
    return found


def _form(page: str) -> "type[RunInput]":
    from prefect.input import RunInput
    from pydantic import Field

    class Approval(RunInput):  # here, since its base class is imported here
        decision: Literal["release", "refuse"] = Field(description="Whether the image may be released.")
        comment: str = Field("", description="Why; it is told with the build's result.")

    return Approval.with_initial_data(description=page)


def _ask(image: str, page: str, patience: float, key: str) -> _Answer | None:
    """Pause this run, and wait for what is answered; None: nothing was."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import Abort
    from prefect.input import keyset_from_paused_state
    from prefect.states import Paused
    from prefect.utilities.engine import propose_state_sync
    from prefect.utilities.urls import url_for

    run = _this_run()
    assert run is not None  # `check` has seen to that
    form = _form(page)
    paused: State[Any] = Paused(timeout_seconds=max(1, round(patience)), reschedule=False, pause_key=key)
    keyset = keyset_from_paused_state(paused)
    paused.state_details.run_input_keyset = {str(name): key for name, key in keyset.items()}
    with get_client(sync_client=True) as client:
        try:
            state = propose_state_sync(client, paused, flow_run_id=run.id)
        except Abort as error:
            raise NotApprovedError(f"nobody could be asked whether it may be released: {error}") from error
        if not state.is_paused():
            raise NotApprovedError(f"nobody could be asked whether it may be released: the run is {state.name}")
        form.save(keyset, flow_run_id=run.id)
        where = url_for("flow-run", run.id) or f"run {run.name}"
        publish(Note("approval", f"{image} waits for at most {human_duration(patience)} to be approved: {where}"))
        return _answer(client, run, form, keyset, time.monotonic() + patience + OVERTIME / 2)


def _answer(
    client: "SyncPrefectClient", run: "FlowRun", form: "type[RunInput]", keyset: "Keyset", end: float
) -> _Answer | None:
    pause, told, cancelled_by = _FIRST_POLL, False, math.inf
    while time.monotonic() < end:
        try:
            state = client.read_flow_run(run.id).state
            if state is not None and state.is_running():
                given: Any = form.load(keyset, flow_run_id=run.id)
                return _Answer(given.decision, given.comment.strip())
        except Exception as error:  # a server that is away comes back, as a rule; the end of the wait is known
            if not told:
                publish(Note("approval", f"the Prefect server does not answer: {error}; waiting for it", "warning"))
            told = True
        else:
            told = False
            if state is not None and state.is_failed():  # the server's own clock says that it is too late
                return None
            if state is not None and state.is_cancelling():  # its worker ends this process, if it has one
                cancelled_by = min(cancelled_by, time.monotonic() + _CANCELLING)
            elif state is not None and not state.is_paused():
                cancelled_by = 0.0
            if time.monotonic() > cancelled_by:
                raise NotApprovedError("the run was cancelled while it waited for an approval")
        time.sleep(min(pause, max(0.0, end - time.monotonic())))  # a signal ends this at once
        pause = min(_POLL, pause * 1.2)
    return None
