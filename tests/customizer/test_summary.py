"""What is told of a build on a page, in tags and by links."""

import json
import re
from typing import Any

import pytest
from support.specifications import SpecMaker

from cos_customizer.customizer.reporting import console_links
from cos_customizer.customizer.reporting.failure import Failure
from cos_customizer.customizer.reporting.result import BuildResult, StepResult
from cos_customizer.customizer.reporting.summary import artifact_key, markdown, tags
from cos_customizer.customizer.spec.model import parse_spec

RESULT = BuildResult(
    outcome="built",
    build_id="0123456789",
    project="my-project",
    image="my-image",
    image_id="42",
    source_image="projects/cos-cloud/global/images/cos-125-19216-532-62",
    zone="us-west1-b",
    steps=(
        StepResult(number=1, label="run-script a|b.sh", state="succeeded", seconds=61.0),
        StepResult(number=2, label="run-script two.sh", state="not-run", seconds=None),
    ),
    durations={"prepare": 1.25, "steps": 61.5, "total": 62.75},
    deprecated=("old-1", "old-2"),
    serial_log="gs://my_bucket/work dir/serial.log",
)

LINKS = [
    (
        console_links.image("my-project", "my-image"),
        "compute/imagesDetail/projects/my-project/global/images/my-image?project=my-project",
    ),
    (
        console_links.image("example.com:p", "i"),
        "compute/imagesDetail/projects/example.com%3Ap/global/images/i?project=example.com%3Ap",
    ),
    (
        console_links.vm("my-project", "us-west1-b", "vm"),
        "compute/instancesDetail/zones/us-west1-b/instances/vm?project=my-project",
    ),
    (
        console_links.storage_object("gs://bucket/a dir/serial.log", "my-project"),
        "storage/browser/_details/bucket/a%20dir/serial.log?project=my-project",
    ),
]


@pytest.mark.parametrize(("link", "path"), LINKS)
def test_links_lead_to_pages_of_the_cloud_console(link: str, path: str) -> None:
    assert link == f"https://console.cloud.google.com/{path}"


def test_a_page_tells_image_source_steps_and_log(make_spec: SpecMaker) -> None:
    page = markdown(make_spec(output={"family": "my-family"}), RESULT)
    assert page.startswith("# my-image\n\n**Built** in 1 min 3 s.\n")
    assert "| Image | [my-project/my-image](https://console.cloud.google.com/compute/imagesDetail/" in page
    assert "| Family | my-family |" in page
    assert "| Source | [cos-cloud/cos-125-19216-532-62](https://" in page
    assert r"| 1 | run-script a\|b.sh | succeeded | 1 min 1 s |" in page
    assert "| 2 | run-script two.sh | not-run |  |" in page
    assert "| Serial log | [gs://my_bucket/work dir/serial.log](https://" in page
    assert "| Deprecated | old-1, old-2 |" in page
    assert "| prepare | 1.2 s |" in page


def test_a_page_says_how_to_use_an_image_that_there_is(make_spec: SpecMaker) -> None:
    command = (
        "gcloud compute instances create my-vm \\\n  --project=my-project --zone=us-west1-b \\\n"
        "  --image=my-image --image-project=my-project"
    )
    assert f"## To use it\n\n```text\n{command}\n```\n" in markdown(make_spec(), RESULT)
    failed = RESULT.model_copy(update={"outcome": "failed", "image_id": "", "error": "no"})
    assert "## To use it" not in markdown(make_spec(), failed)


def test_the_last_lines_of_a_failed_step_stand_as_they_are(make_spec: SpecMaker) -> None:
    page = markdown(make_spec(), RESULT, ("+ ls *.sh | wc", "```", "# no"))
    assert "## Last lines\n\n````text\n+ ls *.sh | wc\n```\n# no\n````\n" in page
    assert "## Last lines" not in markdown(make_spec(), RESULT)


