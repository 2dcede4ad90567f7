"""What is done to instances that are on, and leaves them on."""

from collections.abc import Callable

from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.power import Power, project_and_zone
from cos_customizer.emulator.compute.quotas import Quotas
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import InstanceStatus
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, not_in_state


class RunningInstances:
    """Resets instances, and lets them stand still for a while. Methods named as the API's return the operation.

    Args:
        shared: the parts that all kinds of resources share.
        power: has the machines.
        quotas: limits what may run: a suspended instance does not count.
        check_stock: raises an error if a zone of a project has run out of machines.
        find: returns an instance by its path, as it is now.
    """

    def __init__(
        self,
        shared: SharedParts,
        power: Power,
        quotas: Quotas,
        check_stock: Callable[[str, str], None],
        find: Callable[[str], Resource],
    ) -> None:
        self._shared = shared
        self._power = power
        self._quotas = quotas
        self._check_stock = check_stock
        self._find = find

    def reset(self, path: str) -> Resource:
        """Let a running instance boot again, without shutting down.

        Raises:
            ApiError: 404, or 400 if it does not run.
        """
        return self._in_state(path, "reset", InstanceStatus.RUNNING, self._power.reset)

    def suspend(self, path: str) -> Resource:
        """Let a running instance stand still.

        Raises:
            ApiError: 404, or 400 if it does not run, or has a GPU.
        """
        if self._find(path).get("guestAccelerators"):
            raise ApiError(400, "badRequest", "Instances with guest accelerators cannot be suspended.")
        return self._in_state(path, "suspend", InstanceStatus.RUNNING, self._power.freeze)

    def resume(self, path: str) -> Resource:
        """Let a suspended instance go on.

        Raises:
            ApiError: 404, or 400 if it is not suspended.
        """
        instance = self._find(path)
        project, zone = project_and_zone(path)
        excess = self._quotas.excess(project, zone, instance)
        if excess and instance["status"] == InstanceStatus.SUSPENDED:
            return self._shared.operations.fail(Target(path, instance["id"], "resume"), excess)

        def thaw(path: str) -> None:
            self._check_stock(project, zone)
            self._power.thaw(path)

        return self._in_state(path, "resume", InstanceStatus.SUSPENDED, thaw)

    def _in_state(self, path: str, method: str, status: InstanceStatus, act: Callable[[str], None]) -> Resource:
        """Do what an instance must be in a state for."""
        instance = self._find(path)
        if instance["status"] != status:
            raise not_in_state(path, status)

        def work() -> None:
            with self._power.changing(path, instance["id"]):
                if self._find(path)["status"] == status:
                    act(path)

        return self._shared.operations.start(Target(path, instance["id"], method), work)
