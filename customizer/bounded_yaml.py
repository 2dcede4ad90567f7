"""YAML that anybody may have written: read in bounded memory and time, with every error of the reader's in one form.

A few lines of aliases and merge keys stand for millions of nodes, deep nesting ends the interpreter's stack, and the
constructors of tags let out whatever their conversion raises. An escape of half a character makes a text that
no file and no request can hold, and of two equal keys one would be lost.
"""

from typing import Any

import yaml

LONGEST = 1 << 20
"""Characters of a text."""
DEEPEST = 100
"""Levels of lists and mappings in each other."""
MOST_NODES = 50_000
"""Keys, values and items; what an alias stands for counts once."""
MOST_MERGED = 10_000
"""Pairs that all merge keys together may bring into their mappings."""


class BoundedLoader(yaml.SafeLoader):
    """Safe; ends with `yaml.MarkedYAMLError` or another `yaml.YAMLError`, whatever the text.

    Args:
        text: one or more documents.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise yaml.YAMLError(f"it has more than {LONGEST:,} characters")
        super().__init__(text)
        self._nodes = self._merged = self._depth = 0
        self._flat: set[yaml.MappingNode] = set()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, unless there are too many, or too many around it."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > MOST_NODES:
            self._refuse(f"there are more than {MOST_NODES:,} keys, values and items")
        if self._depth > DEEPEST:
            self._refuse(f"lists and mappings are nested more than {DEEPEST} levels deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace merge keys by the pairs that they stand for. Of equal keys, the last pair counts.

        Source: https://yaml.org/type/merge.html.
        """
        if node in self._flat:
            return
        self._flat.add(node)
        pairs, node.value = node.value, []
        merged: list[Any] = []
        own: list[Any] = []
        for key, value in pairs:
            if key.tag != "tag:yaml.org,2002:merge":
                own.append((key, value))
                continue
            # The first of a list wins.
            for each in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(each, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        "while constructing a mapping",
                        node.start_mark,
                        "a merge key takes a mapping, or a list of mappings",
                        value.start_mark,
                    )
                self.flatten_mapping(each)
                self._merged += len(each.value)
                if self._merged > MOST_MERGED:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"merge keys stand for more than {MOST_MERGED:,} fields", key.start_mark
                    )
                merged += each.value
        self._check_different([key for key, _ in own])
        node.value = merged + own

    def _check_different(self, keys: list[yaml.Node]) -> None:
        """Refuse keys that are given twice (https://yaml.org/spec/1.2.2/#3213-node-comparison)."""
        seen: set[tuple[str, str]] = set()
        for key in keys:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    why = f"the key {key.value[:100]!r} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
                seen.add((key.tag, key.value))

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make a node's value; what its tag cannot make one of is an error of the text."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
            return value
        except yaml.YAMLError:
            raise
        except Exception as error:  # whatever the conversions of tags raise: KeyError of !!bool, IndexError of !!int …
            kind = node.tag.rpartition(":")[2]
            why = "it is nested too deeply" if isinstance(error, RecursionError) else f"it is no value of !!{kind}"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark) from None

    def _refuse(self, why: str) -> None:
        raise yaml.composer.ComposerError(None, None, why, self.peek_event().start_mark)  # type: ignore[no-untyped-call]


def problem_of(error: yaml.YAMLError) -> str:
    """What is wrong with a text, in one line without the text's own words."""
    if isinstance(error, yaml.MarkedYAMLError):
        return str(error.problem or error.context)
    return str(error).partition("\n")[0]
