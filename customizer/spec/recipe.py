"""Recipes: a build's specification as a YAML file.

Scalars are taken as they are written, and become numbers and booleans only where a field is one: a driver version
`390.40` keeps its zero, a label `milestone: 65` is the text that a label must be.
"""

import errno
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cos_customizer.customizer.bounded_yaml import DEEPEST, LONGEST, BoundedLoader, problem_of
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, joined
from cos_customizer.customizer.spec.faults import Place, dotted, explain, hint_for, place_of, without_kinds
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.script_checks import MASK
from cos_customizer.customizer.spec.step import StepModel
from cos_customizer.customizer.spelling import quoted

STANDARD_INPUT = Path("-")
"""The path that means standard input."""

SETTING = FieldPath("setting")
"""What gives a recipe's field another value, in messages."""

_TEXT = "tag:yaml.org,2002:str"
_AS_YAML = ("[", "{", '"', "'")
"""What the value of a setting begins with if it is more than a text."""


class _Loader(BoundedLoader):
    """Plain scalars are texts, except null and the merge key `<<`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read, not yet checked against `BuildSpec`.

    Attributes:
        name: what to call it in messages: the file's path, or `standard input`.
        data: JSON-like data of the shape of `BuildSpec`; all scalars are texts or None. `context.path` is relative to
            the working directory, as the recipe's own path is, or absolute, or begins with `gs://`.
        origins: where each place in the data comes from, for messages: `hello.yaml:12`, or the setting that made it.
    """

    name: str
    data: dict[str, Any]
    origins: Mapping[Place, str]

    def with_settings(self, settings: Iterable[str]) -> "Recipe":
        """The recipe with some of its fields set anew.

        Args:
            settings: each `key=value` as `apply_settings` takes it.

        Raises:
            UsageError: a setting cannot be applied.
        """
        data, origins = self.data, dict(self.origins)
        for setting in settings:
            data, place = _apply(data, setting)
            replaced = place[:-1] if place and isinstance(place[-1], int) else place  # items of a list may have moved
            origins = {other: origin for other, origin in origins.items() if other[: len(replaced)] != replaced}
            origins[place] = Message("{} {}", SETTING, dotted(place))
        return Recipe(self.name, data, origins)

    def spec(self) -> BuildSpec:
        """The specification that the recipe is.

        Raises:
            UsageError: it is not one; every fault is named by its field and where that comes from. Or values of
                environment variables are masked, as a dry run prints them.
        """
        if "deployments" in self.data and "source" not in self.data:
            raise UsageError(
                f"{self.name}: this is no recipe: it has `deployments`, so it is Prefect's",
                "give recipes a directory of their own, or a pattern that leaves it out: recipes/*.yaml.",
            )
        try:
            spec = BuildSpec.model_validate(self.data)
        except ValidationError as error:
            faults = error.errors()
            texts = [Message("{}: {}", self._origin(place_of(fault)), explain(fault, "a recipe")) for fault in faults]
            hints = (hint_for(fault, BuildSpec) for fault in faults)
            hint = next(filter(None, hints), "`cos-customizer schema` prints what a recipe may hold.")
            raise UsageError(joined("\n", texts), hint) from None
        self._refuse_masked(spec)
        return spec

    def _refuse_masked(self, spec: BuildSpec) -> None:
        steps: list[tuple[Place, StepModel]] = [(("steps", number), step) for number, step in enumerate(spec.steps)]
        steps += [(("verify", "scripts", number), script) for number, script in enumerate(spec.verify.scripts)]
        masked: list[Place] = [(*place, *field) for place, step in steps for field in step.masked_fields()]
        if masked:
            raise UsageError(
                joined(
                    "\n",
                    [Message("{}: {} is masked ({})", self._origin(place), dotted(place), MASK) for place in masked],
                ),
                Message(
                    "a dry run does not print values: fill them in, or pass {} {}=VALUE.", SETTING, dotted(masked[0])
                ),
            )

    def _origin(self, place: Place) -> str:
        """Where a place comes from: itself, what is in it (a setting may have made it), or what is nearest above it."""
        shown = without_kinds(place)
        inside = [origin for other, origin in self.origins.items() if shown and other[: len(shown)] == shown]
        if shown not in self.origins and inside:
            return inside[0]
        while shown and shown not in self.origins:
            shown = shown[:-1]
        return self.origins.get(shown, self.name)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a file.

    The first document of the file counts: so the output of a dry run is one. `context.path` is relative to the file's
    directory; what is returned is relative to the working directory if `path` is, so that it means the same in another
    checkout.

    Args:
        path: of the file; `-` is standard input, whose context is relative to the working directory.

    Raises:
        UsageError: it cannot be read, or is not YAML, or not a mapping of fields to values.
    """
    path = Path(path)
    name, directory = ("standard input", Path()) if path == STANDARD_INPUT else (str(path), path.parent)
    try:
        text = _standard_input() if path == STANDARD_INPUT else _begin_of(path)
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise UsageError(
            f"cannot read recipe {quoted(name)}: {error.strerror if isinstance(error, OSError) else error}",
            f"paths are relative to the working directory, {quoted(str(Path.cwd()))}."
            if not path.is_absolute()
            else "",
        ) from error
    if len(text) > 4 * LONGEST:
        raise UsageError(f"{name}: the recipe has more than {4 * LONGEST:,} bytes")
    return parse_recipe(text, name, directory)


def _begin_of(path: Path) -> bytes:
    """All of a file, or more of it than a recipe may have: some never end."""
    with path.open("rb") as file:
        return file.read(4 * LONGEST + 1)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdin.buffer.read(4 * LONGEST + 1)


def parse_recipe(text: bytes | str, name: str, directory: Path) -> Recipe:
    """Read a recipe.

    Args:
        text: one or more YAML documents, the first of which is the recipe; bytes are UTF-8.
        name: what to call it in messages.
        directory: that `context.path` is relative to.

    Raises:
        UsageError: as `read_recipe`.
    """
    origins: dict[Place, str] = {}
    try:
        loader = _Loader(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            raise UsageError(f"{name}: the recipe is empty", "`cos-customizer schema` prints what a recipe may hold.")
        _note_origins(node, (), name, origins, set())
        data = loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: the recipe is not UTF-8 text (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise UsageError(
            f"{where}: this is not YAML that a recipe can be: {problem_of(error)}",
            "YAML is indented by spaces: there is a tab." if "'\\t'" in problem_of(error) else "",
        ) from None
    except yaml.YAMLError as error:  # a character that YAML does not know
        raise UsageError(f"{name}: this is not YAML that a recipe can be: {problem_of(error)}") from None
    if not isinstance(data, dict):
        raise UsageError(
            f"{name}:{node.start_mark.line + 1}: a recipe is a mapping of fields to values, not a "
            f"{'list' if isinstance(data, list) else 'single value'}",
            "`cos-customizer schema` prints what a recipe may hold.",
        )
    return Recipe(name, _from_directory(data, directory), origins)


def apply_settings(data: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Set fields of a recipe's data.

    Args:
        data: JSON-like data; it is left as it is.
        settings: each `key=value`. The key is a dotted path, items of lists by number from 0; the number after the last
            appends; what is missing on the way is made. The value is a text as it stands, unless it begins with `[`,
            `{` or a quotation mark: then it is YAML; `null` takes the field out.

    Returns:
        The new data.

    Raises:
        UsageError: a key leads nowhere, or a value cannot be read. Values are not repeated in messages: they may be
            secrets.
    """
    for setting in settings:
        data, _ = _apply(data, setting)
    return data


