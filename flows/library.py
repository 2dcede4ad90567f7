"""Builds from Python: the flows as plain functions, which take what people have at hand and are quiet.

Prefect is a detail of theirs. It is imported when something is built, and so is the rest that takes seconds.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cos_customizer.customizer.families.rebuild import Rebuild
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.customizer.spec.recipe import Recipe
from cos_customizer.flows.prefect_errors import translated

_RUNS = ("prefect.flow_runs", "prefect.task_runs")
"""Loggers of what happens in a run: its result and its errors are returned and raised, too."""


def build_image(spec: BuildSpec | Recipe | Mapping[str, Any]) -> BuildResult:
    """Build an image: boot a builder VM from the source image, run the steps on it, make an image of its disk.

    Whatever the build creates on the way is gone when this returns or raises: on success, failure, timeout and signals.
    Inside a flow of Prefect it is a run within that flow's run.

    Args:
        spec: everything about the build: a recipe as `read_recipe` gives it, or a dictionary of its shape, whose
            `context.path` is relative to the working directory.

    Returns:
        What was built, or that the output image was there already.

    Raises:
        UsageError: it cannot work (a field is wrong, a script is missing from the build context).
        BuildTimeoutError: the build did not complete in time.
        BuildFailedError: a step has failed; `output` has its last lines.
        CustomizerError: the base of them all, and whatever else Google Cloud or Prefect did not do.
    """
    if isinstance(spec, Recipe):
        spec = spec.spec()
    checked = spec if isinstance(spec, BuildSpec) else parse_spec(spec)
    with _prefect():
        from cos_customizer.flows.build_image import build_image as flow

        return flow(checked)


def rebuild_images(recipes: Iterable[str | Path], *, force: bool = False, deployment: str = "") -> list[Rebuild]:
    """Build the image of each recipe anew whose source image, build context, steps or options have changed.

    Args:
        recipes: files of recipes, or patterns such as `recipes/*.yaml`, relative to the working directory.
        force: build all of them, changed or not.
        deployment: `build-image/build-image`, or another deployment of it on the configured Prefect server, of which
            each recipe becomes a run of its own; empty: they are built here, one after another.

    Returns:
        What has become of each recipe.

    Raises:
        UsageError: there is no recipe of a name, or no deployment.
        RebuildFailedError: a recipe has failed; the others were done all the same. Its `rows` are what is returned
            otherwise.
    """
    names = [str(recipe) for recipe in ([recipes] if isinstance(recipes, str | Path) else recipes)]
    with _prefect():
        from cos_customizer.flows.rebuild_images import rebuild_images as flow

        return flow(names, force=force, deployment=deployment)


@contextmanager
def _prefect() -> Iterator[None]:
    """Prefect, as a script meets it that does not use it itself; whoever does has its logging as they have set it."""
    if "prefect" not in sys.modules:
        # A server that Prefect starts for this script would report to Prefect, and print an error where it cannot.
        os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        _quieten()
    from prefect.context import FlowRunContext

    # In a flow, Prefect's own errors say what becomes of the run around this one.
    with nullcontext() if FlowRunContext.get() else translated():
        yield


def _quieten() -> None:
    """Leave only warnings of what Prefect would write on the terminal, unless somebody has set its logging."""
    from prefect.settings import get_current_settings

    settings = get_current_settings().logging
    if settings.model_fields_set & {"level", "config_path"} or settings.config_path.exists():
        return
    if any(name.startswith("PREFECT_LOGGING_LOGGERS_") for name in os.environ):
        return
    prefect = logging.getLogger("prefect")
    prefect.propagate = False
    prefect.addHandler(_Warnings())


class _Warnings(logging.Handler):
    """Passes on to the root's handlers, whoever has set those, what nobody would hear of otherwise."""

    def emit(self, record: logging.LogRecord) -> None:
        of_a_run = record.name.startswith(_RUNS)
        if record.levelno >= logging.WARNING and not (of_a_run and record.levelno >= logging.ERROR):
            logging.getLogger().handle(record)
