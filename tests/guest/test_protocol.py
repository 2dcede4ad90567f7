"""The serial protocol: whatever the console does to the text, the events are right, and nothing passes for a marker."""

import random
import subprocess
from pathlib import Path

import pytest

from cos_customizer import guest
from cos_customizer.customizer.reporting.events import StepChange
from cos_customizer.guest.progress import GuestProgress
from cos_customizer.guest.protocol import (
    LINE_LIMIT,
    BuildFailed,
    BuildSucceeded,
    ContentsFailed,
    ContentsSent,
    DiskPhase,
    DiskWanted,
    Event,
    OutputLine,
    SerialParser,
    StepFailed,
    StepStarted,
    StepSucceeded,
)

NONCE = "n0nce"
SHA = "ab" * 32
LONG = LINE_LIMIT * 2 + 100


def parse(*pieces: bytes, finish: bool = True) -> list[Event]:
    parser = SerialParser(NONCE)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + (parser.finish() if finish else [])


CASES: dict[str, tuple[bytes, list[Event]]] = {
    "a script's line": (b"BuildStatus: hello\n", [OutputLine("hello")]),
    "CRLF": (b"\r\nBuildStatus: hello\r\n\r\n", [OutputLine("hello")]),
    "a script's blank line is kept, the framing's is not": (b"\nBuildStatus: \n\n", [OutputLine("")]),
    "the prefix is taken off once": (b"BuildStatus: BuildStatus: a\n", [OutputLine("BuildStatus: a")]),
    "a line without the prefix": (b"bash: line 1: no such thing\n", [OutputLine("bash: line 1: no such thing")]),
    "a step begins": (b"\nBuildStep[n0nce]: 1 started run-script a b.sh\n", [StepStarted(1, "run-script a b.sh")]),
    "a step is done": (b"\nBuildStep[n0nce]: 12 succeeded 0.04\n", [StepSucceeded(12, 0.04)]),
    "a step is done, whole seconds": (b"BuildStep[n0nce]: 12 succeeded 7\r\n", [StepSucceeded(12, 7.0)]),
    "a step fails": (b"BuildStep[n0nce]: 2 failed exit 3\n", [StepFailed(2, 3, "exited with 3")]),
    "a step fails for a reason": (
        b"BuildStep[n0nce]: 2 failed was interrupted by a reboot\n",
        [StepFailed(2, None, "was interrupted by a reboot")],
    ),
    "the disk is laid out": (
        b"BuildDisk[n0nce]: moving STATE\n\nBuildDisk[n0nce]: wants 11811160064\n",
        [DiskPhase("moving STATE"), DiskWanted(11 << 30)],
    ),
    "a disk is wanted in words": (b"BuildDisk[n0nce]: wants more\n", [DiskPhase("wants more")]),
    "a disk is wanted by somebody else": (b"BuildDisk[n1]: wants 1\n", [OutputLine("BuildDisk[n1]: wants 1")]),
    "contents are sent, repeatedly": (
        f"BuildContents[n0nce]: sent 5 {SHA}\n".encode() * 3,
        [ContentsSent(5, SHA)],
    ),
    "contents are not sent": (
        b"BuildContents[n0nce]: failed HTTP 503\n" * 2,
        [ContentsFailed("HTTP 503")],
    ),
    "contents that are none": (
        b"BuildContents[n0nce]: sent 5 abc\n",
        [OutputLine("BuildContents[n0nce]: sent 5 abc")],
    ),
    "contents that a script claims to be sent": (
        f"BuildStatus: BuildContents[n0nce]: sent 5 {SHA}\n".encode(),
        [OutputLine(f"BuildContents[n0nce]: sent 5 {SHA}")],
    ),
    "the build succeeds": (b"\nBuildSucceeded[n0nce]:\n", [BuildSucceeded()]),
    "the build succeeds, repeatedly": (b"\nBuildSucceeded[n0nce]:\n" * 9, [BuildSucceeded()]),
    "the build fails": (b"BuildFailed[n0nce]: step 2 exit 139\n" * 2, [BuildFailed(2, 139, "exited with 139")]),
    "the build fails for a step's reason": (
        b"BuildFailed[n0nce]: step 2 was interrupted\n",
        [BuildFailed(2, None, "was interrupted")],
    ),
    "the build fails outside the steps": (
        b"BuildFailed[n0nce]: steps were no use\n",
        [BuildFailed(None, None, "steps were no use")],
    ),
    "output between repeated markers": (
        b"\nBuildSucceeded[n0nce]:\nBuildStatus: late\n\nBuildSucceeded[n0nce]:\n",
        [BuildSucceeded(), OutputLine("late")],
    ),
    "a build that begins again after its end is seen to": (
        b"\nBuildSucceeded[n0nce]:\n\nBuildStep[n0nce]: 1 started a\n\nBuildSucceeded[n0nce]:\n",
        [BuildSucceeded(), StepStarted(1, "a"), BuildSucceeded()],
    ),
    "steps that are told again at the end are told once": (
        b"\nBuildStep[n0nce]: 1 succeeded 2.0\n" + 2 * b"\nBuildStep[n0nce]: 1 succeeded\n\nBuildSucceeded[n0nce]:\n",
        [StepSucceeded(1, 2.0), BuildSucceeded()],
    ),
    "a step whose end was lost is told at the end": (
        b"\nBuildStep[n0nce]: 1 started a\n" + 2 * b"\nBuildStep[n0nce]: 1 succeeded\n\nBuildSucceeded[n0nce]:\n",
        [StepStarted(1, "a"), StepSucceeded(1, None), BuildSucceeded()],
    ),
    "a step that runs again ends again": (
        b"\nBuildStep[n0nce]: 1 succeeded 2.0\n\nBuildStep[n0nce]: 1 started a\n\nBuildStep[n0nce]: 1 succeeded\n",
        [StepSucceeded(1, 2.0), StepStarted(1, "a"), StepSucceeded(1, None)],
    ),
    "a step without a word on what it began": (
        b"BuildStep[n0nce]: 1 started\n",
        [OutputLine("BuildStep[n0nce]: 1 started")],
    ),
    "a script's line without an end, then a marker": (
        b"BuildStatus: 50%\nBuildStep[n0nce]: 1 succeeded 1.00\n",
        [OutputLine("50%"), StepSucceeded(1, 1.0)],
    ),
    "a script that prints markers": (
        b"BuildStatus: BuildSucceeded[n0nce]:\nBuildStatus: \rBuildFailed[n0nce]: x\n",
        [OutputLine("BuildSucceeded[n0nce]:"), OutputLine("␍BuildFailed[n0nce]: x")],
    ),
    "another build's marker": (b"BuildSucceeded[other]:\n", [OutputLine("BuildSucceeded[other]:")]),
    "a nonce cut short": (b"BuildSucceeded[n0nc]:\n", [OutputLine("BuildSucceeded[n0nc]:")]),
    "the original's marker": (b"BuildSucceeded: done\n", [OutputLine("BuildSucceeded: done")]),
    "a marker that is not at the start": (b" BuildSucceeded[n0nce]:\n", [OutputLine(" BuildSucceeded[n0nce]:")]),
    "a marker with a tail": (b"BuildSucceeded[n0nce]: yes\n", [OutputLine("BuildSucceeded[n0nce]: yes")]),
    "a marker without its colon": (b"BuildSucceeded[n0nce]\n", [OutputLine("BuildSucceeded[n0nce]")]),
    "a marker of no known kind": (b"BuildStep[n0nce]: 1 paused\n", [OutputLine("BuildStep[n0nce]: 1 paused")]),
    "a step that is no number": (b"BuildStep[n0nce]: x started a\n", [OutputLine("BuildStep[n0nce]: x started a")]),
    "seconds that are no number": (
        b"BuildStep[n0nce]: 1 succeeded nan\n",
        [OutputLine("BuildStep[n0nce]: 1 succeeded nan")],
    ),
    "a failure without a reason": (b"BuildFailed[n0nce]: \n", [OutputLine("BuildFailed[n0nce]: ")]),
    "a marker with a byte gone wrong": (
        b"BuildFailed[n0nce]: step 1 \xff\n",
        [OutputLine("BuildFailed[n0nce]: step 1 �")],
    ),
    "a marker cut short by the end of the VM": (
        b"BuildFailed[n0nce]: step 2 exit 1",
        [OutputLine("BuildFailed[n0nce]: step 2 exit 1")],
    ),
    "a line cut short by the end of the VM": (b"BuildStatus: almo", [OutputLine("almo")]),
    "characters of several bytes": ("BuildStatus: Grüße, 世界 🎉\n".encode(), [OutputLine("Grüße, 世界 🎉")]),
    "binary": (b"BuildStatus: \x00\x07\xff\xfe\x7f\tx\xc2\x9b\n", [OutputLine("␀␇��␡\tx�")]),
    "colours": (b"BuildStatus: \x1b[1;31mred\x1b[0m \x1b]\n", [OutputLine("red ␛]")]),
    "a progress bar": (b"BuildStatus: 10%\r20%\r\n", [OutputLine("10%␍20%")]),
    "a line just short enough": (
        b"BuildStatus: " + b"x" * (LINE_LIMIT - 13) + b"\n",
        [OutputLine("x" * (LINE_LIMIT - 13))],
    ),
    "a long line comes in pieces": (
        b"BuildStatus: " + b"x" * LONG + b"\nBuildStatus: y\n",
        [
            OutputLine("x" * (LINE_LIMIT - 13)),
            OutputLine("x" * LINE_LIMIT),
            OutputLine("x" * (LONG - 2 * LINE_LIMIT + 13)),
            OutputLine("y"),
        ],
    ),
    "a piece of a long line is no marker": (
        b"y" * LINE_LIMIT + b"BuildSucceeded[n0nce]:\nBuildSucceeded[n0nce]:\n",
        [OutputLine("y" * LINE_LIMIT), OutputLine("BuildSucceeded[n0nce]:"), BuildSucceeded()],
    ),
    "a long line that begins as a marker is none": (
        b"BuildFailed[n0nce]: " + b"z" * LINE_LIMIT + b"\n",
        [OutputLine("BuildFailed[n0nce]: " + "z" * (LINE_LIMIT - 20)), OutputLine("z" * 20)],
    ),
    "a long line with an end that fits exactly": (b"x" * LINE_LIMIT + b"\r\n", [OutputLine("x" * LINE_LIMIT)]),
}


