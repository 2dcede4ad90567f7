"""Filter expressions of list requests.

Both forms that Compute Engine takes (https://cloud.google.com/compute/docs/reference/rest/v1/images/list, parameter
`filter`): comparisons such as `(family = x) (name != y*) labels.k:v`, joined by AND, OR and NOT, and the older
`name eq regular-expression`.
"""

import re
from collections.abc import Callable
from typing import Any

from cos_customizer.emulator.errors import ApiError

Predicate = Callable[[dict[str, Any]], bool]

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
    return _Parser(expression).parse() if expression.strip() else lambda _: True


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens: list[tuple[str, str]] = []
        position, end = 0, len(expression.rstrip())
        while position < end:
            match = _TOKEN.match(expression, position)
            if not match:
                raise self._bad()
            kind = match.lastgroup or ""
            text = match[kind]
            self._tokens.append((kind, text[1:-1] if kind == "quoted" else text))
            position = match.end()
        self._at = 0

    def parse(self) -> Predicate:
        predicate = self._or()
        if self._at != len(self._tokens):
            raise self._bad()
        return predicate

    def _bad(self) -> ApiError:
        return ApiError(
            400, "invalid", f"Invalid value for field 'filter': '{self._expression}'. Invalid list filter expression."
        )

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        if not token[0]:
            raise self._bad()
        self._at += 1
        return token

    def _or(self) -> Predicate:
        terms = [self._and()]
        while self._peek() == ("word", "OR"):
            self._take()
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else lambda resource: any(term(resource) for term in terms)

    def _and(self) -> Predicate:
        terms = [self._not()]
        while self._peek()[0] and self._peek() not in (("word", "OR"), ("mark", ")")):
            if self._peek() == ("word", "AND"):
                self._take()
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else lambda resource: all(term(resource) for term in terms)

    def _not(self) -> Predicate:
        kind, text = self._peek()
        if (kind, text) == ("word", "NOT"):
            self._take()
            inner = self._not()
            return lambda resource: not inner(resource)
        if kind == "word" and text == "-":
            self._take()
            inner = self._not()
            return lambda resource: not inner(resource)
        if (kind, text) == ("mark", "("):
            self._take()
            inner = self._or()
            if self._take() != ("mark", ")"):
                raise self._bad()
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        kind, field = self._take()
        if kind != "word":
            raise self._bad()
        negated = field.startswith("-")
        _, operator = self._take()
        if operator not in _COMPARISONS:
            raise self._bad()
        kind, written = self._take()
        if kind == "mark":
            raise self._bad()
        compare = self._compare(operator, written)
        names = field.lstrip("-").split(".")
        return lambda resource: compare(_values(resource, names)) != negated

    def _compare(self, operator: str, written: str) -> Callable[[list[Any]], bool]:
        wanted = re.sub(r"\\(.)", r"\1", written)
        if operator in ("eq", "ne"):
            try:
                # Its backslashes are the regular expression's: `family eq ".*\bcos\-stable\b.*"`, says gcloud.
                expression = re.compile(written)
            except re.error:
                raise self._bad() from None
            return lambda values: any(expression.fullmatch(_text(v)) for v in values) == (operator == "eq")
        if operator in ("<", ">", "<=", ">="):
            return lambda values: any(_ordered(operator, v, wanted) for v in values)
        if operator == ":":
            return lambda values: any(wanted == "*" or _has(v, wanted) for v in values)
        glob = re.compile(".*".join(re.escape(part) for part in wanted.split("*")), re.DOTALL)
        return lambda values: any(glob.fullmatch(_text(v)) for v in values) == (operator == "=")


def _values(resource: Any, names: list[str]) -> list[Any]:
    """What a dotted name means in a resource: none, one, or several values (through lists)."""
    if not names:
        return resource if isinstance(resource, list) else [resource]
    if isinstance(resource, list):
        return [value for one in resource for value in _values(one, names)]
    if isinstance(resource, dict):
        if names[0] in resource:
            return _values(resource[names[0]], names[1:])
        whole = ".".join(names)  # a label's key may hold no dot, but be tolerant of other maps
        return [resource[whole]] if whole in resource else []
    return []


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has(value: Any, wanted: str) -> bool:
    if isinstance(value, dict):
        return wanted in value
    words = re.escape(wanted.lower()).replace(r"\*", r"[-\w]*")
    return re.search(rf"(?<![\w]){words}(?![\w])", _text(value).lower()) is not None


def _ordered(operator: str, value: Any, wanted: str) -> bool:
    left: Any
    right: Any
    try:
        left, right = float(value), float(wanted)
    except ValueError:
        left, right = _text(value), wanted
    if operator.startswith("<"):
        return bool(left < right or (operator == "<=" and left == right))
    return bool(left > right or (operator == ">=" and left == right))
