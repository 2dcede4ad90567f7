"""What makes an operation a task here: no cached or stored results, no second try by Prefect, a place in the graph.

Prefect is imported when a task runs in a flow, and not before: outside of one, an operation is the plain function.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Order:
    """The place of the next task run in its flow's graph.

    Attributes:
        last: The task runs that it depends on.
        together: Those of the current group, which depend on `last` and not on each other; None outside of a group.
    """

    last: list[UUID] = field(default_factory=list)
    together: list[UUID] | None = None

    def ran(self, task_run: UUID | None) -> None:
        """Note a task run that is over; None if Prefect could not begin it."""
        if task_run is None:
            return
        if self.together is None:
            self.last = [task_run]
        else:
            self.together.append(task_run)


_order: ContextVar[_Order | None] = ContextVar("order", default=None)


@contextmanager
def in_order() -> Iterator[None]:
    """Connect the task runs of a flow while the context lasts: each depends on the one before, however that ended."""
    token = _order.set(_Order())
    try:
        yield
    finally:
        _order.reset(token)


@contextmanager
def side_by_side() -> Iterator[None]:
    """Task runs in this context depend on what ran before it, not on each other; what follows depends on all."""
    order = _order.get()
    if order is None:
        yield
        return
    order.together = []
    try:
        yield
    finally:
        order.last, order.together = order.together or order.last, None


class _Boxed(Generic[R]):
    """What an operation has returned, where Prefect does not look.

    It would remember results and their parts by their addresses in memory, and draw a line from this task run to each
    that is ever called with one of them: with the name of a zone, say, or with what has come to the same place since.
    """

    def __init__(self, value: R) -> None:
        self.value = value


def operation(run_name: str, *, always: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a Prefect task where it is called in a flow.

    Retries live below, in `gcp`, where a call can be repeated without harm: a second try of a whole operation would
    make a second VM. Results are not kept: they speak of resources that are gone by the next run.

    Args:
        run_name: Shown in the UI; `{parameter}` is filled in by Prefect.
        always: The function is called even if Prefect cannot make a task run of it: it undoes something.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.cache
        def as_task() -> Any:
            from prefect import task
            from prefect.cache_policies import NO_CACHE

            make = task(task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False, retries=0)
            return make(noting_its_start)

        @functools.wraps(function)
        def noting_its_start(*args: P.args, **kwargs: P.kwargs) -> _Boxed[R]:
            _this_run.set(_id_of_this_run())
            return _Boxed(function(*args, **kwargs))

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _in_flow():
                return function(*args, **kwargs)
            order, token = _order.get() or _Order(), _this_run.set(None)
            try:
                boxed: _Boxed[R] = as_task()(*args, wait_for=_stand_ins(order.last), **kwargs)
            except Exception:
                if always and _this_run.get() is None:
                    return function(*args, **kwargs)
                raise
            finally:
                order.ran(_this_run.get())
                _this_run.reset(token)
            return boxed.value

        return run

    return decorate


_this_run: ContextVar[UUID | None] = ContextVar("this_run", default=None)
"""Id of the task run that was begun last, as soon as its function has been called."""


def _in_flow() -> bool:
    """Whether a flow is running, and no task of it."""
    context: Any = sys.modules.get("prefect.context")
    return context is not None and context.FlowRunContext.get() is not None and context.TaskRunContext.get() is None


def _id_of_this_run() -> UUID | None:
    from prefect.context import TaskRunContext

    context = TaskRunContext.get()
    return context.task_run.id if context is not None else None


def _stand_ins(earlier: list[UUID]) -> list[Any]:
    """What Prefect takes for the states of earlier task runs, so that it notes that the next one depends on them.

    They say that the runs have completed, whatever became of them: else no task could follow one that failed, as the
    tasks of a clean-up do.
    """
    from prefect.client.schemas.objects import StateDetails
    from prefect.states import Completed

    return [Completed(data=True, state_details=StateDetails(task_run_id=task_run)) for task_run in earlier]