@pytest.mark.parametrize("name", CASES)
def test_events_of_a_text(name: str) -> None:
    text, events = CASES[name]
    assert parse(text) == events


@pytest.mark.parametrize("name", CASES)
def test_how_the_text_is_cut_makes_no_difference(name: str) -> None:
    text, events = CASES[name]
    assert parse(*(text[at : at + 1] for at in range(len(text)))) == events, "byte by byte"
    near_the_limit = [at for at in range(LINE_LIMIT - 40, LINE_LIMIT + 40) if at < len(text)]
    for at in near_the_limit if len(text) > LINE_LIMIT else range(len(text)):
        assert parse(text[:at], text[at:]) == events, f"cut in two at byte {at}"


def test_a_whole_build_in_random_pieces() -> None:
    text = b"".join(text if text.endswith(b"\n") else text + b"\n" for text, _ in CASES.values())
    events = parse(text)
    rng = random.Random(2)
    for _ in range(30):
        cuts = sorted(rng.sample(range(len(text)), 40))
        assert parse(*(text[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True))) == events


@pytest.mark.parametrize("at", range(LINE_LIMIT - 17, LINE_LIMIT - 12))
@pytest.mark.parametrize("character", ["é", "世", "🎉"])
def test_pieces_of_a_long_line_end_between_characters(at: int, character: str) -> None:
    text = "x" * at + character * 20
    pieces = [event.text for event in parse(f"BuildStatus: {text}\n".encode()) if isinstance(event, OutputLine)]
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= LINE_LIMIT for piece in pieces)


