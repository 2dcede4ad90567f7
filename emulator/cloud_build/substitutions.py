"""Replaces the substitutions in a workflow's texts, with the parameter expansions of bash where a workflow has them.

Source of the rules: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values and
https://cloud.google.com/build/docs/configuring-builds/use-bash-and-bindings-in-substitutions; what an expansion means,
bash(1), "Parameter Expansion".
"""

import graphlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cos_customizer.emulator.errors import EmulatorError

TRIGGER_SUBSTITUTIONS = (
    "TRIGGER_NAME",
    "COMMIT_SHA",
    "REVISION_ID",
    "SHORT_SHA",
    "REPO_NAME",
    "REPO_FULL_NAME",
    "BRANCH_NAME",
    "TAG_NAME",
    "REF_NAME",
    "TRIGGER_BUILD_CONFIG_PATH",
)
"""Substitutions that a trigger sets. Without a trigger they are empty unless the user sets them."""
PULL_REQUEST_SUBSTITUTIONS = ("_HEAD_BRANCH", "_BASE_BRANCH", "_HEAD_REPO_URL", "_PR_NUMBER")
"""Those that a pull request's trigger sets; the same holds for them."""
ACCOUNT_SUBSTITUTIONS = ("SERVICE_ACCOUNT_EMAIL", "SERVICE_ACCOUNT")
"""Built-in ones that have a value in any case, and can be set all the same."""

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_PLAIN = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}|\$([A-Z_][A-Z0-9_]*)")
_NUMBER = re.compile(r"\s*\(?\s*([+-]?\d+)\s*\)?\s*")
_BRACKET = re.compile(r"\[([!^]?)((?:\[:[a-z]+:\]|[^\[]|\[)(?:\[:[a-z]+:\]|[^\]])*)\]")
_SPECIAL = re.compile(r"\[:([a-z]+):\]|[\\\[\]&~|^]")
_CLASSES = {"alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "space": " \t\n"}
_OPERATORS = (":-", ":=", ":+", ":?", "-", "=", "+", "?", ":", "##", "#", "%%", "%", "//", "/", "^^", "^", ",,", ",")
"""In an order in which none hides a longer one."""


class SubstitutionError(EmulatorError):
    """An expansion that bash does not know either, or that fails."""


@dataclass(frozen=True)
class _Reference:
    """A place where a substitution's value stands.

    Attributes:
        text: the place, as it is written.
        name: of the substitution.
        operator: of bash's expansion; `length` for `${#NAME}`; empty: the value as it is.
        word: what follows the operator.
    """

    text: str
    name: str
    operator: str = ""
    word: str = ""


@dataclass(frozen=True)
class Substitutions:
    """Values, and how they are put in.

    Attributes:
        values: by name.
        expands: whether `${NAME…}` is an expansion of bash (`dynamicSubstitutions`); otherwise it is left alone.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    expands: bool = False

    def names_in(self, text: str) -> set[str]:
        """The substitutions that a text names."""
        found: set[str] = set()
        for part in _parts(text, self.expands):
            if isinstance(part, _Reference):
                found |= {part.name} | (self.names_in(part.word) if part.word else set())
        return found

    def replaced(self, text: str) -> str:
        """A text with values in the place of names; a name without a value becomes nothing, `$$` a dollar sign.

        Raises:
            SubstitutionError: see `_expanded`.
        """
        parts = _parts(text, self.expands)
        return "".join(self._value(part) if isinstance(part, _Reference) else part for part in parts)

    def resolved(self, own: Mapping[str, str]) -> "Substitutions":
        """The same with values whose own substitutions are replaced.

        Args:
            own: values that may name others.

        Raises:
            SubstitutionError: they name each other in a circle.
        """
        values = dict(self.values)
        try:
            for key in graphlib.TopologicalSorter({key: self.names_in(own[key]) for key in own}).static_order():
                if key in own:
                    values[key] = Substitutions(values, self.expands).replaced(own[key])
        except graphlib.CycleError as error:
            circle = " → ".join(error.args[1])
            raise SubstitutionError(f"substitutions name each other in a circle: {circle}") from None
        return Substitutions(values, self.expands)

    def _value(self, reference: _Reference) -> str:
        value = self.values.get(reference.name)
        if not reference.operator:
            return value or ""
        word = reference.word if reference.operator == ":" else self.replaced(reference.word)
        return _expanded(reference, value, word)


def _parts(text: str, expands: bool) -> Iterator[str | _Reference]:
    """What a text is made of: pieces of text, and places of substitutions."""
    place = 0
    while (dollar := text.find("$", place)) >= 0:
        yield text[place:dollar]
        if text.startswith("$$", dollar):
            yield "$"
            place = dollar + 2
            continue
        reference: _Reference | None
        if plain := _PLAIN.match(text, dollar):
            reference = _Reference(plain[0], plain[1] or plain[2])
        else:
            reference = _expansion(text, dollar) if expands else None
        yield reference or "$"
        place = dollar + (len(reference.text) if reference else 1)
    yield text[place:]


def _expansion(text: str, start: int) -> _Reference | None:
    """The expansion of bash that begins at a dollar sign, if one does."""
    if not text.startswith("${", start) or (end := _closing_brace(text, start + 2)) is None:
        return None
    whole, inside = text[start : end + 1], text[start + 2 : end]
    if inside.startswith("#") and _NAME.fullmatch(inside[1:]):
        return _Reference(whole, inside[1:], "length")
    name = _NAME.match(inside)
    if name is None:
        return None
    rest = inside[name.end() :]
    operator = next((each for each in _OPERATORS if rest.startswith(each)), "")
    if not operator:
        raise SubstitutionError(f"{whole}: no expansion that Cloud Build knows", "a dollar sign is written $$.")
    return _Reference(whole, name[0], operator, rest[len(operator) :])


def _closing_brace(text: str, start: int) -> int | None:
    depth, place = 1, start
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text.startswith("${", place):
            depth += 1
            place += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return place
        place += 1
    return None


def _expanded(reference: _Reference, value: str | None, word: str) -> str:
    """What an expansion becomes.

    Args:
        reference: where it stands.
        value: of the substitution; None if it has none.
        word: what follows the operator, its own substitutions replaced.

    Raises:
        SubstitutionError: its offset is no number, or it says that there must be a value.
    """
    operator, text = reference.operator, value or ""
    if operator == "length":
        return str(len(text))
    if operator.lstrip(":") in ("-", "=", "+", "?") and operator != ":":
        there = bool(text) if operator.startswith(":") else value is not None
        if operator[-1] == "+":
            return word if there else ""
        if operator[-1] == "?" and not there:
            raise SubstitutionError(f"{reference.text}: {word or f'{reference.name} has no value'}")
        return text if there else word
    if operator == ":":
        return _cut(text, word, reference)
    if operator in ("#", "##", "%", "%%"):
        return _trimmed(text, word, operator)
    if operator in ("/", "//"):
        return _with_others(text, word, everywhere=operator == "//")
    pattern = _pattern(word or "?")
    changed = str.upper if operator[0] == "^" else str.lower
    span = len(text) if len(operator) == 2 else 1
    return "".join(changed(each) if pattern.fullmatch(each) else each for each in text[:span]) + text[span:]


def _cut(text: str, word: str, reference: _Reference) -> str:
    """`${NAME:offset}` and `${NAME:offset:length}`."""
    numbers = [_NUMBER.fullmatch(part) for part in word.split(":")]
    if not 1 <= len(numbers) <= 2 or None in numbers:
        raise SubstitutionError(f"{reference.text}: offset and length are whole numbers")
    offset, *length = [int(number[1]) for number in numbers if number]
    start = offset if offset >= 0 else len(text) + offset
    if start < 0:
        return ""
    if not length:
        return text[start:]
    end = start + length[0] if length[0] >= 0 else len(text) + length[0]
    if end < start and length[0] < 0:
        raise SubstitutionError(f"{reference.text}: its end is before its beginning")
    return text[start:end]


def _trimmed(text: str, word: str, operator: str) -> str:
    """Without the shortest or the longest beginning or end that matches."""
    pattern = _pattern(word)
    lengths = range(len(text) + 1) if len(operator) == 1 else range(len(text), -1, -1)
    for length in lengths:
        if operator[0] == "#" and pattern.fullmatch(text, 0, length):
            return text[length:]
        if operator[0] == "%" and pattern.fullmatch(text, len(text) - length):
            return text[: len(text) - length]
    return text


def _with_others(text: str, word: str, *, everywhere: bool) -> str:
    """`${NAME/pattern/text}`: with another text in the place of the longest match, the leftmost or each."""
    parts = re.split(r"(?<!\\)/", word, maxsplit=1)
    wanted, new = parts[0], parts[1] if len(parts) == 2 else ""
    anchor = wanted[:1] if wanted[:1] in ("#", "%") and not everywhere else ""
    pattern = _pattern(wanted[len(anchor) :].replace("\\/", "/"))
    made, place = "", 0
    while place <= len(text):
        ends = [len(text)] if anchor == "%" else range(len(text), place, -1)
        end = next((end for end in ends if end > place and pattern.fullmatch(text, place, end)), None)
        if end is None:
            if anchor == "#":
                break
            made += text[place : place + 1]
            place += 1
            continue
        made, place = made + new, end
        if not everywhere:
            break
    return made + text[place:]


def _pattern(glob: str) -> re.Pattern[str]:
    """A pattern of the shell: `*`, `?`, `[…]`; a backslash makes the next character an ordinary one."""
    made, place = "", 0
    while place < len(glob):
        char = glob[place]
        if char == "\\" and place + 1 < len(glob):
            place += 1
            made += re.escape(glob[place])
        elif char == "*":
            made += ".*"
        elif char == "?":
            made += "."
        elif bracket := _BRACKET.match(glob, place):
            members = _SPECIAL.sub(lambda each: _CLASSES.get(each[1], "") if each[1] else f"\\{each[0]}", bracket[2])
            made += f"[{'^' if bracket[1] else ''}{members}]"
            place = bracket.end() - 1
        else:
            made += re.escape(char)
        place += 1
    try:
        return re.compile(made, re.DOTALL)
    except re.error:  # a range that runs backwards: the shell takes it for a text, too
        return re.compile(re.escape(glob), re.DOTALL)
