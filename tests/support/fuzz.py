"""Bad input of every kind, by hypothesis, and what may come of it: an error in words, the exit code that fits, no more.

Each kind writes cases and tries one: `make test` a few hundred of each, the same ones every time; `make fuzz` 20,000.
"""

import gzip
import io
import json
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from support.command_line import run
from support.fuzz_place import HELLO, STATE, write_state
from support.fuzz_values import HEADER_VALUES, SERIAL_PIECES, TEXTS, YAML

from cos_customizer.cli.go_flags import GoCommand, GoGroup
from cos_customizer.cli.main import program
from cos_customizer.customizer.context import read_archive
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.recipe import parse_recipe
from cos_customizer.guest.protocol import BuildSucceeded, SerialParser


@dataclass(frozen=True)
class Verdict:
    """What is wrong with what came of a case; nothing where all is empty.

    Attributes:
        unexpected: the program took a mistake of the user's for one of its own.
        traceback: an exception came out that no caller expects.
        wrong_code: an exit code, or a result, that does not fit.
    """

    unexpected: str = ""
    traceback: str = ""
    wrong_code: str = ""

    @property
    def problem(self) -> str:
        """The first of them."""
        return self.unexpected or self.traceback or self.wrong_code


@dataclass(frozen=True)
class Kind:
    """A kind of bad input.

    Attributes:
        cases: writes them.
        attempt: tries one, in the place that `place` has made.
    """

    name: str
    cases: st.SearchStrategy[Any]
    attempt: Callable[[Any], Verdict]


def ran(*arguments: str, codes: tuple[int, ...] = (0, 1, 2, 3)) -> Verdict:
    """Run a command, and judge how it ended."""
    standard_input = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"steps: ["))
    try:
        done = run(*arguments)
    except BaseException:
        return Verdict(traceback=traceback.format_exc())
    finally:
        sys.stdin = standard_input
    if "cos-customizer: unexpected " in done.err:
        return Verdict(unexpected=done.err)
    if "Traceback (most recent call last)" in done.out + done.err:
        return Verdict(traceback=done.err)
    if done.code not in codes:
        return Verdict(wrong_code=f"exit code {done.code}, not one of {codes}: {done.err}")
    if done.code and not done.err.strip():
        return Verdict(wrong_code=f"exit code {done.code} without a word")
    return Verdict()


def called(function: Callable[[], object], *allowed: type[BaseException]) -> Verdict:
    """Call a function, which may raise these errors and no other."""
    try:
        function()
    except allowed:
        return Verdict()
    except BaseException:
        return Verdict(traceback=traceback.format_exc())
    return Verdict()


# Command lines

_TEXTS = st.one_of(
    st.sampled_from(TEXTS),
    st.text(max_size=20).filter(lambda text: not text.startswith("/") and ".." not in text),
)
_NOT_RUN = {("emulator", "start"), ("emulator", "stop"), ("completion",)}
"""Commands that would leave programs behind, or end those of others."""


def _commands(group: GoGroup, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], GoCommand]]:
    import click

    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, GoGroup):
            yield from _commands(command, (*above, name))
        elif isinstance(command, GoCommand) and (*above, name) not in _NOT_RUN:
            yield (*above, name), command


_COMMANDS = dict(_commands(program))


@st.composite
def _command_lines(draw: st.DrawFn) -> tuple[list[str], bool]:
    """A command with flags of its own and values of any kind; whether one of them is surely wrong."""
    path = draw(st.sampled_from(sorted(_COMMANDS)))
    flags = {flag.flag: flag for flag in _COMMANDS[path].flags()}
    words: list[str] = []
    for name in draw(st.lists(st.sampled_from(sorted(flags)), max_size=8)) if flags else []:
        value = draw(_TEXTS)
        if flags[name].takes_value or draw(st.booleans()):
            words += [f"-{name}={value}"] if draw(st.booleans()) else [f"--{name}", value]
        else:
            words.append(f"-{name}")
    wrong = draw(st.integers(0, 5)) == 0 and _flags_only(path)
    if wrong:
        words.insert(0, draw(st.sampled_from(["-no-such-flag", "-no-such-flag=1", "surplus", "---", "-=x"])))
    elif draw(st.integers(0, 3)) == 0:
        words.append(draw(_TEXTS))
    before = draw(st.sampled_from([[], [], [], ["-local-state-workdir=loop"], ["-compute-endpoint=x"], ["-version=x"]]))
    return [*before, *path, *words], wrong or bool(before)


def _flags_only(path: tuple[str, ...]) -> bool:
    return all(hasattr(param, "flag") for param in _COMMANDS[path].params)


def _try_command_line(case: tuple[list[str], bool]) -> Verdict:
    words, wrong = case
    return ran(*words, codes=(2,) if wrong and words[0] != "-local-state-workdir=loop" else (0, 1, 2, 3))


# Recipes


@st.composite
def _recipes(draw: st.DrawFn) -> str:
    """A recipe that is a text with some lines changed, or in which values are of other kinds."""
    lines = HELLO.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, max(len(lines) - 1, 0)))
        value = draw(st.one_of(st.sampled_from(YAML), st.text(max_size=10)))
        match draw(st.integers(0, 5)):
            case 0:
                lines[where] = f"{lines[where].partition(':')[0]}: {value}"
            case 1:
                lines.insert(where, lines[draw(st.integers(0, len(lines) - 1))])
            case 2:
                lines[where] = f"  {lines[where]}"
            case 3 if len(lines) > 1:
                del lines[where]
            case 4:
                lines.insert(where, value)
            case _:
                at = draw(st.integers(0, len(lines[where])))
                lines[where] = lines[where][:at] + value + lines[where][at:]
    return "\n".join(lines)