def test_memory_stays_bounded_without_a_line_end() -> None:
    parser = SerialParser(NONCE)
    passed_on = 0
    for _ in range(1000):
        passed_on += sum(len(event.text) for event in parser.feed(b"x" * 4096) if isinstance(event, OutputLine))
    assert passed_on >= 4096 * 1000 - LINE_LIMIT


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (b"BuildStatus: a\nBuildSuc", b"ceeded[n0nce]:\nBuildStatus: b\n", ["a", "ceeded[n0nce]:", "b"]),
        (b"BuildStatus: a\n", b"BuildSucceeded[n0nce]:\nBuildStatus: b\n", ["a", "BuildSucceeded[n0nce]:", "b"]),
        (b"", b"\nBuildStatus: b\n", ["b"]),
        (b"Build", b"", []),
        (b"x" * (LINE_LIMIT + 9), b"y\nBuildStatus: b\n", ["x" * LINE_LIMIT, "y", "b"]),
    ],
)
def test_lost_output_never_joins_halves(before: bytes, after: bytes, events: list[str]) -> None:
    parser = SerialParser(NONCE)
    seen = parser.feed(before)
    parser.lost()
    seen += parser.feed(after) + parser.finish()
    assert seen == [OutputLine(text) for text in events]


def test_a_marker_is_found_again_after_a_loss() -> None:
    parser = SerialParser(NONCE)
    parser.feed(b"BuildStatus: half a li")
    parser.lost()
    assert parser.feed(b"f of a line\n\nBuildSucceeded[n0nce]:\n") == [OutputLine("f of a line"), BuildSucceeded()]


