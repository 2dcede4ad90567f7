"""YAML of anybody: what would end or fill the process, or be lost in it, is an error of the text."""

from typing import Any

import pytest
import yaml

from cos_customizer.customizer.bounded_yaml import BoundedLoader


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: {b: 1}\nc: {b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
        ("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}\ne: {<<: *a, c: 4}", None),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        ("a: &a {b: 1}\nc: &c {<<: *a, b: 2}\nd: {<<: [*c, *a], b: 3}\ne: {<<: *c, b: 4}", None),
        (r'"\U0001f600"', "\U0001f600"),
    ],
)
def test_what_is_not_given_twice_is_taken(text: str, value: Any) -> None:
    assert yaml.load(text, BoundedLoader) == (value if value is not None else yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice"),
        ("- {a: 1, a: 1}", "the key 'a' is given twice"),
        ("a: &a {b: 1}\nc: {<<: *a, d: 1, d: 2}", "the key 'd' is given twice"),
        (r'a: "\ud800"', "it is no value of !!str"),
        (r'"\udfff": a', "it is no value of !!str"),
        ("a: 2020-13-45", "it is no value of !!timestamp"),
        ("a: " + "9" * 5000, "it is no value of !!int"),
        ("[" * 101, "nested more than 100 levels"),
        ("#" * (1 << 20) + "\na: 1", "more than 1,048,576 characters"),
    ],
    ids=range(9),
)
def test_what_no_reader_could_use_is_refused(text: str, words: str) -> None:
    with pytest.raises(yaml.YAMLError, match=words):
        yaml.load(text, BoundedLoader)