def _apply(data: dict[str, Any], setting: str) -> tuple[dict[str, Any], Place]:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UsageError(
            Message("{}: a setting is of the form key=value", SETTING),
            Message("for example: {} output.name=my-image.", SETTING),
        )
    parts = key.split(".")
    if len(parts) > DEEPEST:
        raise UsageError(Message("{}: a key has at most {} parts, not {:,}", SETTING, DEEPEST, len(parts)))
    if not all(parts):
        raise UsageError(
            Message("{} {}: a part of the key is empty", SETTING, key),
            Message("for example: {} steps.0.env.FOO=bar.", SETTING),
        )
    return _replaced(data, parts, 0, _value(key, text))


def _value(key: str, text: str) -> Any:
    """The value of a setting; None for one that takes the field out."""
    if text == "null":
        return None
    if not text.startswith(_AS_YAML):
        return text
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise UsageError(
            Message("{} {}: the value is not YAML: {}", SETTING, key, problem_of(error)),
            Message(
                "a value that begins with [, {{ or a quotation mark is read as YAML; quote it to pass it as a text: "
                "{} \"{}='[text'\".",
                SETTING,
                key,
            ),
        ) from None


def _replaced(container: Any, parts: list[str], depth: int, value: Any) -> tuple[Any, Place]:
    """A copy of a container with what is below it at `parts[depth:]` replaced, and the place that this is."""
    step: str | int
    if isinstance(container, dict):
        step = parts[depth]
        present = container.get(step)
    elif isinstance(container, list):
        step = _index(container, parts, depth)
        present = container[step] if step < len(container) else None
    else:
        above = ".".join(parts[:depth])
        raise UsageError(
            Message("{} {}: {} is a single value, and has nothing below it", SETTING, ".".join(parts), above),
            Message("{} {}=… sets it.", SETTING, above),
        )
    below: Place = ()
    if depth + 1 < len(parts):
        made: Any = [] if parts[depth + 1].isdecimal() else {}
        value, below = _replaced(made if present is None else present, parts, depth + 1, value)
    if isinstance(step, int):
        return [*container[:step], *([] if value is None else [value]), *container[step + 1 :]], (step, *below)
    if value is None:
        return {name: item for name, item in container.items() if name != step}, (step,)
    return {**container, step: value}, (step, *below)