def test_a_step_that_a_reset_interrupted_is_told_to_begin_once() -> None:
    started = b"\nBuildStep[n0nce]: 1 started install-gpu 396.26\n"
    progress = GuestProgress(["install-gpu 396.26"])
    told = progress.consume(
        parse(started + b"BuildStatus: half a li", started + b"\nBuildStep[n0nce]: 1 succeeded 2.0\n")
    )
    assert [event.state for event in told if isinstance(event, StepChange)] == ["started", "succeeded"]
    assert progress.failure is None
    progress.consume(parse(b"\nBuildSucceeded[n0nce]:\n", started))
    assert progress.failure is not None, "the whole plan has begun again"


def test_no_noise_passes_for_a_marker() -> None:
    """Scraps of real markers, shuffled and damaged; only lines that are markers to the letter may count."""
    rng = random.Random(20)
    scraps = [
        b"Build",
        b"Step",
        b"Succeeded",
        b"Failed",
        b"[",
        b"n0nce",
        b"]",
        b":",
        b" ",
        b"1",
        b"started",
        b"exit",
        b"\n",
    ]
    scraps += [
        b"BuildStatus: ",
        b"BuildSucceeded[n0nc3]:",
        b"BuildFailed[]: x",
        b"\r",
        b"\xf0\x9f",
        b"\x00",
        b"n0nce]: 1",
    ]
    for _ in range(3000):
        parser = SerialParser(NONCE)
        noise = b"".join(rng.choices(scraps, k=30))
        if any(
            line.startswith((b"BuildStep[n0nce]:", b"BuildSucceeded[n0nce]:", b"BuildFailed[n0nce]:"))
            for line in noise.split(b"\n")
        ):
            continue
        events = parser.feed(noise) + parser.finish()
        assert all(isinstance(event, OutputLine) for event in events), noise
    for _ in range(200):
        events = parse(rng.randbytes(5000))
        assert all(isinstance(event, OutputLine) for event in events)


def test_the_guest_writes_what_the_parser_reads(tmp_path: Path) -> None:
    """protocol.sh's own functions, run by bash, on a file instead of the serial port."""
    port = tmp_path / "port"
    script = """
        nonce=n0nce directory=$2
        going_down() { true; }
        . "$1/protocol.sh"
        exec 3>"$3"
        say "fetched *"
        printf 'BuildStatus: no end' >&3
        mark_step 1 "started run-script a  b.sh"
        mark_step 1 "succeeded 0.05"
        fail_step 2 "exit 3"
    """
    folder = Path(guest.__file__).parent
    subprocess.run(["bash", "-uc", script, "bash", folder, tmp_path, port], check=True)
    assert parse(port.read_bytes()) == [
        OutputLine("fetched *"),
        OutputLine("no end"),
        StepStarted(1, "run-script a  b.sh"),
        StepSucceeded(1, 0.05),
        StepFailed(2, 3, "exited with 3"),
        BuildFailed(2, 3, "exited with 3"),
    ]