def _try_recipe(text: str) -> Verdict:
    content = text.encode("utf-8", "surrogatepass")
    return called(lambda: parse_recipe(content, "recipe", Path()).spec(), UsageError)


# Archives


def _archive(form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, kind, link in (
            ("a.sh", tarfile.REGTYPE, ""),
            ("d", tarfile.DIRTYPE, ""),
            ("d/" + "n" * 120, tarfile.REGTYPE, ""),
            ("l", tarfile.SYMTYPE, "a.sh"),
            ("h", tarfile.LNKTYPE, "a.sh"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 600 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return file.getvalue()[: 16 * 512]


_ARCHIVES = [_archive(tarfile.GNU_FORMAT), _archive(tarfile.PAX_FORMAT)]
_FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "size": (124, 12),
    "sum": (148, 8),
    "type": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "sparse": (386, 97),
    "real": (483, 12),
    "prefix": (345, 155),
}


@st.composite
def _archives(draw: st.DrawFn) -> bytes:
    """An archive in which headers claim other things, with sums that are right or not, or whose bytes are damaged."""
    data = bytearray(draw(st.sampled_from(_ARCHIVES)))
    for _ in range(draw(st.integers(1, 4))):
        start = 512 * draw(st.integers(0, len(data) // 512 - 1))
        match draw(st.integers(0, 4)):
            case 0 | 1:
                offset, length = _FIELDS[draw(st.sampled_from(sorted(_FIELDS)))]
                value = draw(st.one_of(st.sampled_from(HEADER_VALUES), st.binary(max_size=length)))[:length]
                data[start + offset : start + offset + len(value)] = value
                if draw(st.integers(0, 4)):
                    data[start + 148 : start + 156] = b" " * 8
                    data[start + 148 : start + 156] = b"%06o\0 " % (sum(data[start : start + 512]) & 0o777777)
            case 2:
                data[start:start] = data[512 * draw(st.integers(0, len(data) // 512 - 1)) :][:512]
            case 3 if len(data) > 1024:
                del data[start : start + draw(st.integers(1, 600))]
                data += bytes(-len(data) % 512)
            case _:
                data[start + draw(st.integers(0, 511))] = draw(st.integers(0, 255))
    packed = bytearray(gzip.compress(bytes(data), 1, mtime=0))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(packed) - 1))
        packed[at] = draw(st.integers(0, 255))
    return bytes(packed[: draw(st.sampled_from([len(packed)] * 5 + [len(packed) // 2, len(packed) - 4]))])


def _try_archive(content: bytes) -> Verdict:
    Path("a.tar.gz").write_bytes(content)
    return called(lambda: read_archive(Path("a.tar.gz"), "a.tar.gz"), UsageError)


# Local states

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "a\0b", "\ud800", "/", "..", "x" * 5000, "gs://b/o", "run-script", "install-gpu"]),
    st.text(max_size=5),
)
_FLAT = st.one_of(st.lists(_SCALARS, max_size=3), st.dictionaries(st.text(max_size=5), _SCALARS, max_size=3))
_JSON = st.one_of(_SCALARS, _FLAT, st.lists(_FLAT, max_size=2), st.dictionaries(st.text(max_size=5), _FLAT, max_size=2))


@st.composite
def _states(draw: st.DrawFn) -> Any:
    """A state in which something is of another kind, or whose text is damaged."""
    state = json.loads(json.dumps(STATE))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = state
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.integers(0, 4)) == 0:
                del place[key]
            else:
                place[key] = draw(_JSON)
            break
    text = json.dumps(state)
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(["", "[" * 5000, "9" * 5000, "\0", '"', "NaN"])) + text[at + 1 :]
    return text


def _try_state(text: str) -> Verdict:
    write_state(text)
    for words in (
        ("run-script", "-script=a.sh"),
        ("install-gpu", "-version=535.104.05"),
        ("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-suffix=-x", "-verify-script=a.sh"),
    ):
        if (verdict := ran(*words, codes=(0, 1, 2))).problem:
            return verdict
    return Verdict()


# Serial streams

_NONCE = "n0nce"
_STREAMS = st.tuples(
    st.lists(st.one_of(st.sampled_from(SERIAL_PIECES), st.binary(max_size=8)), max_size=30),
    st.lists(st.integers(0, 400), max_size=8),
)


def _try_stream(case: tuple[list[bytes], list[int]]) -> Verdict:
    pieces, cuts = case
    stream = b"".join(pieces)

    def parsed(parts: list[bytes]) -> list[object]:
        parser = SerialParser(_NONCE)
        return [*(event for part in parts for event in parser.feed(part)), *parser.finish()]

    try:
        whole = parsed([stream])
        places = sorted(min(cut, len(stream)) for cut in cuts)
        apart = parsed([stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)])
    except BaseException:
        return Verdict(traceback=traceback.format_exc())
    if whole != apart:
        return Verdict(wrong_code=f"{whole} in one piece, {apart} in several")
    if BuildSucceeded() in whole and b"BuildSucceeded[n0nce]:" not in stream.replace(b"\r", b"").replace(b"\0", b""):
        return Verdict(wrong_code=f"a success that nobody told: {stream!r}")
    return Verdict()


KINDS = (
    Kind("command lines", _command_lines(), _try_command_line),
    Kind("recipes", _recipes(), _try_recipe),
    Kind("archives", _archives(), _try_archive),
    Kind("local states", _states(), _try_state),
    Kind("serial streams", _STREAMS, _try_stream),
)


def timed(kind: Kind, case: Any) -> tuple[Verdict, float]:
    """Try a case; seconds that it took."""
    started = time.monotonic()
    verdict = kind.attempt(case)
    return verdict, time.monotonic() - started
