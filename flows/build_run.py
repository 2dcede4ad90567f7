"""A build as the run of a flow, whichever flow it is: what Prefect shows of it, and what keeps it from leaking."""

from typing import Any

from prefect.runtime import flow_run

from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.events import listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows import announcements, artifacts, build, hooks
from cos_customizer.flows.cloud_logging import logged
from cos_customizer.flows.output_limit import one_at_a_time
from cos_customizer.flows.parameters import run_name
from cos_customizer.flows.prefect_logs import tidy_logs
from cos_customizer.flows.record import Record
from cos_customizer.flows.run_log import write_to_run_log
from cos_customizer.tasks.operation import in_order

tidy_logs()


def _run_name() -> str:
    return run_name(flow_run.parameters)


AS_BUILD: dict[str, Any] = {
    "flow_run_name": _run_name,
    "persist_result": False,
    "log_prints": False,
    "on_cancellation": [hooks.undo_build],
    "on_crashed": [hooks.undo_build],
    "on_failure": [hooks.undo_build],
}
"""What a flow declares whose runs are builds. The hooks find the specification by `parameters.spec_of`."""


def build_in_run(spec: BuildSpec) -> BuildResult:
    """Build, in the flow run that this is called in.

    Whatever the build creates on the way is gone when this returns or raises: on success, failure, timeout and signals.

    Args:
        spec: everything about the build.

    Returns:
        What was built, or that the output image was there already.

    Raises:
        CustomizerError: see `build_image`.
    """
    with listening(write_to_run_log), listening(announcements.announce), in_order():
        artifacts.tag_run(spec)
        with one_at_a_time(spec):
            record = Record(spec, BuildNames.of(str(flow_run.id), int(flow_run.run_count or 1)))
            with logged(record), artifacts.shown(record), hooks.undone_here(record):
                return build.run_in_time(record)
