"""What makes big libraries quick to import. A command of ours spends more time on that than on anything of its own."""

import gc
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPUTE = "google.cloud.compute_v1"
_SERVICE = re.compile(r"^from \.services\.(\w+) import (\w+)", re.MULTILINE)


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without garbage collection: it takes a fifth of the time and finds nothing, for modules stay.

    What is there at the end is never looked at again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _ComputeLoader(Loader):
    """Loads Compute Engine's package without its hundred services. Each name is there, once it is asked for.

    Args:
        whole: loads all of it.
        services: module of each client, by the client's name; everything else is a type.
    """

    def __init__(self, whole: Loader, services: dict[str, str]) -> None:
        self._whole = whole
        self._services = services

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._whole.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def whole() -> ModuleType:
            del module.__dict__["__getattr__"], module.__dict__["__dir__"]
            self._whole.exec_module(module)
            return module

        def look_up(name: str) -> Any:
            if name in ("__all__", "__version__"):
                return getattr(whole(), name)
            place = f"services.{self._services[name]}" if name in self._services else "types"
            try:
                found = getattr(importlib.import_module(f"{_COMPUTE}.{place}"), name)
            except AttributeError:
                raise AttributeError(f"module {_COMPUTE!r} has no attribute {name!r}") from None
            setattr(module, name, found)
            return found

        module.__dict__.update(__getattr__=look_up, __dir__=lambda: dir(whole()))


class _ComputeFinder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == _COMPUTE else None
        if spec is None or spec.loader is None or spec.origin is None:
            return None
        services = {client: module for module, client in _SERVICE.findall(Path(spec.origin).read_text("utf-8"))}
        if services:
            spec.loader = _ComputeLoader(spec.loader, services)
        return spec


def install() -> None:
    """Let Compute Engine's library be loaded by parts from now on; where it is loaded already, it stays as it is."""
    if not any(isinstance(finder, _ComputeFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ComputeFinder())
