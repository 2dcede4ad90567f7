"""Looking at a family's images and deleting the expired ones, as tasks."""

from cos_customizer.customizer.removal import Removal
from cos_customizer.gcp import expiry
from cos_customizer.gcp.expiry import Decision, Retention
from cos_customizer.tasks.operation import clients, operation


@operation("look at images")
def look_at_images(retention: Retention, now: float) -> list[Decision]:
    """Decide on every image of the families; see `gcp.expiry.look`."""
    return expiry.look(clients(), retention, now)


@operation("delete expired images")
def delete_expired_images(project: str, decided: list[Decision]) -> list[Removal]:
    """Delete what is to be deleted; see `gcp.expiry.carry_out`."""
    return expiry.carry_out(clients(), project, decided)
