"""The imports of our modules, read from their sources by the syntax tree, imports inside of functions included."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.paths import ROOT

PACKAGE = "cos_customizer"
ROOMS = ("cli", "flows", "tasks", "gcp", "guest", "customizer")
"""From left to right: each may import what stands to its right."""
EMULATOR = "emulator"


@dataclass(frozen=True)
class Import:
    """One import statement.

    Attributes:
        target: the module as imported, `cos_customizer.` left out where it is ours.
        ours: whether it is a module of this project.
        deferred: it is inside a function, or for the type checker only.
        line: of the statement.
    """

    target: str
    ours: bool
    deferred: bool
    line: int


def modules() -> dict[str, Path]:
    """All modules, by name below the package: `cli.main`, and `cli` for the room itself."""
    found = {}
    for room in (*ROOMS, EMULATOR):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def imports(name: str) -> tuple[Import, ...]:
    """The imports of a module, in their order."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    return tuple(_imports_below(tree, name, False))


def _imports_below(node: ast.AST, name: str, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _import(alias.name, deferred, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            yield from _imports_from(child, name, deferred)
        else:
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from _imports_below(child, name, deferred or inner or typing)


def _imports_from(node: ast.ImportFrom, name: str, deferred: bool) -> Iterator[Import]:
    module = node.module or ""
    if node.level:
        package = MODULES[name].name == "__init__.py"
        parts = [PACKAGE, *name.split(".")]
        base = parts[: len(parts) - node.level + package]
        module = ".".join([*base, *([module] if module else [])])
    for alias in node.names:
        whole = f"{module}.{alias.name}"
        yield _import(whole if whole.removeprefix(f"{PACKAGE}.") in MODULES else module, deferred, node.lineno)


def _import(target: str, deferred: bool, line: int) -> Import:
    ours = target == PACKAGE or target.startswith(f"{PACKAGE}.")
    return Import(target.removeprefix(f"{PACKAGE}."), ours, deferred, line)
