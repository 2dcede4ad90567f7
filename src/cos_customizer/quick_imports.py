"""What makes big libraries quick to import. A command of ours spends more time on that than on anything of its own."""

import gc
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPUTE = "google.cloud.compute_v1"
_TYPES = f"{_COMPUTE}.types"
_COMPUTE_TYPES = f"{_TYPES}.compute"
_incomplete: list[Callable[[], None]] = []
"""What completes the modules that are there in part."""
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
    """Loads a package of Compute Engine's library without what it imports. Each name is there, once it is asked for.

    Args:
        whole: loads all of it.
        places: module of each name, relative to the package, where it is not the one of all others.
        others: that one.
    """

    def __init__(self, whole: Loader, places: dict[str, str], others: str) -> None:
        self._whole = whole
        self._places = places
        self._others = others

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._whole.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__

        def whole() -> ModuleType:
            if "__getattr__" in vars(module):
                del module.__dict__["__getattr__"], module.__dict__["__dir__"]
                self._whole.exec_module(module)
            return module

        def look_up(name: str) -> Any:
            if name in ("__all__", "__version__"):
                return getattr(whole(), name)
            place = self._places.get(name, self._others)
            try:
                found = getattr(importlib.import_module(f".{place}", package), name)
            except AttributeError:
                if name.startswith("__") or importlib.util.find_spec(f"{package}.{name}") is None:
                    raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
                found = importlib.import_module(f".{name}", package)
            setattr(module, name, found)
            return found

        module.__dict__.update(__getattr__=look_up, __dir__=lambda: dir(whole()))


class _TypesLoader(Loader):
    """Loads the module of Compute Engine's types without the types."""

    def __init__(self, whole: SourceLoader) -> None:
        self._whole = whole

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._whole.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        code = self._whole.get_code(module.__name__)
        if code is None:
            self._whole.exec_module(module)
            return
        from cos_customizer.compute_types import LazyTypes

        types = LazyTypes(module, code)
        types.load()
        _incomplete.append(types.complete)


class _ComputeFinder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in (_COMPUTE, _TYPES, _COMPUTE_TYPES):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not isinstance(spec.loader, SourceLoader):
            return None
        if fullname == _COMPUTE_TYPES:
            spec.loader = _TypesLoader(spec.loader)
        elif fullname == _TYPES:
            spec.loader = _ComputeLoader(spec.loader, {}, "compute")
        else:
            found = _SERVICE.findall(Path(spec.origin).read_text("utf-8"))
            places = {client: f"services.{module}" for module, client in found}
            if places:
                spec.loader = _ComputeLoader(spec.loader, places, "types")
        return spec


def install() -> None:
    """Let Compute Engine's library be loaded by parts from now on; where it is loaded already, it stays as it is."""
    if not any(isinstance(finder, _ComputeFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ComputeFinder())


def complete() -> None:
    """Make what is put off of Compute Engine's types, and put off no more of them.

    Call it before signals may interrupt, and be survived: a type that is half made stays so.
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _ComputeFinder)]
    with uncollected():
        while _incomplete:
            _incomplete[-1]()
            _incomplete.pop()
