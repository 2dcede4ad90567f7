"""`diff` over the real clients: two images, an image and its source, and what a family gives."""

import json
from dataclasses import replace

import pytest
from support.builds import make_image
from support.command_line import run
from support.inventories import contents, inventory, with_file
from support.recorded_contents import make_recorded_image

from cos_customizer.emulator.server import Emulator

pytestmark = pytest.mark.usefixtures("emulator")

FLAGS = ("diff", "-project=my-project")
PLAIN = inventory(verity={})
NEW = with_file(replace(PLAIN, units={**PLAIN.units, "update-engine.service": "masked"}), "/var/lib/app/data", "two")


@pytest.fixture(autouse=True)
def _images(emulator: Emulator) -> None:
    del emulator
    make_recorded_image("web-1", contents(PLAIN, PLAIN), family="web")
    make_recorded_image("web-2", contents(PLAIN, NEW))
    make_image("bare")


def test_two_images_differ_in_what_was_changed_and_in_nothing_else() -> None:
    ran = run(*FLAGS, "web-1", "web-2")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "my-project/web-1 → my-project/web-2",
        "",
        "Units of systemd: 1 changed",
        "  ~ update-engine.service  enabled → masked",
        "",
        "Files: 1 changed",
        "  ~ /var/lib/app/data  content",
    ]


def test_the_same_recipe_built_twice_gives_no_difference() -> None:
    make_recorded_image("web-3", contents(PLAIN, with_file(NEW, "/etc/machine-id", "another")))
    make_recorded_image("web-4", contents(PLAIN, with_file(NEW, "/etc/machine-id", "one")))

    assert run(*FLAGS, "-exit-code", "web-3", "web-4").out.endswith("No difference.\n")
    assert run(*FLAGS, "-exit-code", "web-3", "web-4").code == 0


def test_one_image_is_compared_with_its_source() -> None:
    ran = run(*FLAGS, "web-2")

    assert ran.out.startswith("cos-cloud/cos-stable-68-10718-86-0, the source image → my-project/web-2\n")
    assert "  ~ /var/lib/app/data  content" in ran.out


@pytest.mark.parametrize(
    "images",
    [
        ("family/web", "web-2"),
        ("my-project/family/web", "my-project/web-2"),
        ("projects/my-project/global/images/family/web", "projects/my-project/global/images/web-2"),
    ],
)
def test_an_image_may_be_named_by_its_family_and_with_its_project(images: tuple[str, str]) -> None:
    assert run("diff", *images, "-project=my-project").out == run(*FLAGS, "web-1", "web-2").out


def test_the_project_is_that_of_the_environment_if_no_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "my-project")
    assert run("diff", "web-1", "web-2").code == 0
    monkeypatch.delenv("CLOUDSDK_CORE_PROJECT")
    ran = run("diff", "web-1", "web-2")
    assert ran.code == 2
    assert "no project is known of image 'web-1'" in ran.err
    assert "-project names it" in ran.err


def test_other_forms_are_a_page_and_json() -> None:
    page, told = (run(*FLAGS, f"-format={form}", "web-1", "web-2").out for form in ("markdown", "json"))

    assert page.startswith("# What is different in web-2\n")
    assert json.loads(told)["summary"] == "1 file changed in /var/lib/app, 1 unit masked"
    assert json.loads(told)["before"]["image"] == "web-1"


@pytest.mark.parametrize(
    ("arguments", "code", "with_exit_code", "message"),
    [
        (("web-1", "web-2"), 0, 1, ""),
        (("web-1", "web-1"), 0, 0, ""),
        (("web-1", "web-9"), 1, 2, "there is no image web-9 in project my-project"),
        (("web-1", "family/wed"), 1, 2, "family wed of project my-project gives no image"),
        (("web-1", "bare"), 1, 2, "image my-project/bare has no recorded contents"),
        (("web-1", "web-2", "web-3"), 2, 2, "one image or two are needed, not 3"),
        ((), 2, 2, "one image or two are needed, not 0"),
        (("web-1", "No_Image"), 2, 2, "'No_Image' names no image"),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, with_exit_code: int, message: str) -> None:
    for flags, expected in (((), code), (("-exit-code",), with_exit_code)):
        ran = run(*FLAGS, *flags, *arguments)
        assert ran.code == expected, ran.err
        assert message in ran.err
