"""Filters of log entries: the Logging query language (https://cloud.google.com/logging/docs/view/logging-query-language).

Comparisons of fields with one value or several, joined by NOT, OR and AND (which bind in this order; AND may be left
out), parentheses, comments, words that are searched in all fields, and one function, `log_id`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

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

    def error(near: str) -> ApiError:
        where = f"unexpected '{near}'" if near else "unexpected end"
        return ApiError(400, "badRequest", f"Unparseable filter: {where} in '{expression}'")

    try:
        return _Parser(list(_tokens(expression, error)), error).whole()
    except RecursionError:
        raise error(expression[:20]) from None


def _tokens(expression: str, error: Callable[[str], ApiError]) -> Iterator[Token]:
    position = 0
    while (position := _after(_BETWEEN, expression, position)) < len(expression):
        match = _TOKEN.match(expression, position)
        if not match:
            raise error(expression[position : position + 20].strip())
        kind = match.lastgroup or ""
        yield kind, match[kind]
        position = match.end()


class _Parser(TokenCursor):
    """AND, which may be left out, binds weaker than OR; NOT (or a hyphen) binds strongest."""

    def whole(self) -> Predicate:
        if self.peek() == END:
            return lambda _: True
        predicate = self._and()
        if self.peek() != END:
            raise self.error(self.peek()[1])
        return predicate

    def _and(self) -> Predicate:
        terms = [self._or()]
        while self.peek() not in (END, CLOSE):
            self.take_if(AND)
            terms.append(self._or())
        return all_of(terms)

    def _or(self) -> Predicate:
        terms = [self._not()]
        while self.take_if(OR):
            terms.append(self._not())
        return any_of(terms)

    def _not(self) -> Predicate:
        if self.take_if(NOT) or self.take_if(("word", "-")):
            return negated(self._not())
        if self.take_if(OPEN):
            inner = self._and()
            self.expect(CLOSE)
            return inner
        kind, text = self.peek()
        if kind == "word" and text.startswith("-"):
            self.replace((kind, text[1:]))
            return negated(self._not())
        return self._term()

    def _term(self) -> Predicate:
        token = self.take()
        kind, text = token
        if kind == "mark" or token in (AND, OR):
            raise self.error(text)
        if kind == "word" and self.take_if(OPEN):
            return self._function(text)
        if self.peek()[0] == "mark" and self.peek()[1] in _COMPARISONS:
            operator = self.take()[1]
            return self._values(lambda value: _comparison(_path(text), operator, value, self.error))
        wanted = _unquoted(text).lower()
        return lambda entry: any(wanted in leaf.lower() for leaf in _texts(entry))

    def _values(self, compare: Callable[[str], Predicate]) -> Predicate:
        """Compare a field with the one value that follows, or with several in parentheses, joined as terms are."""
        if not self.take_if(OPEN):
            return compare(self._value())
        groups: list[list[Predicate]] = [[]]  # joined by AND; those in a group by OR, written or not
        while not self.take_if(CLOSE):
            if self.take_if(AND):
                groups.append([])
            elif not self.take_if(OR):
                is_negated = self.take_if(NOT)
                test = self._values(compare)
                groups[-1].append(negated(test) if is_negated else test)
        if not all(groups):
            raise self.error(")")
        return all_of([any_of(group) for group in groups])

    def _value(self) -> str:
        kind, text = self.take()
        if kind == "mark":
            raise self.error(text)
        # An unquoted time has colons in it.
        while self.peek() == ("mark", ":") and self.peek(1)[0] == "word":
            text += self.take()[1] + self.take()[1]
        return _unquoted(text)

    def _function(self, name: str) -> Predicate:
        if name != "log_id":
            raise ApiError(400, "badRequest", f"The local Cloud Logging has no function '{name}' in filters.")
        log_id = quote(_unquoted(self.take()[1]), safe="")
        self.expect(CLOSE)
        return lambda entry: entry["logName"].partition("/logs/")[2] == log_id


def _after(pattern: "re.Pattern[str]", text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _path(text: str) -> list[str]:
    """Split a field's name: `labels."a.b"` is `labels` and `a.b`."""
    return [_unquoted(part) for part in re.findall(r'"(?:\\.|[^"\\])*"|[^."]+', text)]


def _found(entry: Any, path: list[str]) -> Iterator[Any]:
    """Yield the values of a field: none, one, or several (through lists)."""
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
        yield as_text(value)


def _comparison(path: list[str], operator: str, wanted: str, bad: Callable[[str], ApiError]) -> Predicate:
    if operator in ("=~", "!~"):
        try:
            expression = Pattern(wanted)
        except ValueError:
            raise bad(wanted) from None
        return _some(path, lambda value: (expression.search(as_text(value)) is not None) == (operator == "=~"))
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
    """Test the values of a field; no comparison holds for a field that is missing."""
    return lambda entry: any(test(value) for value in _found(entry, path))


def _has(value: Any, wanted: str) -> bool:
    if wanted == "*":
        return True
    if isinstance(value, dict):
        return wanted in value
    return wanted.lower() in as_text(value).lower()


def _compare(operator: str, value: Any, wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _ordered(operator, float(value), float(wanted))
        except ValueError:
            return operator == "!="
    return _ordered(operator, as_text(value).lower(), wanted.lower())


def _ordered(operator: str, left: Any, right: Any) -> bool:
    if operator in ("=", "!="):
        return bool((left == right) == (operator == "="))
    less = left <= right if operator.endswith("=") else left < right
    more = left >= right if operator.endswith("=") else left > right
    return bool(less if operator.startswith("<") else more)


def nanoseconds(text: str) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 time, or of a date.

    Raises:
        ValueError: it is neither.
    """
    if "T" not in text:
        text = f"{text}T00:00:00Z"
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text)  # Google's client writes +0000
    when = Timestamp()
    when.FromJsonString(text)
    return int(when.ToNanoseconds())
