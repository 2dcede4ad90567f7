"""Families that other builds hold, on the Prefect server that is configured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import get_client

from cos_customizer.flows.output_limit import limit_name


@contextmanager
def held(family: str) -> Iterator[Callable[[], None]]:
    """Another build of the family is at work; what it gives ends that build."""
    name = limit_name("my-project", family)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        answer = client.increment_concurrency_slots_with_lease([name], 1, "concurrency", 60.0)
        lease = UUID(answer.json()["lease_id"])

        def let_go() -> None:
            with get_client(sync_client=True) as other:
                other.release_concurrency_slots_with_lease(lease)

        try:
            yield let_go
        finally:
            let_go()
