"""Google's module of Compute Engine's types, which makes all two thousand of them; here, each once it is asked for.

The types are proto-plus messages. That library gives a module one descriptor of all its messages, once the last of
them is there. Here the module has no list of them (no manifest), so that each message has a descriptor of its own, or
one with those that it refers to in a circle.

What proto-plus has half done, it cannot do again: so whoever lets signals interrupt what it does, and goes on after
that, makes all of them before (`quick_imports.complete`).
"""

import builtins
import threading
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

_Body = tuple[Callable[[], None], tuple[Any, ...], dict[str, Any]]


class LazyTypes:
    """The types of the module, and which of them are there.

    Args:
        module: Has nothing yet.
        code: Of the module.
    """

    def __init__(self, module: ModuleType, code: CodeType) -> None:
        self._module = module
        self._code = code
        self._bodies: dict[str, _Body] = {}
        self._made: dict[str, Any] = {}
        self._begun: list[str] = []
        self._lock = threading.RLock()

    def load(self) -> None:
        """Run the module, but leave out what makes its classes; where it is not as we know it, run all of it."""
        names = vars(self._module)
        recorded = False

        def note(body: Callable[[], None], name: str, *bases: Any, **keywords: Any) -> Any:
            if recorded:  # a class inside of another
                return builtins.__build_class__(body, name, *bases, **keywords)
            self._bodies[name] = (body, bases, keywords)
            return None

        names["__builtins__"] = {**vars(builtins), "__build_class__": note}
        exec(self._code, names)  # noqa: S102 - as an import does
        recorded = True
        names["__builtins__"] = builtins
        if not self._is_as_known():
            self._bodies.clear()
            exec(self._code, names)  # noqa: S102
            return
        names["__protobuf__"] = names["__protobuf__"]._replace(manifest=frozenset())
        for name in self._bodies:
            del names[name]
        names.update(__getattr__=self.get, __dir__=lambda: sorted({*names, *self._bodies}))

    def _is_as_known(self) -> bool:
        """Whether these are messages of proto-plus, derived from nothing else, and listed where that library looks."""
        import proto  # type: ignore[import-untyped]

        names = vars(self._module)
        return (
            hasattr(names.get("__protobuf__"), "_replace")
            and set(names["__protobuf__"].manifest) == set(self._bodies)
            and all(bases == (proto.Message,) and not keywords for _, bases, keywords in self._bodies.values())
        )

    def get(self, name: str) -> Any:
        """A type by name, with all that it refers to.

        Args:
            name: Of the type.

        Raises:
            AttributeError: There is none of this name.
        """
        if name not in self._bodies:  # proto-plus asks so, too, while it makes a type
            if name in vars(self._module):  # another thread has made it meanwhile
                return vars(self._module)[name]
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r}")
        self._finish(name)
        return vars(self._module)[name]

    def complete(self) -> None:
        """Make all types that are not there yet."""
        for name in list(self._bodies):
            self._finish(name)

    def _finish(self, name: str) -> None:
        """Make a type and those that it refers to, and let all of them be seen at once."""
        with self._lock:
            if name in vars(self._module):
                return
            self._made.clear()
            self._begun.clear()
            self._make(name)
            vars(self._module).update(self._made)
            for each in self._made:
                del self._bodies[each]

    def _make(self, name: str) -> None:
        self._begun.append(name)
        body, bases, _ = self._bodies[name]

        def make(name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
            for field in attributes.values():
                other = getattr(field, "message", None)
                if isinstance(other, str):
                    field.message = self._referred(other)
            return type(bases[0])(name, bases, attributes)

        self._made[name] = builtins.__build_class__(body, name, *bases, metaclass=make)

    def _referred(self, name: str) -> Any:
        """A type that a field refers to; its name, if it is in a circle with the field's own."""
        if name in vars(self._module):
            return vars(self._module)[name]
        if name not in self._begun and name in self._bodies:
            self._make(name)
        return self._made.get(name, name)
