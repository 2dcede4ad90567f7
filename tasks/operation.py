"""What makes an operation a task here: no cached or stored results, no second try by Prefect, a place in the graph.

Prefect is imported when a task runs in a flow, and not before: outside of one, an operation is the plain function.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from prefect import Task

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

    def ran(self, task_run: UUID) -> None:
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
        def as_task() -> "Task[P, R]":
            from prefect import task
            from prefect.cache_policies import NO_CACHE

            return task(task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False, retries=0)(
                noting_its_start
            )

        @functools.wraps(function)
        def noting_its_start(*args: P.args, **kwargs: P.kwargs) -> R:
            _started.set(True)
            return function(*args, **kwargs)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _in_flow():
                return function(*args, **kwargs)
            token = _started.set(False)
            try:
                return _run_task(as_task(), args, kwargs)
            except Exception:
                if always and not _started.get():
                    return function(*args, **kwargs)
                raise
            finally:
                _started.reset(token)

        return run

    return decorate


_started: ContextVar[bool] = ContextVar("started", default=False)
"""Whether the function of the task run that was begun last has been called."""


def _in_flow() -> bool:
    """Whether a flow is running, and no task of it."""
    context: Any = sys.modules.get("prefect.context")
    return context is not None and context.FlowRunContext.get() is not None and context.TaskRunContext.get() is None


def _run_task(task: "Task[P, R]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    """Run a task as calling it does, with its place in the graph.

    A dependency is not awaited, and may have failed: `wait_for` of Prefect's own would let no task follow a failed one,
    and clean-up does.
    """
    from prefect.client.schemas.objects import TaskRunResult
    from prefect.task_engine import run_task_sync
    from prefect.utilities.callables import get_call_parameters

    order, task_run = _order.get() or _Order(), uuid4()
    before: Any = {TaskRunResult(id=earlier) for earlier in order.last}
    try:
        result: Any = run_task_sync(
            task,
            task_run_id=task_run,
            parameters=get_call_parameters(task.fn, args, kwargs),
            dependencies={"wait_for": before} if before else None,
        )
    finally:
        order.ran(task_run)
    done: R = result
    return done
