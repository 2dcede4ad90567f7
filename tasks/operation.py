"""What makes an operation a task here: no cached or stored results, no second try by Prefect."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE

from cos_customizer.gcp.clients import Clients, connect
from cos_customizer.gcp.endpoints import Endpoints

P = ParamSpec("P")
R = TypeVar("R")


def operation(run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a Prefect task.

    Retries live below, in `gcp`, where a call can be repeated without harm: a second try of a whole operation would
    make a second VM. Results are not kept: they speak of resources that are gone by the next run.

    Args:
        run_name: shown in the UI; `{parameter}` is filled in by Prefect.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return cast(
            Callable[P, R],
            task(task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False, retries=0)(function),
        )

    return decorate


def clients() -> Clients:
    """Google's clients for the endpoints that the environment names now, made once for each."""
    return _clients_for(Endpoints.from_environment(os.environ))


@lru_cache(maxsize=8)
def _clients_for(_endpoints: Endpoints) -> Clients:
    return connect()
