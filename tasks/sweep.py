"""Looking for what is left of builds and deleting it, as tasks."""

from cos_customizer.customizer.removal import Removal
from cos_customizer.gcp import sweep
from cos_customizer.gcp.sweep import Decision, Ground
from cos_customizer.tasks.operation import clients, operation


@operation("look for what builds have left")
def look_for_leftovers(ground: Ground, now: float) -> list[Decision]:
    """Decide on everything that bears our label; see `gcp.sweep.look`."""
    return sweep.look(clients(), ground, now)


@operation("sweep")
def delete_leftovers(project: str, decided: list[Decision], now: float) -> list[Removal]:
    """Delete what is to be deleted; see `gcp.sweep.carry_out`."""
    return sweep.carry_out(clients(), project, decided, now)