def _index(items: list[Any], parts: list[str], depth: int) -> int:
    part, where = parts[depth], ".".join(parts[:depth])
    if re.fullmatch("[0-9]{1,6}", part) and int(part) <= len(items):
        return int(part)
    count = f"{len(items)} item{'' if len(items) == 1 else 's'}"
    raise UsageError(
        Message("{} {}: {} is a list of {}, and {!r} is none of them", SETTING, ".".join(parts), where, count, part),
        f"items are counted from 0; {where}.{len(items)} appends one.",
    )


def _note_origins(node: yaml.Node, place: Place, name: str, origins: dict[Place, str], seen: set[int]) -> None:
    """Write down the line of everything below a node, and refuse keys that are given twice."""
    origins.setdefault(place, f"{name}:{node.start_mark.line + 1}")
    if id(node) in seen:  # an alias: its contents are where the anchor is
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _note_origins(item, (*place, number), name, origins, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag.endswith(":merge"):
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
                raise UsageError(f"{name}:{line}: a key must be a text")
            if key.value in lines:
                field = dotted((*place, key.value))
                raise UsageError(f"{name}:{line}: {field} is given twice, first in line {lines[key.value]}")
            lines[key.value] = line
            origins[*place, key.value] = f"{name}:{line}"
            _note_origins(value, (*place, key.value), name, origins, seen)


def _from_directory(data: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The data with `context.path` relative to the working directory instead of the recipe's."""
    context = data.get("context", {})
    path = context.get("path", ".") if isinstance(context, dict) else None
    if not isinstance(path, str) or not path or path.startswith("gs://"):
        return data
    return {**data, "context": {**context, "path": str(directory / path)}}
