"""A build's result as people read it: a page of Markdown."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting import console_links
from cos_customizer.customizer.reporting.causes import IN_WORDS
from cos_customizer.customizer.reporting.failure import Failure
from cos_customizer.customizer.reporting.markdown import as_text, table
from cos_customizer.customizer.reporting.result import BuildResult, StepResult
from cos_customizer.customizer.spec.model import BuildSpec

_OUTCOMES = {
    "built": "Built",
    "exists": "Was there already; nothing was built",
    "failed": "Failed",
    "timed-out": "Ran out of time",
    "interrupted": "Was interrupted",
}


def artifact_key(spec: BuildSpec, what: str = "") -> str:
    """What a build's artifacts are found by, over all builds of a family or of an image's name.

    Args:
        spec: of the build.
        what: sets one artifact apart from another.

    Returns:
        Lower-case letters, digits and hyphens, which is what Prefect allows.
    """
    name = spec.output.family or spec.output.name or spec.output.suffix or ""
    return re.sub("[^a-z0-9]+", "-", f"image-{name}-{what}".lower()).strip("-")


def tags(spec: BuildSpec, source_image: str = "") -> list[str]:
    """What a build's flow run can be found by.

    Args:
        spec: of the build.
        source_image: name of the source image, once it is known.
    """
    source = spec.source
    milestone = f"milestone {source.milestone}" if source.milestone is not None else None
    asked = source.family or source.name or milestone
    found = [f"family: {spec.output.family}" if spec.output.family else "", f"source: {asked}"]
    if source_image and source_image != asked:
        found.append(f"source: {source_image}")
    return [tag for tag in found if tag]


def markdown(
    spec: BuildSpec, result: BuildResult, last_lines: Sequence[str] = (), *, in_google_cloud: bool = True
) -> str:
    """Tell what has become of a build.

    Args:
        spec: of the build; values of environment variables are not told.
        result: of the build.
        last_lines: that the step has printed in which it ended.
        in_google_cloud: where the Cloud console shows what the build has to do with.
    """
    took = result.durations.get("total", 0.0)
    lines = [
        f"# {as_text(result.image or spec.output.name or f'…{spec.output.suffix}')}",
        "",
        f"**{_OUTCOMES[result.outcome]}** in {human_duration(took)}.",
        *(("", *_quoted(result.error)) if result.error else ()),
        "",
        *table(("Build", result.build_id), _facts(spec, result, _link if in_google_cloud else _unlinked)),
        *_failure(result.failure),
        *_block("Last lines", last_lines),
        *(_block("To use it", _creation_of_vm(spec, result)) if result.image_id and not result.error else ()),
        *_steps("Steps", result.steps),
        *_steps("Verification", result.verification),
        *_durations(result),
    ]
    if kept := result.kept:
        lines += ["", "## Kept", "", f"{as_text(kept.in_words)}."]
        lines += _block("To get in, read its console, delete it", [kept.get_in, kept.read_console, kept.delete])
    if result.leftovers:
        lines += ["", "## Left behind", "", *(f"- {as_text(leftover)}" for leftover in result.leftovers)]
    lines += _block("Specification", json.dumps(_given(spec), indent=2, ensure_ascii=False).splitlines(), "json")
    return "\n".join(lines) + "\n"


def _creation_of_vm(spec: BuildSpec, result: BuildResult) -> list[str]:
    """A command in lines that the page has room for."""
    return [
        "gcloud compute instances create my-vm \\",
        f"  --project={spec.builder.project} --zone={result.zone or spec.builder.zones[0]} \\",
        f"  --image={result.image} --image-project={result.project}",
    ]


def _given(spec: BuildSpec) -> dict[str, Any]:
    """What the specification says that is not its default."""
    masked = spec.masked()
    given = masked.model_dump(mode="json", exclude_defaults=True)
    if masked.steps:
        given["steps"] = [{"type": step.type, **more} for step, more in zip(masked.steps, given["steps"], strict=True)]
    return given


def _block(title: str, lines: Sequence[str], language: str = "text") -> list[str]:
    """A section with text as it is, whatever stands in it."""
    if not lines:
        return []
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["", f"## {title}", "", f"{fence}{language}", *lines, fence]


def _facts(spec: BuildSpec, result: BuildResult, link: Callable[[str, str], str]) -> list[tuple[str, str]]:
    project = spec.builder.project
    facts = []
    if result.image_id:
        page = console_links.image(result.project, result.image)
        facts.append(("Image", link(f"{result.project}/{result.image}", page)))
    if result.made_by:
        facts.append(("Made by", result.made_by.replace("-", " ")))
    if spec.output.family and result.image_id:
        facts.append(("Family", as_text(spec.output.family)))
    if match := re.fullmatch("projects/([^/]+)/global/images/([^/]+)", result.source_image):
        facts.append(("Source", link(f"{match[1]}/{match[2]}", console_links.image(match[1], match[2]))))
    for what, log in (("Serial log", result.serial_log), ("Serial log of the test VM", result.verification_log)):
        if log:
            facts.append((what, link(log, console_links.storage_object(log, project))))
    if result.changes:
        against = f" (against {as_text(result.compared_with)})"
        facts.append(("Changes", as_text(result.changes) + against))
    if result.difference:
        facts.append(
            ("Whole difference", link(result.difference, console_links.storage_object(result.difference, project)))
        )
    if result.deprecated:
        facts.append(("Deprecated", as_text(", ".join(result.deprecated))))
    if result.zone:
        facts.append(("Zone", as_text(result.zone)))
    return facts


def _failure(failure: Failure | None) -> list[str]:
    """A section with what is known of why the build has not succeeded."""
    if failure is None:
        return []
    place = f"{failure.file}{'' if failure.line is None else f', line {failure.line}'}" if failure.file else ""
    step = "" if failure.step is None else f"{failure.step}: {failure.step_label}"
    facts = {
        "Cause": f"{failure.cause}: {IN_WORDS[failure.cause]}",
        "Phase": failure.phase,
        "Step": step,
        "Exit code": "" if failure.exit_code is None else str(failure.exit_code),
        "Failed at": place,
        "Command": failure.command,
        "What to do": failure.hint,
    }
    rows = [(what, as_text(" ".join(text.split()))) for what, text in facts.items() if text]
    return ["", "## Why", "", *table(("What", "Which"), rows)]


def _steps(title: str, steps: Sequence[StepResult]) -> list[str]:
    if not steps:
        return []
    took = ["" if step.seconds is None else human_duration(step.seconds) for step in steps]
    rows = [(str(step.number), as_text(step.label), step.state, each) for step, each in zip(steps, took, strict=True)]
    return ["", f"## {title}", "", *table(("#", "Step", "State", "Took"), rows)]


def _durations(result: BuildResult) -> list[str]:
    rows = [(phase, human_duration(seconds)) for phase, seconds in result.durations.items() if phase != "total"]
    return ["", "## Phases", "", *table(("Phase", "Took"), rows)] if rows else []


def _quoted(text: str) -> list[str]:
    return [f"> {as_text(line)}" for line in text.splitlines()]


def _unlinked(text: str, _address: str) -> str:
    return as_text(text)


def _link(text: str, address: str) -> str:
    return f"[{as_text(text)}]({address})"
