"""Checks of customization steps: script paths, near names, environments."""

import random
import string

import pytest
from support.guest_scripts import script_step

from cos_customizer.customizer.spec.script_checks import (
    ENVIRONMENT_LIMIT,
    check_environment_size,
    mask_environment,
    near_names,
    normalize_script,
)
from cos_customizer.guest.user_data import ContextObject, render_user_data

PATHS = {
    "preload.sh": "preload.sh",
    "./preload.sh": "preload.sh",
    ".//preload.sh": "preload.sh",
    "lib/../preload.sh": "preload.sh",
    "lib//mylib.sh": "lib/mylib.sh",
    "lib/./mylib.sh": "lib/mylib.sh",
    ".hidden": ".hidden",
    "..hidden": "..hidden",
    "..": None,
    "../preload.sh": None,
    "lib/../../preload.sh": None,
    "/preload.sh": None,
    "//preload.sh": None,
    "": None,
    ".": None,
    "lib/..": None,
    "-script": "-script",
    "with space.sh": "with space.sh",
    "größe.sh": "größe.sh",
    "a\udcff.sh": None,  # a byte that is not UTF-8, as Python reads it from the command line
    "a\0.sh": None,
}


@pytest.mark.parametrize(("path", "normal"), PATHS.items(), ids=map(ascii, PATHS))
def test_a_script_has_one_name_however_it_is_written_and_lies_in_the_context(path: str, normal: str | None) -> None:
    if normal is not None:
        assert normalize_script(path) == normal
        assert normalize_script(normal) == normal
        return
    with pytest.raises(ValueError, match=r"absolute|outside|directory|must be set|passed on") as caught:
        normalize_script(path)
    assert not isinstance(caught.value, UnicodeError)


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("preload", ["preload.sh"]),
        ("preloda.sh", ["preload.sh"]),
        ("mylib.sh", ["lib/mylib.sh", "other/mylib.sh"]),
        ("scripts/preload.sh", ["preload.sh"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_near_names_are_what_a_typing_error_may_have_meant(wanted: str, near: list[str]) -> None:
    assert near_names(wanted, ["lib/mylib.sh", "other/mylib.sh", "preload.sh", "README"])[: len(near) or 3] == near


def test_at_most_three_near_names_are_offered() -> None:
    assert len(near_names("a.sh", [f"{number}/a.sh" for number in range(9)])) == 3


@pytest.mark.parametrize("character", ["x", "ü", "世", "🎉"])
def test_an_environment_is_measured_in_bytes_and_refused_by_the_name_of_its_largest_variable(character: str) -> None:
    size = len(character.encode())
    longest = (ENVIRONMENT_LIMIT - len("BIG=")) // size
    check_environment_size({"BIG": character * longest})
    with pytest.raises(ValueError, match=r"131,0\d\d bytes, of which BIG has 131,0\d\d") as caught:
        check_environment_size({"SMALL": "1", "BIG": character * longest})
    assert character * 2 not in str(caught.value)


def test_an_environment_that_passes_can_travel_to_the_builder_vm() -> None:
    env = {"BIG": "x" * (ENVIRONMENT_LIMIT - len("BIG="))}
    check_environment_size(env)
    context = ContextObject("bucket", "context.tar.gz", "0" * 64)
    assert env["BIG"] in render_user_data([script_step("a", env)], context, "n0nce")


@pytest.mark.parametrize("value", ["secret\udcff", "secret\0"])
def test_a_value_that_is_not_text_is_refused_by_name_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="the value of TOKEN is not valid UTF-8") as caught:
        check_environment_size({"TOKEN": value})
    assert not isinstance(caught.value, UnicodeError)
    assert "secret" not in str(caught.value)


def test_no_value_survives_masking() -> None:
    generator = random.Random(1)
    values = ["".join(generator.choices(string.printable, k=generator.randrange(1, 40))) for _ in range(50)]
    masked = mask_environment({f"V{number}": value for number, value in enumerate(values)})
    assert list(masked) == [f"V{number}" for number in range(50)]
    assert set(masked.values()) == {"***"}
