"""The recording of the demo shows what the terminal showed, and every screen when it did."""

import os
import re
import signal
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from recording import COLUMNS, FILE, LARGEST, LONGEST, picture, played, speed, typed
from support.paths import ROOT
from terminal import Line, Output, Run, Screen, Style, run, screens

SVG = "{http://www.w3.org/2000/svg}"


def texts(screen: Screen) -> list[str]:
    return ["".join(part.text for part in line) for line in screen.lines]


def shown_at_last(svg: str) -> list[str]:
    """What a program sees that moves no pictures."""
    root = ElementTree.fromstring(svg)
    style = root.find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    hidden = set(re.findall(r"^\.(i\d+)\{visibility:hidden", style.text, re.MULTILINE))
    lines = [line for line in root.iter(f"{SVG}text") if line.get("class") not in hidden | {"title"}]
    return ["".join(line.itertext()) for line in lines]


def test_a_program_sees_a_terminal_of_this_size() -> None:
    written, code = run(["stty", "size"], 80, 30, dict(os.environ))
    assert (texts(screens(written, 80, 30)[-1])[0], code) == ("30 80", 0)


def test_a_program_s_exit_code_is_known() -> None:
    assert run(["sh", "-c", "exit 3"], 80, 30, dict(os.environ)) == ([], 3)


def test_a_program_gets_what_is_pasted() -> None:
    written, code = run(["sh", "-c", "read -r words && exit $words"], 80, 30, dict(os.environ), keys="4\n")
    assert ("".join(output.text for output in written), code) == ("4\r\n", 4)


def test_a_program_is_typed_by_somebody_whoever_started_this() -> None:
    written, code = run(["sh", "-c", "exit ${MAKELEVEL-0}"], 80, 30, {**os.environ, "MAKELEVEL": "1"})
    assert (written, code) == ([], 0)


def test_a_program_that_does_not_end_loses_its_terminal() -> None:
    assert run(["cat"], 80, 30, dict(os.environ), limit=0.1) == ([], -signal.SIGHUP)
    chatters = "while :; do echo on; done"
    for limit in (0.1, 1.0, 10.0, 100.0):  # long enough for it to say something, however slow this machine is
        written, code = run(["sh", "-c", chatters], 80, 30, dict(os.environ), limit=limit)
        if written:
            break
    assert (written[0].text[:4], code) == ("on\r\n", -signal.SIGHUP)


def test_a_program_s_end_is_the_end_whoever_else_has_its_terminal(tmp_path: Path) -> None:
    left = "trap '' HUP; sleep 1000 & echo $! > left"
    try:
        assert run(["sh", "-c", left], 80, 30, dict(os.environ), directory=tmp_path)[1] == 0
    finally:
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


def test_screens_hold_colours_and_what_is_written_over() -> None:
    lines: tuple[Line, ...] = (
        (Run(0, "done", Style("green", bold=True)), Run(5, "waiting", Style("brightblack"))),
        (Run(0, "2 of 3", Style()),),
    )
    written = [Output(1, "\x1b[1;32mdone\x1b[0m \x1b[2mwaiting\x1b[0m\r\n1 of 3"), Output(2, "\r\x1b[2K2 of 3")]
    assert screens(written, 20, 2)[-1] == Screen(2, lines)


def test_a_screen_that_has_not_changed_is_none_of_its_own() -> None:
    assert len(screens([Output(1, "a"), Output(2, "\ra")], 20, 1)) == 1


def test_a_long_run_is_played_faster_and_loses_no_last_screen() -> None:
    every = screens([Output(number / 10, f"\r{number}") for number in range(1000)], 20, 1)
    factor = speed(every[-1].seconds)
    kept = played(every, factor, after=2)
    assert factor == 4
    assert kept[-1].lines == every[-1].lines
    assert kept[-1].seconds <= 2 + LONGEST
    assert all(later.seconds - sooner.seconds >= 0.099 for sooner, later in pairwise(kept))
    assert speed(LONGEST - 1) == 1


def test_the_picture_has_the_last_screen_for_whoever_moves_no_pictures() -> None:
    written = [
        *typed(["make", "demo"]),
        Output(3, "one <&>\r\n"),
        Output(4, "two"),
        Output(5, "\r\x1b[31mthree\x1b[0m"),
    ]
    svg = picture(screens(written, 20, 4), "make demo", 20, 4)
    assert shown_at_last(svg) == ["$ make demo", "one <&>", "three"]
    assert "<script" not in svg


def test_each_line_is_shown_while_the_terminal_showed_it() -> None:
    svg = picture(screens([Output(0, "a"), Output(5, "\rb")], 20, 1), "title", 20, 1)
    rules = dict(re.findall(r"@keyframes (i\d+)\{(.*)\}$", svg, re.MULTILINE))
    elements = dict(re.findall(r'<text class="(i\d+)".*?>(\w)</tspan>', svg))
    assert {elements[name]: frames for name, frames in rules.items()} == {
        "a": "0%{visibility:visible}50%{visibility:hidden}",
        "b": "0%{visibility:hidden}50%{visibility:visible}",
    }


def test_the_recording_of_the_readme_is_one_of_a_demo_that_came_to_its_end() -> None:
    svg = FILE.read_text()
    assert len(svg.encode()) < LARGEST
    last = shown_at_last(svg)
    assert "Hello, World!" in "".join(last)
    assert str(ROOT) not in svg
    assert "make[" not in svg  # of a make that was started by another, and says where
    assert max(len(line) for line in last) <= COLUMNS
    assert str(Path(FILE).relative_to(ROOT)) in (ROOT / "README.md").read_text()
