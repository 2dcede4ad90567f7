"""Images as people name them on a command line."""

import pytest

from cos_customizer.customizer.contents.image_names import WantedImage, wanted_image
from cos_customizer.customizer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-1", WantedImage("p", "web-1")),
        ("other/web-1", WantedImage("other", "web-1")),
        ("family/web", WantedImage("p", family="web")),
        ("other/family/web", WantedImage("other", family="web")),
        ("example.com:other/web-1", WantedImage("example.com:other", "web-1")),
        ("projects/other/global/images/web-1", WantedImage("other", "web-1")),
        ("projects/other/global/images/family/web", WantedImage("other", family="web")),
        ("global/images/web-1", WantedImage("p", "web-1")),
        (
            "https://www.googleapis.com/compute/v1/projects/other/global/images/web-1",
            WantedImage("other", "web-1"),
        ),
        ("projects/other/global/images/123456789", WantedImage("other", "123456789")),
    ],
)
def test_an_image_is_named_as_people_do(text: str, expected: WantedImage) -> None:
    assert wanted_image(text, "p") == expected


@pytest.mark.parametrize(
    "text", ["", "Web_1", "a/b/c/web-1", "UPPER/web-1", "projects/p/zones/z/disks/web-1", "gs://b/o"]
)
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no image"):
        wanted_image(text, "p")


def test_without_any_project_the_flag_is_asked_for() -> None:
    with pytest.raises(UsageError, match="no project is known of image 'web-1'"):
        wanted_image("web-1", "")
