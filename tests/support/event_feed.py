"""What this process sends to Prefect's event feed, as it is sent."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.events.clients import AssertingPassthroughEventsClient
from prefect.events.schemas.events import Event
from prefect.events.worker import EventsWorker

OURS = ("cos-customizer.", "prefect.asset.")


class Feed:
    """The events of a process, without those of Prefect's own runs."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def read(self) -> list[Event]:
        """All events so far, once the server has got them."""
        EventsWorker.instance().wait_until_empty()
        for client in AssertingPassthroughEventsClient.all:
            self._events += [event for event in client.pop_events() if event.event.startswith(OURS)]
        return self._events

    def named(self, name: str) -> list[Event]:
        """Those of one name."""
        return [event for event in self.read() if event.event == name]

    def names(self) -> list[str]:
        """The names of all of them, in order."""
        return [event.event for event in self.read()]


@contextmanager
def fed() -> Iterator[Feed]:
    """Record what is sent while this context lasts; the server gets it all the same."""
    AssertingPassthroughEventsClient.reset()
    EventsWorker.set_client_override(AssertingPassthroughEventsClient)
    try:
        yield Feed()
    finally:
        EventsWorker.instance().drain()
        EventsWorker.set_client_override(None)


def related(event: Event) -> dict[str, str]:
    """Ids of related resources by their roles; the last of each role."""
    return {resource.role: resource.id for resource in event.related}
