"""What rooms below the command line say to people names fields: who shows it knows by which flags those are set."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

from cos_customizer.cli.main import program
from cos_customizer.cli.reference import commands

BELOW = ("flows", "tasks", "gcp", "guest", "customizer")
FLAGS = {flag.name.lstrip("-") for command in commands(program) for flag in command.flags}
FLAG = re.compile(rf"(?<![-\w$}}])-(?:{'|'.join(FLAGS)})(?![-\w])")
"""One of our flags as we write it: one hyphen, at the beginning of a word."""
NOT_OURS = {
    ("guest/steps/install_gpu.sh", '("-version=$version"'),  # cos-extensions has a flag of this name
}


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """The texts of a module with their lines, but for docstrings: texts that are statements."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def bash_texts(source: str) -> Iterator[tuple[int, str]]:
    """The words of a script with their lines, but for comments."""
    for number, line in enumerate(source.splitlines(), start=1):
        if not line.lstrip().startswith("#"):
            yield number, line


def flags_in(path: Path) -> list[str]:
    texts = python_texts if path.suffix == ".py" else bash_texts
    name = str(path.relative_to(ROOT))
    return [
        f"{name}:{number}: {text.strip()}"
        for number, text in texts(path.read_text(encoding="utf-8"))
        if FLAG.search(text) and not any(name == file and part in text for file, part in NOT_OURS)
    ]


@pytest.mark.parametrize("room", BELOW)
def test_no_message_below_the_command_line_names_a_flag(room: str) -> None:
    files = [path for path in sorted((ROOT / room).rglob("*")) if path.suffix in (".py", ".sh")]
    assert files
    assert [flag for path in files for flag in flags_in(path)] == []


@pytest.mark.parametrize(
    "text",
    [
        "-zone takes a list",
        "see -image-family.",
        "give `install-gpu -no-gpu`",
        "-md5sum: x",
        '"-version=$version needs',
    ],
)
def test_a_flag_is_found(text: str) -> None:
    assert FLAG.search(text)


@pytest.mark.parametrize(
    "text",
    ["pre-set", "run-script", "--project=x", "$-env", "cos-customizer-timeout", "gs://b/-x", "-host-dir=x", "cos-zone"],
)
def test_what_is_no_flag_of_ours_is_left_alone(text: str) -> None:
    assert not FLAG.search(text)
