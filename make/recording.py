"""Records `make demo` in a terminal of 80 columns: docs/images/demo.svg, an animated picture that needs no script.

Every line that the terminal has shown is one element, which the style sheet shows while the terminal did. A program
that does not move pictures, or a reader who wants none to move, sees the last screen.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from terminal import Line, Output, Run, Screen, Style, run, screens

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs" / "images" / "demo.svg"
COMMAND = ("make", "demo")
COLUMNS, ROWS = 80, 30
LONGEST = 30.0
"""Seconds that the recording may take; a run that took longer is played faster."""
LARGEST = 300_000
"""Bytes."""
_HOLD = 5.0
"""Seconds for which the last screen stands still, before it begins again."""
_FRAME = 0.1
"""Seconds of playing time between two screens: what changed sooner is not seen."""
_KEY = 0.12
_WIDTH, _HEIGHT, _SIZE, _MARGIN, _TITLE = 8.4, 18, 14, 16, 28
"""Of a character, of a line, of the font, around the text, and of the window's title, in pixels."""
_COLOURS = {
    "black": "#484f58",
    "red": "#ff7b72",
    "green": "#56d364",
    "brown": "#e3b341",  # what terminals call yellow
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": "#e6edf3",
    "brightblack": "#8b949e",
}
_FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_INK, _PAPER, _BAR = "#d1d7e0", "#0d1117", "#21262d"


def typed(command: Sequence[str]) -> list[Output]:
    """A shell's prompt, and the command as somebody types it."""
    text = " ".join(command)
    keys = [Output(0, "$ "), *(Output(_KEY * (1 + number), key) for number, key in enumerate(text))]
    return [*keys, Output(_KEY * (2 + len(text)), "\r\n")]


def speed(seconds: float) -> int:
    """How many times as fast as it was a run of so many seconds is played."""
    return max(1, -int(-seconds // LONGEST))


def played(shown: Iterable[Screen], factor: int, after: float = 0.0) -> list[Screen]:
    """The screens at the times at which they are played, those of one moment as the last of them.

    Args:
        shown: as they were.
        factor: how many times as fast they are played.
        after: seconds before the first.
    """
    kept: list[Screen] = []
    for screen in shown:
        seconds = after + screen.seconds / factor
        if kept and seconds - kept[-1].seconds < _FRAME:
            kept[-1] = Screen(kept[-1].seconds, screen.lines)
        else:
            kept.append(Screen(seconds, screen.lines))
    return kept


def picture(shown: Sequence[Screen], title: str, columns: int, rows: int) -> str:
    """The recording as an SVG.

    Args:
        shown: with the times at which they are played.
        title: of the window.
        columns: width of the terminal, in characters.
        rows: its height, in lines.
    """
    whole = shown[-1].seconds + _HOLD
    intervals: dict[tuple[float, float], str] = {}
    elements: list[str] = []
    for row in range(rows):
        began = 0
        for number in range(1, len(shown) + 1):
            line = shown[began].lines[row]
            if number < len(shown) and shown[number].lines[row] == line:
                continue
            interval = (shown[began].seconds, shown[number].seconds if number < len(shown) else whole)
            if line:
                name = intervals.setdefault(interval, f"i{len(intervals)}")
                elements.append(f'<text class="{name}" y="{_MARGIN + _TITLE + row * _HEIGHT}">{_text(line)}</text>')
            began = number
    width, height = columns * _WIDTH + 2 * _MARGIN, rows * _HEIGHT + 2 * _MARGIN + _TITLE
    size = f"{width:g} {height}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width:g}" height="{height}">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_style(intervals, whole)}</style>",
            f'<rect width="100%" height="100%" rx="8" fill="{_PAPER}"/>',
            f'<path d="M0 {_TITLE}V8a8 8 0 0 1 8-8H{width - 8:g}a8 8 0 0 1 8 8V{_TITLE}Z" fill="{_BAR}"/>',
            *(f'<circle cx="{16 + 18 * n}" cy="14" r="5" fill="#57606a"/>' for n in range(3)),
            f'<text class="title" x="{width / 2:g}" y="19">{escape(title)}</text>',
            *elements,
            "</svg>\n",
        ]
    )


def _text(line: Line) -> str:
    return "".join(_span(each) for each in line)


def _span(part: Run) -> str:
    """A text is drawn as wide as a terminal draws it, whatever the font."""
    names = " ".join(_names(part.style))
    style = f' class="{names}"' if names else ""
    place = f'x="{_MARGIN + part.column * _WIDTH:g}" textLength="{len(part.text) * _WIDTH:g}"'
    return f"<tspan {place}{style}>{escape(part.text)}</tspan>"


def _names(style: Style) -> list[str]:
    return [style.colour] * (style.colour in _COLOURS) + ["bold"] * style.bold


def _style(intervals: dict[tuple[float, float], str], whole: float) -> str:
    rules = [
        f"text{{font:{_SIZE}px {_FONTS};fill:{_INK};white-space:pre;dominant-baseline:hanging}}",
        "text.title{fill:#8b949e;text-anchor:middle;dominant-baseline:auto}",
        ".bold{font-weight:bold}",
        *(f".{name}{{fill:{value}}}" for name, value in _COLOURS.items()),
        f"@media(prefers-reduced-motion:no-preference){{[class^=i]{{animation:{whole:.2f}s step-end infinite}}}}",
    ]
    for (begins, ends), name in intervals.items():
        last = ends >= whole
        start, stop = (f"{round(100 * seconds / whole, 3):g}%" for seconds in (begins, ends))
        frames = "0%{visibility:hidden}" if begins > 0 else ""
        frames += f"{start}{{visibility:visible}}" + ("" if last else f"{stop}{{visibility:hidden}}")
        hidden = "" if last else "visibility:hidden;"
        rules.append(f".{name}{{{hidden}animation-name:{name}}}@keyframes {name}{{{frames}}}")
    return "".join(f"{rule}\n" for rule in rules)


def main() -> None:
    """Run the demo, and record it."""
    # As in the README, where the command before this one has put the programs into the path.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    written, code = run(COMMAND, COLUMNS, ROWS, {**os.environ, "PATH": path})
    if code:
        sys.exit(f"{' '.join(COMMAND)} has failed:\n" + "".join(output.text for output in written))
    keys = typed(COMMAND)
    # The terminal goes on where the command was typed.
    begun = keys[-1].seconds
    every = screens([*keys, *(Output(begun + output.seconds, output.text) for output in written)], COLUMNS, ROWS)
    factor = speed(written[-1].seconds)
    typing = played([screen for screen in every if screen.seconds <= begun], 1)
    running = [Screen(screen.seconds - begun, screen.lines) for screen in every if screen.seconds > begun]
    times = f", {factor} times as fast as it was" if factor > 1 else ""
    text = picture([*typing, *played(running, factor, begun)], " ".join(COMMAND) + times, COLUMNS, ROWS)
    if len(text.encode()) > LARGEST:
        sys.exit(f"{FILE.name} is too large for the repository")
    FILE.write_text(text)
    print(f"{FILE.relative_to(ROOT)}: {len(text.encode()) / 1000:.0f} kB, {len(every)} screens{times}")


if __name__ == "__main__":
    main()