def test_there_are_links_to_where_there_is_something(make_spec: SpecMaker) -> None:
    page = markdown(make_spec(), RESULT, in_google_cloud=False)
    assert "https://" not in page
    assert "| Image | my-project/my-image |" in page
    assert "| Serial log | gs://my_bucket/work dir/serial.log |" in page


def test_a_page_has_the_specification_as_far_as_it_was_given(make_spec: SpecMaker) -> None:
    spec = make_spec(output={"family": "my-family"})
    text = markdown(spec, RESULT).partition("## Specification\n\n```json\n")[2].partition("\n```\n")[0]
    given = json.loads(text)
    assert given["steps"] == [{"type": "run-script", "script": name} for name in ("first.sh", "second.sh")]
    assert parse_spec(given) == spec


def test_tables_are_tables_with_a_head(make_spec: SpecMaker) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", markdown(make_spec(), RESULT), re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block
        assert all(cell.strip() for cell in block.splitlines()[0].strip("|").split("|")), block


def test_a_page_of_a_failure_tells_why_and_what_is_left(make_spec: SpecMaker) -> None:
    result = BuildResult(
        outcome="failed",
        build_id="0123456789",
        image="my-image",
        error="step 1/2 failed: run-script *.sh exited with 3",
        leftovers=("VM x in zone y (forbidden)",),
    )
    assert "## Why" not in markdown(make_spec(), result)
    why = Failure(
        cause="step-failed",
        phase="steps",
        step=1,
        step_label="run-script *.sh",
        exit_code=3,
        file="a.sh",
        line=4,
        command="cp a|b",
        message=result.error,
        hint="look at it.",
    )
    page = markdown(make_spec(), result.model_copy(update={"failure": why}))
    assert page.partition("## Why\n\n")[2].startswith(
        "| What | Which |\n| --- | --- |\n"
        "| Cause | step-failed: A step failed |\n"
        "| Phase | steps |\n"
        "| Step | 1: run-script \\*.sh |\n"
        "| Exit code | 3 |\n"
        "| Failed at | a.sh, line 4 |\n"
        "| Command | cp a\\|b |\n"
        "| What to do | look at it. |\n"
    )
    assert r"> step 1/2 failed: run-script \*.sh exited with 3" in page
    assert "## Left behind\n\n- VM x in zone y (forbidden)\n" in page
    assert "| Image |" not in page


def test_values_of_environment_variables_are_not_told(make_spec: SpecMaker) -> None:
    spec = make_spec(verify={"scripts": [{"script": "first.sh", "env": {"TOKEN": "s3cret"}}]})
    assert "s3cret" not in markdown(spec, RESULT)


@pytest.mark.parametrize(
    ("output", "what", "key"),
    [
        ({"family": "my-family"}, "", "image-my-family"),
        ({"family": "my-family"}, "progress", "image-my-family-progress"),
        ({}, "", "image-my-image"),
        ({"name": None, "suffix": "-mine"}, "", "image-mine"),
        ({"name": None, "suffix": "-mine"}, "deprecated", "image-mine-deprecated"),
    ],
)
def test_artifacts_of_a_family_have_one_key(make_spec: SpecMaker, output: dict[str, Any], what: str, key: str) -> None:
    assert artifact_key(make_spec(output=output), what) == key
    assert re.fullmatch("[a-z0-9-]+", key)


@pytest.mark.parametrize(
    ("parts", "found", "expected"),
    [
        ({}, "", ["source: cos-stable-68-10718-86-0"]),
        ({}, "cos-stable-68-10718-86-0", ["source: cos-stable-68-10718-86-0"]),
        (
            {"source": {"name": None, "family": "cos-125-lts"}, "output": {"family": "mine"}},
            "cos-125-19216-532-62",
            ["family: mine", "source: cos-125-lts", "source: cos-125-19216-532-62"],
        ),
        ({"source": {"name": None, "milestone": 125}}, "", ["source: milestone 125"]),
    ],
)
def test_runs_are_tagged_by_family_and_source(
    make_spec: SpecMaker, parts: dict[str, Any], found: str, expected: list[str]
) -> None:
    assert tags(make_spec(**parts), found) == expected
