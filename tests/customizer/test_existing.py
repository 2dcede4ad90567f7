"""An image that is there already: who has made it, and which images are of one series."""

import pytest

from cos_customizer.customizer.families.existing import in_words, is_of_series, made_by, what_is_there, what_to_do
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.reporting.result import MadeBy

OURS = Provenance("0123456789", "42", "f" * 32)


@pytest.mark.parametrize(
    ("provenance", "source", "recipe", "maker", "words"),
    [
        (OURS, "42", "f" * 32, "this-recipe", "made by this recipe"),
        (OURS, "42", "e" * 32, "another-recipe", "made by another recipe"),
        (OURS, "43", "f" * 32, "another-source", "of another source image"),
        (OURS, "43", "", "another-source", "of another source image"),
        (OURS, "42", "", "unknown", "not known"),
        (None, "42", "f" * 32, "other-means", "not made by cos-customizer"),
        (None, "42", "", "other-means", "not made by cos-customizer"),
    ],
)
def test_the_description_tells_who_has_made_an_image(
    provenance: Provenance | None, source: str, recipe: str, maker: MadeBy, words: str
) -> None:
    assert made_by(provenance, source, recipe) == maker
    assert words in in_words(maker)


def test_what_is_there_is_said_with_its_age_and_what_to_do_about_it() -> None:
    created = "2026-11-25T01:37:12.345-08:00"
    assert what_is_there("web", created, "another-recipe") == (
        "web is there since 2026-11-25 09:37 UTC, made by another recipe"
    )
    assert what_is_there("web", "", "another-recipe") == "web is there, made by another recipe"
    assert what_to_do("my-project", "web") == (
        "delete it (gcloud compute images delete web --project=my-project), take another output.name, or "
        "output.on_existing: replace"
    )


@pytest.mark.parametrize(
    ("name", "base", "is_one"),
    [
        ("web", "web", True),
        ("web-20261124", "web", True),
        ("web-20261124-2", "web", True),
        ("web-20261124-12", "web", True),
        ("web-20261124-20261125", "web-20261124", True),
        ("web-20261124-1", "web", False),
        ("web-20261124-02", "web", False),
        ("web-20261324", "web", False),
        ("web-20261124-99999999999999", "web", False),
        ("web-dev-20261124", "web", False),
        ("web-dev", "web", False),
        ("we", "web", False),
        ("a" * 54 + "-20261124", "a" * 63, True),
        ("a" * 53 + "-20261124", "a" * 63, False),
    ],
)
def test_a_series_is_a_name_and_what_is_made_of_it_with_a_date(name: str, base: str, is_one: bool) -> None:
    assert is_of_series(name, base) == is_one
