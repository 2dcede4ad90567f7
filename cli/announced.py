"""What a command that is no flow does to images, told to the Prefect server that is configured, if one is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cos_customizer.customizer.reporting.announcements import Announcement
from cos_customizer.flows.local_server import configured_api, quiet_prefect

if TYPE_CHECKING:
    from cos_customizer.customizer.reporting.events import Event


@contextmanager
def announced() -> Iterator[None]:
    """Tell at the end, however the command ends, what it has done while this context lasts.

    Prefect, which takes seconds to import, is imported if there is something to tell, and a server to tell it to. That
    it does not listen is no failure of what was done.
    """
    from cos_customizer.customizer.reporting.events import listening

    told: list[Announcement] = []

    def take_note(event: "Event") -> None:
        if isinstance(event, Announcement):
            told.append(event)

    try:
        with listening(take_note):
            yield
    finally:
        if told:
            _tell(told)


def _tell(told: list[Announcement]) -> None:
    try:
        if configured_api() is None:
            return
        quiet_prefect()
        from cos_customizer.flows.announcements import send

        send(told)
    except Exception as error:
        click.echo(f"cos-customizer: warning: Prefect was not told of it: {error}", err=True)
