"""The documents say what is true of the program: every command and flag, what it prints, where their links lead."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from documentation import DOCUMENTS, EXAMPLE, Block, blocks, normal, produce
from support.guest_scripts import succeeding
from support.paths import ROOT

from cos_customizer.cli.main import program
from cos_customizer.cli.missing import MISSING_COMMANDS
from cos_customizer.cli.reference import commands
from cos_customizer.emulator.machines import scripted
from cos_customizer.emulator.server import Emulator

BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            marks=[pytest.mark.slow] * (block.kind in ("output-file", "run-cloudbuild")),
            id=f"{block.kind} {block.argument}",
        )
        for block in BLOCKS
    ],
)
def test_what_is_shown_is_what_is_printed(
    block: Block, emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if block.kind == "output-file":  # which says nothing of a Prefect server
        request.getfixturevalue("prefect_server")
    directory = tmp_path / "example"
    directory.mkdir()
    assert normal(block.content) == normal(produce(block, emulator, directory)), "`make docs` brings it up to date"


def test_every_command_and_flag_is_in_the_reference() -> None:
    (reference,) = (block for block in BLOCKS if block.kind == "commands")
    sections = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", reference.content, re.MULTILINE | re.DOTALL))
    known = {command.name or "cos-customizer": command for command in commands(program)}
    assert set(sections) == set(known)
    for name, command in known.items():
        documented = set(re.findall(r"^\| `(-[a-z0-9-]+)", sections[name], re.MULTILINE))
        assert documented == {flag.name for flag in command.flags}, name
        assert command.text in sections[name]


def test_every_command_is_explained_beyond_the_reference() -> None:
    text = "".join(document.read_text() for document in DOCUMENTS if document.name != "reference.md")
    text += next(document.read_text() for document in DOCUMENTS if document.name == "reference.md").partition("<!-- ")[
        0
    ]
    names = [command.name for command in commands(program) if command.name] + list(MISSING_COMMANDS)
    assert [name for name in names if f"`{name}" not in text and f"cos-customizer {name}" not in text] == []


def test_no_document_names_a_flag_that_is_not_there() -> None:
    known = {flag.name for command in commands(program) for flag in command.flags}
    # Flags that are not ours: of the programs that the documents show, and those that are said not to be there yet.
    others = {"-flag", "-n", "-m"}
    for document in DOCUMENTS:
        outside = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"`(-[a-z][-a-z]*)\b", outside))
        assert named <= known | others, f"{document.name}: {named - known - others}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file) if file else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_the_workflow_for_google_cloud_names_an_image_that_is_there() -> None:
    workflows = [
        yaml.safe_load(text)
        for text in re.findall(
            r"^```yaml\n(steps:.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
        )
    ]
    assert yaml.safe_load((EXAMPLE / "cloudbuild.yaml").read_text()) in workflows
    workflows += [yaml.safe_load(path.read_text()) for path in (ROOT / "examples").glob("*/cloudbuild.yaml")]
    arguments = [[argument for step in workflow["steps"] for argument in step["args"]] for workflow in workflows]
    assert any("-image-family=cos-stable" in each for each in arguments)
    known = {flag.name for command in commands(program) for flag in command.flags}
    for each in arguments:
        assert {argument.partition("=")[0] for argument in each if argument.startswith("-")} <= known


def test_the_script_that_is_shown_is_what_tests_let_builds_succeed_by() -> None:
    shown = json.loads((ROOT / "docs" / "examples" / "succeeding-build.json").read_text())
    assert shown == succeeding("run-script preload.sh", records=False)


def test_every_field_of_a_script_is_described() -> None:
    text = (ROOT / "docs" / "emulator-api.md").read_text().partition("## Scripts")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in fields(scripted.Transcript)} | scripted.EVENT_FIELDS
