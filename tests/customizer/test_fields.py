"""Messages that mention fields: what they say by themselves, in other words, and after copies."""

import copy
import pickle

import pytest

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message, joined, message_of

MESSAGE = Message("{} needs {}: {!r}", FieldPath("a.b"), FieldPath("a.c", True), "{x}")


def shout(field: FieldPath) -> str:
    return f"<{field.path.upper()}>"


def test_a_message_is_a_text_that_names_fields_by_their_paths() -> None:
    assert MESSAGE == "a.b needs a.c: true: '{x}'"
    assert f"{MESSAGE}." == "a.b needs a.c: true: '{x}'."


def test_a_message_in_other_words_is_so_down_to_the_messages_in_it() -> None:
    both = joined("; ", [MESSAGE, Message("{}", "plain")])
    assert both == f"{MESSAGE}; plain"
    assert both.named(shout) == "<A.B> needs <A.C>: '{x}'; plain"


def test_paths_may_be_relative_to_a_place() -> None:
    place = FieldPath("steps.0", kind="steps.0.install-gpu")
    below = joined("", [Message("{}", FieldPath("version", "latest"))]).below(place)
    assert below == "steps.0.version: latest"
    (field,) = below.values[0].values
    assert field.key == ("steps", "install-gpu", "version")
    top = FieldPath("a.b").below(FieldPath(""))
    assert (top.path, top.key) == ("a.b", ("a", "b"))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_an_error_keeps_what_its_message_mentions(copied: object) -> None:
    assert callable(copied)
    error = copied(UsageError(MESSAGE, Message("set {}", FieldPath("a.d"))))
    error.name_fields(shout)
    assert (error.message, error.hint) == ("<A.B> needs <A.C>: '{x}'", "set <A.D>")


def test_what_an_exception_says() -> None:
    assert message_of(ValueError(MESSAGE)) is MESSAGE
    assert message_of(ValueError("plain")) == "plain"
