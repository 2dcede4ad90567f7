"""A build's result as people read it: a page of Markdown."""

import re
from collections.abc import Iterable, Sequence

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting import console_links
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


def markdown(spec: BuildSpec, result: BuildResult) -> str:
    """Tell what has become of a build.

    Args:
        spec: of the build; of its scripts only the names are told.
        result: of the build.
    """
    took = result.durations.get("total", 0.0)
    lines = [
        f"# {_text(result.image or spec.output.name or f'…{spec.output.suffix}')}",
        "",
        f"**{_OUTCOMES[result.outcome]}** in {human_duration(took)}.",
        *(("", *_quoted(result.error)) if result.error else ()),
        "",
        *_table(("", ""), _facts(spec, result)),
        *_steps("Steps", result.steps),
        *_steps("Verification", result.verification),
        *_durations(result),
    ]
    if result.leftovers:
        lines += ["", "## Left behind", "", *(f"- {_text(leftover)}" for leftover in result.leftovers)]
    return "\n".join(lines) + "\n"


def _facts(spec: BuildSpec, result: BuildResult) -> list[tuple[str, str]]:
    project = spec.builder.project
    facts = []
    if result.image_id:
        link = console_links.image(result.project, result.image)
        facts.append(("Image", _link(f"{result.project}/{result.image}", link)))
    if spec.output.family and result.image_id:
        facts.append(("Family", _text(spec.output.family)))
    if match := re.fullmatch("projects/([^/]+)/global/images/([^/]+)", result.source_image):
        facts.append(("Source", _link(f"{match[1]}/{match[2]}", console_links.image(match[1], match[2]))))
    for what, log in (("Serial log", result.serial_log), ("Serial log of the test VM", result.verification_log)):
        if log:
            facts.append((what, _link(log, console_links.storage_object(log, project))))
    if result.deprecated:
        facts.append(("Deprecated", _text(", ".join(result.deprecated))))
    if result.zone:
        facts.append(("Zone", _text(result.zone)))
    return [*facts, ("Build", result.build_id)]


def _steps(title: str, steps: Sequence[StepResult]) -> list[str]:
    if not steps:
        return []
    rows = [
        (str(step.number), _text(step.label), step.state, "" if step.seconds is None else human_duration(step.seconds))
        for step in steps
    ]
    return ["", f"## {title}", "", *_table(("#", "Step", "State", "Took"), rows)]


def _durations(result: BuildResult) -> list[str]:
    rows = [(phase, human_duration(seconds)) for phase, seconds in result.durations.items() if phase != "total"]
    return ["", "## Phases", "", *_table(("Phase", "Took"), rows)] if rows else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = (f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
    return list(lines)


def _quoted(text: str) -> list[str]:
    return [f"> {_text(line)}" for line in text.splitlines()]


def _link(text: str, address: str) -> str:
    return f"[{_text(text)}]({address})"


def _text(text: str) -> str:
    """Text as it stands."""
    # No underscore: within a word it is no markup, and Prefect's UI shows the backslash before it.
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)
