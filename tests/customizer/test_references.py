"""Every form in which Compute Engine writes a link to a resource, read as one value."""

import pytest

from cos_customizer.customizer.references import Link, may_name

IMAGE = Link("my-project", "global", "images", "web-1")
HOSTS = (
    *("https://www.googleapis.com/compute/v1/", "https://compute.googleapis.com/compute/v1/"),
    *("https://www.googleapis.com/compute/beta/", "https://compute.googleapis.com/compute/alpha/"),
    *("https://compute.mtls.googleapis.com/compute/v1/", "https://compute-mine.p.googleapis.com/compute/v1/"),
    *("https://compute.us-central1.rep.googleapis.com/compute/v1/", "https://restricted.googleapis.com/compute/v1/"),
    *(
        "HTTPS://WWW.GOOGLEAPIS.COM/compute/v1/",
        "http://127.0.0.1:8085/compute/v1/",
        "https://x.com/compute/staging_v1/",
    ),
    *("//compute.googleapis.com/", "//compute.googleapis.com/compute/v1/", "compute.googleapis.com/"),
    *("www.googleapis.com/compute/v1/", "compute/v1/", "/compute/v1/", "v1/", "/", "", "https://proxy.test/google/"),
)


@pytest.mark.parametrize("host", HOSTS)
def test_wherever_the_api_is_reached_it_is_the_same_image(host: str) -> None:
    for end in ("", "/", "?alt=json", "#x"):
        assert Link.parse(f"{host}projects/my-project/global/images/web-1{end}") == IMAGE
    assert Link.parse(f" {host}projects/my-project//global/images/web-1 ") == IMAGE


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("global/images/web-1", Link("", "global", "images", "web-1")),
        ("images/web-1", Link("", "global", "images", "web-1")),
        ("https://compute.googleapis.com/compute/v1/global/images/web-1", Link("", "global", "images", "web-1")),
        ("projects/123456789012/global/images/web-1", Link("123456789012", "global", "images", "web-1")),
        ("projects/my-project/global/images/987654321", Link("my-project", "global", "images", "987654321")),
        ("projects/example.com:p/global/images/i", Link("example.com:p", "global", "images", "i")),
        ("projects/example.com%3Ap/global/images/i", Link("example.com:p", "global", "images", "i")),
        ("projects/p/global/images/family/web", Link("p", "global", "families", "web")),
        ("global/images/family/web", Link("", "global", "families", "web")),
        ("images/family/web", Link("", "global", "families", "web")),
        ("family/web", Link("", "global", "families", "web")),
        ("projects/p/zones/-/imageFamilyViews/web", Link("p", "global", "families", "web")),
        ("zones/us-west1-b/imageFamilyViews/web", Link("", "global", "families", "web")),
        ("imageFamilyViews/web", Link("", "global", "families", "web")),
        ("projects/p/global/snapshots/s", Link("p", "global", "snapshots", "s")),
        ("projects/p/zones/z-1/disks/d", Link("p", "zones/z-1", "disks", "d")),
        ("projects/p/regions/r/disks/d", Link("p", "regions/r", "disks", "d")),
        ("zones/z-1/instances/i", Link("", "zones/z-1", "instances", "i")),
        ("projects/p/global/instanceTemplates/t", Link("p", "global", "instanceTemplates", "t")),
        ("projects/p/regions/r/instanceTemplates/t", Link("p", "regions/r", "instanceTemplates", "t")),
    ],
)
def test_other_forms_and_other_resources(text: str, link: Link) -> None:
    assert Link.parse(text) == link
    if "://" not in text:
        assert Link.parse(f"https://www.googleapis.com/compute/v1/{text}") == link


@pytest.mark.parametrize(
    "text", ["", "web-1", "my-project/web-1", "projects/p/global/images", "images/UPPER", "a/b/c/d"]
)
def test_what_is_no_link_is_none(text: str) -> None:
    assert Link.parse(text) is None


def test_what_cannot_be_read_may_name_whatever_stands_in_it() -> None:
    assert may_name("gs://odd/web%2D1", "web-1", "42")
    assert may_name("my-project/42", "web-1", "42")
    assert not may_name("my-project/web-10", "web-1", "42")
    assert not may_name("", "web-1", "")
