"""What is sent to Prefect's event feed: by this process, as it is sent, and by others, as it arrives."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Queue

from prefect.events.clients import AssertingPassthroughEventsClient, get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.schemas.events import Event
from prefect.events.worker import EventsWorker
from support.waiting import PATIENCE

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


@contextmanager
def arriving(prefix: str = OURS[0]) -> Iterator["Queue[Event]"]:
    """What arrives at the configured server from whatever process, as soon as it does; nothing of what was before."""
    arrived: Queue[Event] = Queue()
    ready, context = threading.Event(), contextvars.copy_context()

    async def take() -> None:
        wanted = EventFilter(event=EventNameFilter(prefix=[prefix]))
        async with get_events_subscriber(filter=wanted) as subscriber:
            ready.set()
            async for event in subscriber:
                arrived.put(event)

    loop = asyncio.new_event_loop()
    task = loop.create_task(take())

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=context.run, args=(run,))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield arrived
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
