"""The main flow: a customized image of a source image."""

from prefect import flow
from prefect.runtime import flow_run

from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.events import listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows import artifacts, build, hooks
from cos_customizer.flows.cloud_logging import logged
from cos_customizer.flows.output_limit import one_at_a_time
from cos_customizer.flows.record import Record
from cos_customizer.flows.run_log import write_to_run_log
from cos_customizer.tasks.operation import in_order


def _run_name() -> str:
    output = BuildSpec.model_validate(flow_run.parameters["spec"]).output
    return f"build {output.name or f'*{output.suffix}'}"


@flow(
    name="build-image",
    flow_run_name=_run_name,
    persist_result=False,
    log_prints=False,
    on_cancellation=[hooks.undo_build],
    on_crashed=[hooks.undo_build],
    on_failure=[hooks.undo_build],
)
def build_image(spec: BuildSpec) -> BuildResult:
    """Boot a builder VM from the source image, run the steps on it, make an image of its disk.

    Whatever the build creates on the way is gone when this returns or raises: on success, failure, timeout and signals.

    Args:
        spec: everything about the build.

    Returns:
        What was built, or that the output image was there already.

    Raises:
        UsageError: the specification cannot work (a script is missing from the context, say).
        BuildTimeoutError: the build did not complete in time.
        CustomizerError: it failed; the error says how, and the event `BuildEnded` what became of the build.
    """
    with listening(write_to_run_log), in_order():
        artifacts.tag_run(spec)
        with one_at_a_time(spec):
            record = Record(spec, BuildNames.of(str(flow_run.id), int(flow_run.run_count or 1)))
            with logged(record), artifacts.shown(record), hooks.undone_here(record):
                return build.run_in_time(record)
