"""A difference in words: one line, lines for a terminal, a page of Markdown, JSON."""

import json
from typing import Any

import jsonschema
import pytest
from support.inventories import container, directory, file, files, inventory

from cos_customizer.customizer.contents.compared import Compared, Side
from cos_customizer.customizer.contents.difference import Difference, difference
from cos_customizer.customizer.contents.difference_json import DifferenceReport, to_json
from cos_customizer.customizer.contents.difference_markdown import markdown
from cos_customizer.customizer.contents.difference_text import in_units, summary, text
from cos_customizer.customizer.contents.inventory import Package

MANY = files(directory("/var/lib/app"), *(file(f"/var/lib/app/{number:03}", "x" * 10) for number in range(300)))


def _between(before: dict[str, Any], after: dict[str, Any]) -> Difference:
    return difference(inventory(**before), inventory(**after))


def _compared(found: Difference) -> Compared:
    return Compared(Side("p", "web-1", "1", "current", "web"), Side("p", "web-2", "2"), found)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, "no difference"),
        (
            {"files": {}, "packages": tuple(Package("cos", name, "1") for name in "abc")},
            {
                "files": files(directory("/var/lib/app"), *(file(f"/var/lib/app/{each}") for each in "abcdefghijkl")),
                "packages": tuple(Package("cos", name, "2") for name in "abc"),
                "units": {"docker.service": "enabled", "update-engine.service": "masked"},
            },
            "3 packages changed, 12 files added in /var/lib/app, 1 unit masked",
        ),
        (
            {"files": files(file("/etc/a"), file("/var/b"))},
            {"files": files(file("/home/c"))},
            "1 file added in /home, 2 files removed",
        ),
        ({"files": {}}, {"files": files(directory("/var/empty"))}, "1 file added in /var"),
        (
            {"containers": (), "modules": {}, "kernel_arguments": ("quiet",)},
            {
                "containers": (container("a:1", "a"), container("b:1", "b")),
                "modules": {"nvidia": "1"},
                "kernel_arguments": (),
            },
            "2 container images added, 1 kernel argument removed, 1 kernel module added",
        ),
    ],
)
def test_a_summary_is_one_line(before: dict[str, Any], after: dict[str, Any], expected: str) -> None:
    assert summary(_between(before, after)) == expected


def test_the_text_tells_each_change_with_its_sign() -> None:
    found = _between(
        {"files": files(file("/etc/a", "one"), file("/etc/b")), "containers": (container("nginx:1.27", "a"),)},
        {
            "files": files(file("/etc/a", "two", mode=0o4755), file("/etc/c", "12345", user=1)),
            "containers": (container("nginx:1.27", "b"),),
            "units": {"docker.service": "enabled"},
        },
    )

    assert text(found) == [
        "Container images: 1 changed",
        "  ~ nginx:1.27  sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
        "",
        "Units of systemd: 1 removed",
        "  - update-engine.service  enabled",
        "",
        "Files: 1 added, 1 changed, 1 removed",
        "  ~ /etc/a  content, mode 0644 → 4755",
        "  - /etc/b  0 bytes",
        "  + /etc/c  5 bytes, owner 1:0",
        "",
        "Size:",
        "    files: 3 bytes → 8 bytes (+5 bytes)",
    ]


def test_a_directory_with_hundreds_of_changes_is_one_line_with_a_count_unless_all_are_wanted() -> None:
    found = _between({"files": {}}, {"files": MANY})

    assert text(found)[:2] == ["Files: 300 added", "  + /var/lib/app/  300 files, 2.9 KiB"]
    assert len(text(found, every_file=True)) > 301


def test_a_directory_with_changes_of_all_kinds_counts_each_kind() -> None:
    before = files(*(file(f"/opt/a/b/{number}", "old") for number in range(20)))
    after = files(*(file(f"/opt/a/b/{number}", "new" if number < 15 else "old") for number in range(10, 40)))

    assert "  ~ /opt/a/b/  20 added, 5 changed, 10 removed, 75 bytes" in text(
        _between({"files": before}, {"files": after})
    )


def test_no_difference_says_so_and_what_was_not_compared() -> None:
    assert text(_between({}, {})) == ["No difference."]
    assert text(_between({}, {"left_out": ("packages",)})) == [
        "No difference.",
        "",
        "Not compared:",
        "  in the latter: packages",
    ]


def test_paths_of_whatever_bytes_are_one_line() -> None:
    found = _between({"files": {}}, {"files": files(file("/a\n+ /b\x1b[31m"), file("/\udcff"))})

    assert text(found)[1:3] == ["  + /a\\n+ /b\\x1b[31m  0 bytes", "  + /\\xff             0 bytes"]


def test_the_page_names_both_images_and_escapes_what_they_hold() -> None:
    page = markdown(_compared(_between({"files": {}}, {"files": files(file("/a|b"), file("/<img src=x>"))})))

    assert page.startswith(
        "# What is different in web-2\n\nCompared with p/web-1, the current image of family web: **2 files added**.\n"
    )
    assert "| added | /a\\|b | 0 bytes |" in page
    assert "| added | /\\<img src=x\\> | 0 bytes |" in page


def test_the_page_has_an_end_whatever_changes() -> None:
    packages = tuple(Package("deb", f"package-{number}" + "x" * 5000, "1") for number in range(5000))
    spread = files(*(file(f"/{number}/" + "x" * 4000) for number in range(5000)))
    page = markdown(_compared(_between({"files": {}, "packages": ()}, {"files": spread, "packages": packages})))

    assert len(page) < 100_000
    assert "… and 4900 more" in page


def test_json_holds_everything_and_is_of_its_schema() -> None:
    found = _between(
        {"files": files(file("/etc/a", "one"), file("/b"))},
        {"files": files(file("/etc/a", "two"), file("/\udcff", kind="link", target="x")), "verity": {}},
    )
    told = json.loads(to_json(_compared(found)))

    jsonschema.validate(told, DifferenceReport.model_json_schema())
    assert told["different"] is True
    assert told["before"] == {"project": "p", "image": "web-1", "id": "1", "role": "current", "family": "web"}
    assert told["verity"] == [{"name": "vroot", "change": "removed", "before": "9" * 64, "after": None}]
    assert [(each["path"], each["change"], each["aspects"]) for each in told["files"]] == [
        ("/b", "removed", []),
        ("/etc/a", "changed", ["content"]),
        ("/\\xff", "added", []),
    ]
    assert told["files"][2]["after"]["target"] == "x"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")],
)
def test_bytes_are_told_in_units(number: int, expected: str) -> None:
    assert in_units(number) == expected
