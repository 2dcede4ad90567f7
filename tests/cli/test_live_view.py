"""What a live view shows: every step from the beginning, what is waited for and for how long, lines to read."""

import io
import json
import os
from pathlib import Path

import pytest
from support.specifications import SpecMaker

from cos_customizer.cli.colours import coloured, is_capable
from cos_customizer.cli.line_breaks import broken
from cos_customizer.cli.step_list import StepList
from cos_customizer.cli.usual_durations import UsualDurations
from cos_customizer.customizer.reporting.events import BuildEnded, ConsoleOutput, Event, Note, PhaseChange, StepChange
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec

FIRST, SECOND = "run-script first.sh", "run-script second.sh"


class Clock:
    """Seconds, as a test wants them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(steps: StepList, room: int = 20) -> list[str]:
    signs = {"waiting": "·", "started": ">", "succeeded": "✓", "failed": "✗"}
    return [
        f"{signs[row.state]} {row.label}{'' if row.seconds is None else f' {row.seconds:g}'}"
        for row in steps.rows(room)
    ]


def test_boots_and_tests_of_the_image_are_steps_from_the_beginning(make_spec: SpecMaker) -> None:
    plain, verified = make_spec(), make_spec(verify={"scripts": ["first.sh"]})
    assert shown(StepList()) == []
    assert shown(StepList(plain)) == ["· boot builder VM", f"· {FIRST}", f"· {SECOND}", "· create image"]
    assert shown(StepList(verified))[-3:] == ["· create image", "· boot test VM", f"· verify: {FIRST}"]
    assert shown(StepList(make_spec(verify={"boot": True})))[-1] == "· boot test VM"


def test_a_build_is_told_as_it_goes(make_spec: SpecMaker) -> None:
    clock = Clock()
    steps = StepList(make_spec(verify={"scripts": ["first.sh"]}), {"boot": 35.2, "steps": 60.0}, clock)
    heard: list[str] = []
    story: list[tuple[float, Event]] = [
        (0, Note("Prefect", "own server")),
        (0, PhaseChange("prepare", "started")),
        (1, Note("image", "is being made by another build; waiting for it")),
        (1, PhaseChange("boot", "started")),
        (40, Note("builder VM", "booted")),
        (0, PhaseChange("boot", "succeeded", 40.0)),
        (0, PhaseChange("steps", "started")),
        (0, StepChange(1, 2, FIRST, "started")),
        (2, ConsoleOutput(("one", "two"))),
        (3, StepChange(1, 2, FIRST, "succeeded", 4.5)),
        (0, StepChange(2, 2, SECOND, "started")),
        (1, StepChange(2, 2, SECOND, "succeeded", 1.0)),
        (1, PhaseChange("steps", "succeeded", 9.0)),
        (1, PhaseChange("image", "started")),
        (9, PhaseChange("image", "succeeded", 9.0)),
        (1, PhaseChange("test boot", "started")),
        (9, PhaseChange("test boot", "succeeded", 9.0)),
        (0, PhaseChange("verify", "started")),
        (0, StepChange(1, 1, FIRST, "started", stage="verify")),
        (7, StepChange(1, 1, FIRST, "failed", 7.0, "exited with 3", stage="verify")),
        (7, PhaseChange("verify", "failed", 7.0)),
        (0, PhaseChange("clean-up", "started")),
    ]
    for seconds, event in story:
        clock.now += seconds
        steps.on_event(event)
        if not heard or heard[-1] != steps.doing():
            heard.append(steps.doing())
    assert heard == [
        "getting ready",
        "image: is being made by another build; waiting for it",
        "waiting for the builder VM to boot (last time 35 s)",
        "waiting for the builder VM to clean up",
        f"step 1 of 2  {FIRST}",
        f"step 1 of 2  {FIRST}  | two",
        "waiting for the builder VM to clean up",
        f"step 2 of 2  {SECOND}",
        "waiting for the builder VM to clean up",
        "waiting for Compute Engine to make the image",
        "waiting for the test VM to boot",
        "waiting for the test VM to finish",
        f"verification 1 of 1  {FIRST}",
        "waiting for the test VM to finish",
        "cleaning up",
    ]
    assert shown(steps) == [
        *("✓ boot builder VM 40", f"✓ {FIRST} 4.5", f"✓ {SECOND} 1", "✓ create image 9", "✓ boot test VM 9"),
        f"✗ verify: {FIRST} 7",
    ]


def test_what_runs_has_the_time_that_it_has_taken(make_spec: SpecMaker) -> None:
    clock = Clock()
    steps = StepList(make_spec(), clock=clock)
    steps.on_event(PhaseChange("boot", "started"))
    clock.now += 12
    assert shown(steps)[0] == "> boot builder VM 12"
    steps.on_event(PhaseChange("boot", "failed", 13.0))
    assert shown(steps)[0] == "✗ boot builder VM 13"


def test_of_more_steps_than_there_are_lines_those_around_the_running_one_are_shown(make_spec: SpecMaker) -> None:
    steps = StepList(make_spec(scripts=("first.sh",) * 30), clock=Clock())
    steps.on_event(StepChange(15, 30, FIRST, "started"))
    lines = shown(steps, room=7)
    assert lines == ["✓ … 13 before", *[f"· {FIRST}"] * 2, f"> {FIRST} 0", *[f"· {FIRST}"] * 2, "· … 14 more"]
    assert len(shown(StepList(make_spec(scripts=("first.sh",) * 30)), room=1)) <= 3


LINES = [
    ("short", 20, 6, ["short"]),
    ("topic one two", 13, 6, ["topic one two"]),
    ("topic one two", 12, 6, ["topic one", "      two"]),
    ("topic  projects/p/images/i", 20, 7, ["topic", "  projects/p/images/i"]),
    ("topic  " + "x" * 30, 20, 7, ["topic", "  " + "x" * 30]),
    ("topic  one " + "x" * 13 + " two", 20, 7, ["topic  one", "       " + "x" * 13, "       two"]),
    ("topic", 3, 7, ["topic"]),
]


@pytest.mark.parametrize(("line", "width", "indent", "parts"), LINES)
def test_lines_break_between_words(line: str, width: int, indent: int, parts: list[str]) -> None:
    assert list(broken(line, width, indent)) == parts


def remembered(spec: BuildSpec, outcome: str = "built") -> None:
    usual = UsualDurations(spec)
    usual.on_event(PhaseChange("boot", "started"))
    usual.on_event(PhaseChange("boot", "succeeded", 35.0))
    usual.on_event(BuildEnded(BuildResult.model_validate({"outcome": outcome})))


def test_what_a_build_took_is_remembered_for_builds_like_it(
    make_spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", raising=False)
    spec, larger = make_spec(), make_spec(builder={"machine_type": "n2-standard-8"})
    remembered(spec, outcome="failed")
    assert UsualDurations(spec).last == {}
    remembered(spec)
    assert UsualDurations(spec).last == {"boot": 35.0}
    assert UsualDurations(larger).last == {}
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "http://127.0.0.1:1")
    assert UsualDurations(spec).last == {}


@pytest.mark.parametrize("content", ["", "no", "[]", '{"a": 1}', "\\xff"])
def test_what_is_remembered_may_be_of_no_use(
    make_spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "cos-customizer" / "durations.json"
    file.parent.mkdir()
    file.write_text(content)
    spec = make_spec()
    assert UsualDurations(spec).last == {}
    remembered(spec)
    assert list(json.loads(file.read_text()).values())[-1] == {"boot": 35.0}


def test_where_nothing_can_be_kept_nothing_is_said(
    make_spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remembered(make_spec())
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_show_them_and_people_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert coloured("built", "good", Terminal()) == "\x1b[32mbuilt\x1b[0m"
    assert coloured("built", "good", io.StringIO()) == "built"
    assert coloured("built", "good", None) == "built"
    monkeypatch.setenv("NO_COLOR", "1")
    assert (coloured("built", "bad", Terminal()), is_capable(Terminal())) == ("built", True)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setitem(os.environ, "TERM", "dumb")
    assert (coloured("built", "bad", Terminal()), is_capable(Terminal())) == ("built", False)
