"""Which changes keep an image from being released."""

from typing import Any

import pytest
from support.inventories import container, directory, file, files, inventory

from cos_customizer.customizer.contents.allowed_changes import AllowedChanges, in_words, unexpected
from cos_customizer.customizer.contents.difference import difference
from cos_customizer.customizer.contents.inventory import Package


def _names(before: dict[str, Any], after: dict[str, Any], allowed: AllowedChanges) -> list[tuple[str, str]]:
    found = unexpected(difference(inventory(**before), inventory(**after)), allowed)
    return [(each.field, each.name) for each in found]


def test_nothing_that_has_not_changed_is_unexpected() -> None:
    assert _names({}, {}, AllowedChanges()) == []


@pytest.mark.parametrize(
    ("pattern", "path", "is_allowed"),
    [
        ("/var/lib/app/**", "/var/lib/app/a/b", True),
        ("/var/lib/app/**", "/var/lib/app", True),
        ("/var/lib/app/**", "/var/lib/apple", False),
        ("/var/lib/app", "/var/lib/app", True),
        ("/var/lib/app", "/var/lib/app/a", False),
        ("/var/lib/*/config", "/var/lib/app/config", True),
        ("/var/lib/*/config", "/var/lib/a/b/config", False),
        ("/var/**/config", "/var/lib/a/b/config", True),
        ("/etc/app-?.conf", "/etc/app-1.conf", True),
        ("/etc/app-?.conf", "/etc/app-10.conf", False),
        ("/etc/a.c", "/etc/abc", False),
        ("/**", "/anything/at/all", True),
        ("/etc/a*", "/etc/a\nb", True),
    ],
)
def test_a_pattern_of_paths_allows_what_it_names(pattern: str, path: str, is_allowed: bool) -> None:
    found = _names({"files": {}}, {"files": files(file(path, "x"))}, AllowedChanges([pattern]))

    assert (found == []) is is_allowed


@pytest.mark.parametrize(
    ("area", "other", "name"),
    [
        ("system", {"ID": "cos", "VERSION": "126", "BUILD_ID": "19216.104.25"}, "VERSION"),
        (
            "packages",
            (Package("cos", "app-admin/sudo", "1.9.15"), Package("cos", "net-misc/curl", "9")),
            "net-misc/curl",
        ),
        ("containers", (container("docker.io/library/nginx:1.27", "b"),), "docker.io/library/nginx:1.27"),
        ("units", {"docker.service": "masked", "update-engine.service": "enabled"}, "docker.service"),
        ("kernel_arguments", ("cros_efi", "console=ttyS0", "console=tty1", "quiet"), "quiet"),
        ("verity", {}, "vroot"),
        ("modules", {}, "nvidia"),
    ],
)
def test_a_pattern_of_names_allows_changes_of_its_area_alone(area: Any, other: Any, name: str) -> None:
    changed = {area: other}

    assert _names({}, changed, AllowedChanges(["/**"])) == [(area, name)]
    assert _names({}, changed, AllowedChanges(named={area: ["x*", f"{name[:2]}*"]})) == []
    assert _names({}, changed, AllowedChanges(named={area: [name[:2]]})) == [(area, name)]


def test_a_new_directory_is_allowed_with_all_that_is_in_it() -> None:
    new = files(directory("/opt"), directory("/opt/app"), file("/opt/app/a"), file("/opt-b"), directory("/opt/empty"))

    assert _names({"files": {}}, {"files": new}, AllowedChanges(["/opt/app/**", "/opt-b"])) == [("paths", "/opt/empty")]
    assert _names({"files": new}, {"files": {}}, AllowedChanges(["/opt/app/**", "/opt-*", "/opt/empty"])) == []


def test_a_directory_of_which_the_mode_has_changed_must_be_allowed_itself() -> None:
    before, after = (files(directory("/opt", mode=mode), file("/opt/a", str(mode))) for mode in (0o755, 0o777))

    assert _names({"files": before}, {"files": after}, AllowedChanges(["/opt/a"])) == [("paths", "/opt")]


def test_a_message_names_the_first_paths_and_counts_the_rest() -> None:
    new = files(*(file(f"/etc/{number:02}", "x") for number in range(12)))
    found = unexpected(difference(inventory(files={}), inventory(files=new)), AllowedChanges())

    assert in_words(found[:1]) == "/etc/00 added: 1 byte"
    assert in_words(found).endswith("/etc/09 added: 1 byte; and 2 more")
