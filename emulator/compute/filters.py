"""Filter expressions of list requests.

Both forms that Compute Engine takes (https://cloud.google.com/compute/docs/reference/rest/v1/images/list, parameter
`filter`): comparisons such as `(family = x) (name != y*) labels.k:v`, joined by AND, OR and NOT, and the older
`name eq regular-expression`.
"""

import re
from collections.abc import Callable
from typing import Any

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.filter_language import (
    AND,
    CLOSE,
    END,
    NOT,
    OPEN,
    OR,
    Predicate,
    Token,
    TokenCursor,
    all_of,
    any_of,
    as_text,
    negated,
)
from cos_customizer.emulator.patterns import Pattern

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<mark>\(|\)|!=|<=|>=|=|<|>|:)
      | (?P<word>(?:\\.|[^\s()=!<>:"'])+)
    )""",
    re.VERBOSE,
)
_COMPARISONS = ("=", "!=", "<", ">", "<=", ">=", ":", "eq", "ne")


def parse(expression: str) -> Predicate:
    """Turn a filter expression into a test of one resource.

    Raises:
        ApiError: 400, the expression is wrong.
    """
    if not expression.strip():
        return lambda _: True

    def error(_: str) -> ApiError:
        message = f"Invalid value for field 'filter': '{expression}'. Invalid list filter expression."
        return ApiError(400, "invalid", message)

    tokens: list[Token] = []
    position, end = 0, len(expression.rstrip())
    while position < end:
        match = _TOKEN.match(expression, position)
        if not match:
            raise error("")
        kind = match.lastgroup or ""
        text = match[kind]
        tokens.append((kind, text[1:-1] if kind == "quoted" else text))
        position = match.end()
    try:
        return _Parser(tokens, error).whole()
    except RecursionError:
        raise error("") from None


class _Parser(TokenCursor):
    """OR binds weaker than AND, which may be left out; NOT (or a hyphen) binds strongest."""

    def whole(self) -> Predicate:
        predicate = self._or()
        if self.peek() != END:
            raise self.error("")
        return predicate

    def _or(self) -> Predicate:
        terms = [self._and()]
        while self.take_if(OR):
            terms.append(self._and())
        return any_of(terms)

    def _and(self) -> Predicate:
        terms = [self._not()]
        while self.peek() not in (END, OR, CLOSE):
            self.take_if(AND)
            terms.append(self._not())
        return all_of(terms)

    def _not(self) -> Predicate:
        if self.take_if(NOT) or self.take_if(("word", "-")):
            return negated(self._not())
        if self.take_if(OPEN):
            inner = self._or()
            self.expect(CLOSE)
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        kind, field = self.take()
        if kind != "word":
            raise self.error("")
        is_negated = field.startswith("-")
        _, operator = self.take()
        if operator not in _COMPARISONS:
            raise self.error("")
        kind, written = self.take()
        if kind == "mark":
            raise self.error("")
        compare = self._compare(operator, written)
        names = field.lstrip("-").split(".")
        return lambda resource: compare(_values(resource, names)) != is_negated

    def _compare(self, operator: str, written: str) -> Callable[[list[Any]], bool]:
        wanted = re.sub(r"\\(.)", r"\1", written)
        if operator in ("eq", "ne"):
            try:
                # Its backslashes are the regular expression's: gcloud sends `family eq ".*\bcos\-stable\b.*"`.
                expression = Pattern(written)
            except ValueError:
                raise self.error("") from None
            return lambda values: any(expression.fullmatch(as_text(v)) for v in values) == (operator == "eq")
        if operator in ("<", ">", "<=", ">="):
            return lambda values: any(_ordered(operator, v, wanted) for v in values)
        if operator == ":":
            words = re.escape(wanted.lower()).replace(r"\*", r"[-\w]*")
            try:
                pattern = Pattern(rf"(?<![\w]){words}(?![\w])")
            except ValueError:
                raise self.error("") from None
            return lambda values: any(wanted == "*" or _has(v, wanted, pattern) for v in values)
        parts = wanted.split("*")
        return lambda values: any(_matches(parts, as_text(v)) for v in values) == (operator == "=")


def _values(resource: Any, names: list[str]) -> list[Any]:
    """Return the values that a dotted name has in a resource: none, one, or several (through lists)."""
    if not names:
        return resource if isinstance(resource, list) else [resource]
    if isinstance(resource, list):
        return [value for one in resource for value in _values(one, names)]
    if isinstance(resource, dict):
        if names[0] in resource:
            return _values(resource[names[0]], names[1:])
        whole = ".".join(names)  # labels have no dots in their keys, other maps may
        return [resource[whole]] if whole in resource else []
    return []


def _has(value: Any, wanted: str, pattern: Pattern) -> bool:
    if isinstance(value, dict):
        return wanted in value
    return pattern.search(as_text(value).lower()) is not None


def _matches(parts: list[str], text: str) -> bool:
    """Return whether a text is made of these parts with anything between them, in linear time."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return text == first
    if not text.startswith(first):
        return False
    position = len(first)
    for part in parts[1:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(text) - len(last) >= position and text.endswith(last)


def _ordered(operator: str, value: Any, wanted: str) -> bool:
    left: Any
    right: Any
    try:
        left, right = float(value), float(wanted)
    except ValueError:
        left, right = as_text(value), wanted
    if operator.startswith("<"):
        return bool(left < right or (operator == "<=" and left == right))
    return bool(left > right or (operator == ">=" and left == right))
