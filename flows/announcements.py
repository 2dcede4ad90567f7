"""What becomes of images in Prefect's event feed, where automations act on it; and families as Prefect's assets.

Prefect's own worker thread sends the events, beside those of task runs: whoever announces something waits for nothing,
and a server that is away is no failure. A server of the build's own, which nobody else sees, is spared all that.
"""

import logging
from collections.abc import Sequence
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from prefect.assets import Asset, AssetProperties
from prefect.client.orchestration import get_client
from prefect.context import AssetContext
from prefect.events import Event, RelatedResource, Resource, emit_event
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Completed, Failed
from pydantic import ValidationError

from cos_customizer.customizer.reporting import events
from cos_customizer.customizer.reporting.announcements import Announcement, ImageFailed, ImageReleased, family_key
from cos_customizer.flows import local_server

_BY = "cos-customizer"
_PATIENCE = 5.0
"""Seconds for an answer to who waits for one."""
_LOGGER = logging.getLogger("cos_customizer")


def announce(event: events.Event) -> None:
    """Send an announcement to Prefect's event feed. A listener; Prefect adds the flow run that it is called in.

    Args:
        event: What has happened.
    """
    if not isinstance(event, Announcement) or local_server.is_throw_away():
        return
    try:
        emit_event(event.event, event.resource, related=event.related, payload=event.payload, id=id_of(event))
        if isinstance(event, ImageReleased | ImageFailed):
            _materialize(event)
    except Exception as error:  # Prefect's trouble, not the build's
        _LOGGER.warning("no event %s in Prefect's feed: %s", event.event, error)


def send(told: Sequence[Announcement]) -> None:
    """Send announcements outside of a flow run, and see that the server takes them.

    Args:
        told: What has happened.

    Raises:
        Exception: it does not, within seconds.
    """
    feed = [
        Event(
            event=event.event,
            resource=Resource(event.resource),
            related=[RelatedResource(each) for each in event.related],
            payload=event.payload,
            id=id_of(event),
        ).model_dump(mode="json")
        for event in told
    ]
    settings = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: _PATIENCE}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        client.request("POST", "/events", json=feed).raise_for_status()


def id_of(event: Announcement) -> UUID:
    """The id of an event in the feed, where an id that has been seen counts once.

    Args:
        event: To be sent.
    """
    return uuid5(NAMESPACE_URL, f"{event.event}:{event.once}") if event.once else uuid4()


def _materialize(event: ImageReleased | ImageFailed) -> None:
    """Tell what has become of the family as an asset, as Prefect's engine does of the assets of a task.

    `@materialize` wants to know an asset's key, and what it is made of, when the task is declared; and the task that
    makes the image is another than the one that puts it into its family.
    """
    if not event.family or (isinstance(event, ImageFailed) and event.image_id):  # released, and failed afterwards
        return
    key = family_key(event.project, event.family)
    properties = AssetProperties(name=event.family, description=f"Image family {event.family} of {event.project}")
    context = AssetContext(
        downstream_assets={Asset(key=key, properties=properties)},
        direct_asset_dependencies={asset for each in event.upstream if (asset := _asset(each))},
        materialized_by=_BY,
        materialization_metadata={key: event.payload},
    )
    context.emit_events(Completed() if isinstance(event, ImageReleased) else Failed())


def _asset(key: str) -> Asset | None:
    """The asset of a key; None for a path with characters that Prefect has forbidden."""
    try:
        return Asset(key=key)
    except ValidationError:
        return None
