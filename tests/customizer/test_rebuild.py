"""Which images are made anew, and what they are called."""

from datetime import date
from typing import Any

import pytest

from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.families.rebuild import dated_name, why_to_build
from cos_customizer.customizer.names import check_resource_name

WHY = [
    (("", None, "1", "cos", "r", False), "the family has no image yet"),
    (("web", None, "1", "cos", "r", False), "web was not made by this tool"),
    (("web", Provenance("b", "1", "r"), "2", "cos-2", "s", False), "the source image is now cos-2"),
    (("web", Provenance("b", "1", "r"), "1", "cos", "s", False), "the recipe or its build context has changed"),
    (("web", Provenance("b", "1", "r"), "1", "cos", "r", True), "forced"),
    (("web", Provenance("b", "1", "r"), "1", "cos", "r", False), ""),
]


@pytest.mark.parametrize(("facts", "why"), WHY)
def test_an_image_is_made_anew_only_for_a_reason(facts: tuple[Any, ...], why: str) -> None:
    assert why_to_build(*facts) == why


NAMES = [
    ("web", [], "web-20261124"),
    ("web", ["web-20261124"], "web-20261124-2"),
    ("web", ["web-20261124", "web-20261124-2"], "web-20261124-3"),
    ("w" * 63, [], "w" * 54 + "-20261124"),
    ("w" * 53 + "-" + "x" * 9, [], "w" * 53 + "-20261124"),
]


@pytest.mark.parametrize(("base", "taken", "name"), NAMES)
def test_a_new_image_s_name_is_dated_valid_and_new(base: str, taken: list[str], name: str) -> None:
    assert dated_name(base, date(2026, 11, 24), taken.__contains__) == check_resource_name(name)
