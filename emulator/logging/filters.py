"""Filters of log entries: the Logging query language (https://cloud.google.com/logging/docs/view/logging-query-language).

Comparisons of fields with one value or several, joined by NOT, OR and AND (which bind in this order; AND may be left
out), parentheses, comments, words searched in all fields, and the function `log_id`. Other functions are refused.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from cos_customizer.emulator.errors import ApiError

Entry = dict[str, Any]
Predicate = Callable[[Entry], bool]

SEVERITIES = {
    name: number * 100
    for number, name in enumerate(
        ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
    )
}
"""Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity."""
_LONGEST = 20_000
_TIMES = ("timestamp", "receiveTimestamp")
_TOKEN = re.compile(
    r"""
        (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<mark>!=|<=|>=|=~|!~|=|<|>|:|\(|\)|,)
      | (?P<word>(?:[^\s()=!<>:,"'~]|(?<=\.)"(?:\\.|[^"\\])*")+)
    """,
    re.VERBOSE,
)
_BETWEEN = re.compile(r"(?:\s|--[^\n]*)*")
_COMPARISONS = ("=", "!=", "<", ">", "<=", ">=", ":", "=~", "!~")


def parse(expression: str) -> Predicate:
    """Turn a filter into a test of one entry, in the API's JSON form.

    Raises:
        ApiError: 400, the filter is wrong.
    """
    if len(expression) > _LONGEST:
        raise ApiError(400, "badRequest", f"The filter is longer than {_LONGEST} characters.")
    return _Parser(expression).parse()


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(self._split(expression))
        self._at = 0

    def _split(self, expression: str) -> Iterator[tuple[str, str]]:
        position = 0
        while (position := _after(_BETWEEN, expression, position)) < len(expression):
            match = _TOKEN.match(expression, position)
            if not match:
                raise self._bad(expression[position : position + 20].strip())
            kind = match.lastgroup or ""
            yield kind, match[kind]
            position = match.end()

    def parse(self) -> Predicate:
        predicate = self._and() if self._tokens else lambda _: True
        if self._at != len(self._tokens):
            raise self._bad(self._peek()[1])
        return predicate

    def _bad(self, near: str) -> ApiError:
        where = f"unexpected '{near}'" if near else "unexpected end"
        return ApiError(400, "badRequest", f"Unparseable filter: {where} in '{self._expression}'")

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        return self._tokens[self._at + ahead] if self._at + ahead < len(self._tokens) else ("", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        if not token[0]:
            raise self._bad("")
        self._at += 1
        return token

    def _and(self) -> Predicate:
        terms = [self._or()]
        while self._peek()[0] and self._peek() != ("mark", ")"):
            if self._peek() == ("word", "AND"):
                self._take()
            terms.append(self._or())
        return terms[0] if len(terms) == 1 else lambda entry: all(term(entry) for term in terms)

    def _or(self) -> Predicate:
        terms = [self._not()]
        while self._peek() == ("word", "OR"):
            self._take()
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else lambda entry: any(term(entry) for term in terms)

    def _not(self) -> Predicate:
        kind, text = self._peek()
        if (kind, text) in (("word", "NOT"), ("word", "-")):
            self._take()
            return _negated(self._not())
        if (kind, text) == ("mark", "("):
            self._take()
            inner = self._and()
            self._close()
            return inner
        if kind == "word" and text.startswith("-"):
            self._tokens[self._at] = (kind, text[1:])
            return _negated(self._not())
        return self._term()

    def _close(self) -> None:
        mark = self._take()
        if mark != ("mark", ")"):
            raise self._bad(mark[1])

    def _term(self) -> Predicate:
        kind, text = self._take()
        if kind == "mark" or (kind == "word" and text in ("AND", "OR")):
            raise self._bad(text)
        following = self._peek()
        if kind == "word" and following == ("mark", "("):
            return self._function(text)
        if following[0] == "mark" and following[1] in _COMPARISONS:
            operator = self._take()[1]
            return self._values(lambda value: _comparison(_path(text), operator, value, self._bad))
        wanted = _unquoted(text).lower()
        return lambda entry: any(wanted in leaf.lower() for leaf in _texts(entry))

    def _values(self, compare: Callable[[str], Predicate]) -> Predicate:
        """What a field is compared with: one value, or several in parentheses, joined as terms are."""
        if self._peek() != ("mark", "("):
            kind, text = self._take()
            if kind == "mark":
                raise self._bad(text)
            # An unquoted time has colons in it.
            while self._peek() == ("mark", ":") and self._peek(1)[0] == "word":
                text += self._take()[1] + self._take()[1]
            return compare(_unquoted(text))
        self._take()
        alternatives: list[list[Predicate]] = [[]]
        while self._peek() != ("mark", ")"):
            if self._peek() in (("word", "AND"), ("word", "OR")):
                alternatives += [[]] if self._take()[1] == "AND" else []
                continue
            negated = self._peek() == ("word", "NOT") and bool(self._take())
            test = self._values(compare)
            alternatives[-1].append(_negated(test) if negated else test)
        self._take()
        if not all(alternatives):
            raise self._bad(")")
        return lambda entry: all(any(test(entry) for test in tests) for tests in alternatives)

    def _function(self, name: str) -> Predicate:
        self._take()
        if name != "log_id":
            raise ApiError(400, "badRequest", f"The local Cloud Logging has no function '{name}' in filters.")
        log_id = quote(_unquoted(self._take()[1]), safe="")
        self._close()
        return lambda entry: entry["logName"].partition("/logs/")[2] == log_id


def _after(pattern: "re.Pattern[str]", text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _negated(test: Predicate) -> Predicate:
    return lambda entry: not test(entry)


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _path(text: str) -> list[str]:
    """A field's name in parts: `labels."a.b"` is `labels` and `a.b`."""
    return [_unquoted(part) for part in re.findall(r'"(?:\\.|[^"\\])*"|[^."]+', text)]


def _found(entry: Any, path: list[str]) -> Iterator[Any]:
    """The values of a field: none, one, or several (through lists)."""
    if isinstance(entry, list):
        for item in entry:
            yield from _found(item, path)
    elif not path:
        yield entry
    elif isinstance(entry, dict) and path[0] in entry:
        yield from _found(entry[path[0]], path[1:])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif value is not None:
        yield _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _comparison(path: list[str], operator: str, wanted: str, bad: Callable[[str], ApiError]) -> Predicate:
    if operator in ("=~", "!~"):
        try:
            expression = re.compile(wanted)
        except re.error:
            raise bad(wanted) from None
        return _some(path, lambda value: (expression.search(_text(value)) is not None) == (operator == "=~"))
    if operator == ":":
        return _some(path, lambda value: _has(value, wanted))
    if path == ["severity"]:
        rank = SEVERITIES.get(wanted.upper())
        if rank is None:
            raise bad(wanted)
        return lambda entry: _ordered(operator, SEVERITIES[entry.get("severity", "DEFAULT")], rank)
    if path[0] in _TIMES:
        try:
            when = nanoseconds(wanted)
        except ValueError:
            raise bad(wanted) from None
        return _some(path, lambda value: _ordered(operator, nanoseconds(value), when))
    return _some(path, lambda value: _compare(operator, value, wanted))


def _some(path: list[str], test: Callable[[Any], bool]) -> Predicate:
    """No comparison is true of a field that is not there."""
    return lambda entry: any(test(value) for value in _found(entry, path))


def _has(value: Any, wanted: str) -> bool:
    if wanted == "*":
        return True
    if isinstance(value, dict):
        return wanted in value
    return wanted.lower() in _text(value).lower()


def _compare(operator: str, value: Any, wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _ordered(operator, float(value), float(wanted))
        except ValueError:
            return operator == "!="
    return _ordered(operator, _text(value).lower(), wanted.lower())


def _ordered(operator: str, left: Any, right: Any) -> bool:
    if operator in ("=", "!="):
        return bool((left == right) == (operator == "="))
    less = left <= right if operator.endswith("=") else left < right
    more = left >= right if operator.endswith("=") else left > right
    return bool(less if operator.startswith("<") else more)


def nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time, or of a date.

    Raises:
        ValueError: it is neither.
    """
    text = (
        re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text) if "T" in text else f"{text}T00:00:00Z"
    )  # Google's client: +0000
    when = Timestamp()
    when.FromJsonString(text)
    return int(when.ToNanoseconds())
