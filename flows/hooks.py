"""What undoes a build when its own process cannot: Prefect calls it with no more than the flow run.

A worker kills a cancelled run 30 seconds after asking it to end, and a process can be killed outright. The worker's own
process then runs the hooks of the flow, which it imports for that. They find what the build has made by its names.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from cos_customizer.customizer import deadline
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ObjectRef, VmRef
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows.parameters import spec_of
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp import contents as recorded
from cos_customizer.gcp import images, instances, scratch
from cos_customizer.gcp.clients import clients

_PATIENCE = 600.0
"""Seconds that a hook's undoing takes at most; the worker that runs it has other runs to look after."""
_undone: set[str] = set()
"""Ids of builds that have undone their own work in this process."""


@contextmanager
def undone_here(record: Record) -> Iterator[None]:
    """If the build in this context comes to undo its work, no hook does that again in this process.

    What it leaves is left because its time was up, or somebody did not want to wait: the hook must not wait instead.

    Args:
        record: Notes on the build.
    """
    try:
        yield
    finally:
        if record.is_undone:
            _undone.add(record.build.id)


def undo_build(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Delete whatever a flow run's builds have left: VMs, disks, the build context in Cloud Storage, unfinished images.

    A hook for `on_cancellation`, `on_crashed` and `on_failure`, in whatever process. Whether the builds were at their
    beginning or have left nothing is all the same to it. It says in the run's log what it has removed, and raises
    nothing: what is left then is for the `sweep` flow.

    Args:
        flow: one whose runs are builds.
        flow_run: whose parameters hold the specification, or name the recipe.
        state: that the run has come to. (Prefect passes all three by these names.)
    """
    logger = flow_run_logger(flow_run, flow)
    try:
        builds = [build for build in _builds_of(flow_run) if build.id not in _undone]
        if not builds:
            return
        spec = spec_of(flow_run.parameters)
        undoing = Undoing()
        for build in builds:
            _register(undoing, spec, build)
        with deadline.until(time.monotonic() + _PATIENCE):
            undoing.run()
    except Exception as error:  # of Google's libraries, Prefect's client, an invalid specification
        logger.warning("what the build has left could not be looked for: %s", error)
        return
    if undoing.removed:
        logger.info("cleaned up after %s: %s", state.name or state.type.value, undoing.summary())
    for leftover in undoing.leftovers:
        logger.error("left behind: %s", leftover)


def _builds_of(flow_run: FlowRun) -> list[BuildNames]:
    """The builds of all attempts that are over. A worker has seen the flow run last before it began."""
    attempts = max(1, flow_run.run_count)
    try:
        with get_client(sync_client=True) as client:
            now = client.read_flow_run(flow_run.id)
    except Exception:  # the server may be gone; most runs have one attempt
        return [BuildNames.of(str(flow_run.id), number + 1) for number in range(attempts)]
    at_work = now.state is not None and (now.state.is_running() or now.state.is_pending())
    attempts = max(attempts, now.run_count - at_work)  # a new attempt is not to be undone
    return [BuildNames.of(str(flow_run.id), number + 1) for number in range(attempts)]


def _register(undoing: Undoing, spec: BuildSpec, build: BuildNames) -> None:
    target = ObjectRef(spec.scratch.bucket, build.context_archive(spec.scratch.workdir))
    undoing.add(target.url, partial(scratch.delete, clients(), target))
    project = spec.output.project
    if spec.output.records_contents:
        contents = ObjectRef(spec.scratch.bucket, build.contents(spec.scratch.workdir))
        undoing.add(contents.url, partial(recorded.discard_unused, clients(), contents, build))
    for zone in spec.builder.zones:
        for name in (build.builder_vm, build.test_vm):
            vm = VmRef(spec.builder.project, zone, name)
            undoing.add(f"VM {name} in {zone}", partial(instances.delete_vm, clients(), vm))
    undoing.add(f"unfinished image in {project}", partial(images.delete_unfinished_images, clients(), project, build))
