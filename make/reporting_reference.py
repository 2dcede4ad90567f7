"""Tables of what a build reports, from its types: its events, and what it has come to."""

import dataclasses
import inspect
import re
from typing import get_args

from cos_customizer.customizer.reporting.announcements import VOCABULARY
from cos_customizer.customizer.reporting.causes import IN_WORDS
from cos_customizer.customizer.reporting.events import Event
from cos_customizer.customizer.reporting.failure import Failure
from cos_customizer.customizer.reporting.result import BuildResult, KeptVm, StepResult

_ATTRIBUTE = re.compile(r"^(?: {4})?(\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)


def events(_argument: str) -> str:
    """Every kind of event, with its attributes."""
    return "\n".join(_event(kind) for kind in get_args(Event))


def announcements(_argument: str) -> str:
    """Every kind of announcement, with its payload."""
    return "\n".join(_event(kind, f"`{kind.event}`", "In the payload") for kind in VOCABULARY)


def _event(kind: type, title: str = "", head: str = "Attribute") -> str:
    about = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[0]
    meanings: dict[str, str] = {}
    for each in reversed(kind.__mro__):  # one kind can have what another has
        attributes = (inspect.cleandoc(each.__doc__ or "")).partition("\nAttributes:\n")[2]
        meanings |= {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(attributes)}
    rows = [f"| `{field.name}` | {_sentence(meanings[field.name])} |" for field in dataclasses.fields(kind)]
    title = title or kind.__name__
    return "\n".join([f"### {title}\n", f"{' '.join(about.split())}\n", f"| {head} | |", "|---|---|", *rows, ""])


def results(_argument: str) -> str:
    """The fields of a build's result, and of its steps' results."""
    rows = ["| Field | Meaning |", "|---|---|"]
    for prefix, model in (("", BuildResult), ("failure.", Failure), ("kept.", KeptVm), ("steps[].", StepResult)):
        for name, field in model.model_fields.items():
            values = ", ".join(f"`{value}`" for value in get_args(field.annotation) if isinstance(value, str))
            text = " ".join(part for part in (field.description, f"One of {values}." if values else "") if part)
            rows.append(f"| `{prefix}{name}` | {text or 'How each step went.'} |")
    return "\n".join(rows) + "\n"


def causes(_argument: str) -> str:
    """Every cause of a failure."""
    rows = [f"| `{cause}` | {_sentence(words)} |" for cause, words in IN_WORDS.items()]
    return "\n".join(["| Cause | |", "|---|---|", *rows]) + "\n"


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
