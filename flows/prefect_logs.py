"""What Prefect logs of our runs: errors in words where they are meant for people, and no line for each task that ends.

Prefect logs what ends a run with its traceback, several times over: to its page, and to the terminal of the worker or
of who calls a flow in Python. Of a `CustomizerError`, which says what is wrong and what to do, the traceback says
nothing to anybody; any other error keeps it. Who calls a flow in Python gets errors and results, and no log unless it
is asked for.
"""

import logging
import os
from weakref import WeakSet

from prefect.logging.handlers import PrefectConsoleHandler

from cos_customizer.customizer.errors import CustomizerError

_FLOWS = frozenset({"build-image", "build-recipe", "rebuild-images", "expire-images", "sweep", "watch-sources"})
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
ASKED_BY = ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_SETTINGS_PATH", "PREFECT__FLOW_RUN_ID")
"""Environment variables of those who want to read logs on their terminal; the last one is that of a worker's run."""
_OF_TEMPORARY_SERVER = ("Starting temporary server", "Stopping temporary server")


class _InWords(logging.Filter):
    """Puts an expected error in words, once; and makes it a matter of debugging that a task of ours has completed."""

    def __init__(self) -> None:
        super().__init__()
        self._told: WeakSet[BaseException] = WeakSet()

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record; whether it is logged."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, CustomizerError):
            if _is_of_our_task(record) or error in self._told:
                return False  # the task's state says it, too
            self._told.add(error)
            hint = f" ({error.hint})" if error.hint else ""
            record.msg, record.args, record.is_raised = "%s%s", (error.message, hint), True
        if error is not None and (isinstance(error, CustomizerError) or not isinstance(error, Exception)):
            record.exc_info = record.exc_text = None
        if _is_of_our_task(record) and str(record.msg).startswith("Finished in state Completed("):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True


class _Quiet(logging.Filter):
    """Keeps off the terminal what our flows tell that is no warning, and the errors that they raise anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if any(os.environ.get(name) for name in ASKED_BY):
            return True
        text = str(record.msg)
        if text.startswith(_OF_TEMPORARY_SERVER):
            return False
        if getattr(record, "flow_name", None) not in _FLOWS:
            return True
        is_raised = getattr(record, "is_raised", False) or text.startswith("Finished in state")
        return record.levelno >= logging.WARNING and not is_raised


def _is_of_our_task(record: logging.LogRecord) -> bool:
    return record.name == "prefect.task_runs" and getattr(record, "flow_name", None) in _FLOWS


_in_words, _quiet = _InWords(), _Quiet()


def tidy_logs() -> None:
    """Tidy the log of our flows in this process, from now on. May be called twice."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_in_words)
    for name in ("", "prefect"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(_quiet)
