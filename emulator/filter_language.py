"""The common part of Compute Engine's and Cloud Logging's filter languages: a cursor over tokens, joined predicates.

Their tokens, comparisons and precedences differ, and are each API's own.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cos_customizer.emulator.errors import ApiError

Token = tuple[str, str]
"""Kind and text."""
Predicate = Callable[[dict[str, Any]], bool]

END: Token = ("", "")
"""Stands behind the last token."""
AND, OR, NOT = ("word", "AND"), ("word", "OR"), ("word", "NOT")
OPEN, CLOSE = ("mark", "("), ("mark", ")")


class TokenCursor:
    """Reads tokens one after the other.

    Args:
        tokens: of an expression.
        error: makes the error for an expression that is wrong at a token (empty at its end).
    """

    def __init__(self, tokens: Sequence[Token], error: Callable[[str], ApiError]) -> None:
        self._tokens = list(tokens)
        self._at = 0
        self.error = error

    def peek(self, ahead: int = 0) -> Token:
        """Return the next token, or one after it; `END` behind the last."""
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else END

    def take(self) -> Token:
        """Return the next token and go past it.

        Raises:
            ApiError: the expression has ended.
        """
        token = self.peek()
        if token == END:
            raise self.error("")
        self._at += 1
        return token

    def take_if(self, wanted: Token) -> bool:
        """Go past the next token if it is this one; returns whether it was."""
        found = self.peek() == wanted
        self._at += found
        return found

    def expect(self, wanted: Token) -> None:
        """Go past the next token.

        Raises:
            ApiError: it is another one.
        """
        token = self.take()
        if token != wanted:
            raise self.error(token[1])

    def replace(self, token: Token) -> None:
        """Put another token in the place of the next one."""
        self._tokens[self._at] = token


def all_of(terms: Sequence[Predicate]) -> Predicate:
    """Return a test that holds where all of these hold."""
    return terms[0] if len(terms) == 1 else lambda resource: all(term(resource) for term in terms)


def any_of(terms: Sequence[Predicate]) -> Predicate:
    """Return a test that holds where one of these holds."""
    return terms[0] if len(terms) == 1 else lambda resource: any(term(resource) for term in terms)


def negated(term: Predicate) -> Predicate:
    """Return a test that holds where this one does not."""
    return lambda resource: not term(resource)


def as_text(value: Any) -> str:
    """Return a value of JSON as filters write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
