"""Changes that are done when the API answers, before their operation begins."""

from collections.abc import Callable
from typing import Any

from cos_customizer.emulator.compute.operations import Target, nothing
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.store import Resource


def change_at_once(
    shared: SharedParts, path: str, action: str, changed: Callable[[], None] = nothing, /, **changes: Any
) -> Resource:
    """Change fields of a resource at once, and take that back if a fault ends the operation.

    Args:
        shared: holds the resource.
        path: of the resource.
        action: type of the operation, for example `setLabels`.
        changed: called after each change, the one that takes it back as well.
        changes: the fields, as `Store.update` takes them.

    Returns:
        The operation.

    Raises:
        ApiError: 404.
    """
    store = shared.store
    before = store.get(path)
    store.update(path, **changes)
    changed()

    def undo(_: bool) -> None:
        with store.lock:
            now = store.find(path) or {}
            ours = [field for field, value in changes.items() if now.get(field) == value]  # others may have changed it
            if now.get("id") == before["id"]:
                store.update(path, **{field: before.get(field) for field in ours})
        changed()

    return shared.operations.start(Target(path, before["id"], action), undo=undo)
