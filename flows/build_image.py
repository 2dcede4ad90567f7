"""The main flow: a customized image of a source image."""

from prefect import flow

from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows.build_run import AS_BUILD, build_in_run


@flow(name="build-image", **AS_BUILD)
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
    return build_in_run(spec)
