"""Flags are read as Go's flag package reads them: https://pkg.go.dev/flag."""

from typing import Any

import click
import pytest

from cos_customizer.cli.flag import Flag, flag_names, spec_fields
from cos_customizer.cli.flag_kinds import (
    ChoiceFlag,
    DurationFlag,
    IntegerFlag,
    ListFlag,
    MapFlag,
    NegatingFlag,
    SwitchFlag,
    TextsFlag,
)
from cos_customizer.cli.go_flags import GoCommand
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.fields import FieldPath, Message, Option

FLAGS = [
    Flag("name", "A text.", field="part.name"),
    IntegerFlag("count", "A number.", default=0),
    DurationFlag("timeout", "A duration.", default="1h0m0s"),
    SwitchFlag("force", "A switch."),
    NegatingFlag("no-ip", Option("part.ip", "Give it an address.", True)),
    MapFlag("labels", "A map.", field="part.labels"),
    MapFlag("env", "A map of secrets.", secret=True),
    ListFlag("zone", "A list.", field="part.zones"),
    TextsFlag("set", "Texts."),
    ChoiceFlag("arch", "A choice.", choices=("x86_64", "arm64"), default="x86_64"),
]
DEFAULTS: dict[str, Any] = {
    "name": None,
    "count": 0,
    "timeout": "1h0m0s",
    "force": False,
    "no_ip": False,
    "labels": {},
    "env": {},
    "zone": [],
    "set": [],
    "arch": "x86_64",
}


@click.command("test", cls=GoCommand, params=FLAGS)
def command(**values: Any) -> dict[str, Any]:
    return values


def parse(*arguments: str) -> dict[str, Any]:
    result = command.main(list(arguments), "test", standalone_mode=False)
    assert isinstance(result, dict)
    return result


READ = [
    ([], {}),
    (["-name=x"], {"name": "x"}),
    (["--name=x"], {"name": "x"}),
    (["-name", "x"], {"name": "x"}),
    (["--name", "x"], {"name": "x"}),
    (["-name="], {"name": ""}),
    (["-name", ""], {"name": ""}),
    (["-name=a=b"], {"name": "a=b"}),
    (["-name", "-force"], {"name": "-force"}),  # the next argument is the value, whatever it looks like
    (["-name", "--"], {"name": "--"}),
    (["-name=a", "-name=b"], {"name": "b"}),
    (["-name= x "], {"name": " x "}),
    (["-force"], {"force": True}),
    (["--force"], {"force": True}),
    *[([f"-force={text}"], {"force": True}) for text in ("1", "t", "T", "true", "TRUE", "True")],
    *[([f"-force={text}"], {"force": False}) for text in ("0", "f", "F", "false", "FALSE", "False")],
    (["-force", "-force=false"], {"force": False}),
    (["-force", "-name=x"], {"force": True, "name": "x"}),
    (["-no-ip"], {"no_ip": True}),
    (["-no-ip=false"], {"no_ip": False}),
    (["-count=12"], {"count": 12}),
    (["-count=-3"], {"count": -3}),
    (["-count", "-3"], {"count": -3}),
    (["-count=0x1F"], {"count": 31}),
    (["-count=0b11"], {"count": 3}),
    (["-count=0o17"], {"count": 15}),
    (["-count=017"], {"count": 15}),
    (["-count=1_000"], {"count": 1000}),
    (["-timeout=1h30m"], {"timeout": "1h30m0s"}),
    (["-timeout=90s"], {"timeout": "1m30s"}),
    (["-timeout", "1.5h"], {"timeout": "1h30m0s"}),
    (["-timeout=300ms"], {"timeout": "300ms"}),
    (["-timeout="], {"timeout": ""}),
    (["-labels=a=1,b=2"], {"labels": {"a": "1", "b": "2"}}),
    (["-labels=a=1,b=2", "-labels=b=3,c=4"], {"labels": {"a": "1", "b": "3", "c": "4"}}),
    (["-labels=a="], {"labels": {"a": ""}}),
    (["-labels=a=b=c"], {"labels": {"a": "b=c"}}),
    (["-labels="], {}),
    (["-labels", "a=1"], {"labels": {"a": "1"}}),
    (["-zone=a"], {"zone": ["a"]}),
    (["-zone=a,b", "-zone=c"], {"zone": ["a", "b", "c"]}),
    (["-zone="], {}),
    (["-set=a=1,b=2", "-set", "-c", "--set="], {"set": ["a=1,b=2", "-c", ""]}),  # nothing is split
    (["-arch=arm64"], {"arch": "arm64"}),
    (["-arch="], {"arch": ""}),
    (["--"], {}),
    (["-force", "--"], {"force": True}),
]


@pytest.mark.parametrize(("arguments", "expected"), READ, ids=lambda value: " ".join(value) if value else "-")
def test_flags_are_read(arguments: list[str], expected: dict[str, Any]) -> None:
    assert parse(*arguments) == {**DEFAULTS, **expected}


REFUSED = [
    (["-nmae=x"], "unknown flag -nmae", "did you mean -name?"),
    (["-what"], "unknown flag -what", "cos-customizer help"),
    (["--Name=x"], "unknown flag -Name", "-name"),
    (["-name"], "-name needs a value", ""),
    (["---name=x"], "'---name=x' is not a flag", ""),
    (["-=x"], "'-=x' is not a flag", ""),
    (["--=x"], "'--=x' is not a flag", ""),
    (["-force", "true"], "does not understand 'true'", "-flag=false"),
    (["-force=yes"], "-force: 'yes' is neither true nor false", "-force=false"),
    (["-force="], "-force: '' is neither true nor false", ""),
    (["file", "-name=x"], "does not understand 'file' '-name=x'", ""),
    (["-name=x", "--", "-force"], "does not understand '-force'", ""),
    (["-name=x", "-"], "does not understand '-'", ""),
    (["-count=ten"], "-count: 'ten' is not a whole number", ""),
    (["-count=1.5"], "-count: '1.5' is not a whole number", ""),
    (["-count= 1"], "-count: ' 1' is not a whole number", ""),
    (["-count=٣"], "is not a whole number", ""),
    (["-count=09"], "is not a whole number", ""),
    (["-count="], "-count: '' is not a whole number", ""),
    (["-timeout=90"], "-timeout: '90' is not a duration", "1h30m"),
    (["-labels=a"], "-labels: 'a' is not of the form key=value", "KEY=VALUE"),
    (["-labels=a=1,,b=2"], "-labels: '' is not of the form key=value", ""),
    (["-labels==1"], "-labels: '=1' is not of the form key=value", ""),
    (["-arch=sparc"], "-arch: 'sparc' is not one of x86_64, arm64", ""),
]


@pytest.mark.parametrize(("arguments", "message", "hint"), REFUSED, ids=lambda value: str(value))
def test_what_is_wrong_is_named(arguments: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_part_of_a_secret_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse("-env=PASSWORD=hunter2,hunter3")
    assert "hunter" not in caught.value.message + caught.value.hint
    assert "item 2" in caught.value.message


@pytest.mark.parametrize("flag", ["-h", "-help", "--help", "--h"])
def test_help_is_shown(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["-name=x", flag], "test", standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert "  -timeout DURATION\n      A duration. Default: 1h0m0s.\n" in shown
    assert "--" not in shown.replace("--help", "")


def test_values_go_to_the_fields_that_the_flags_name() -> None:
    values = parse("-name=x", "-no-ip", "-labels=a=1", "-count=3", "-zone=")
    assert spec_fields(FLAGS, values) == {"part": {"name": "x", "ip": False, "labels": {"a": "1"}}}


NAMED: list[tuple[FieldPath, str]] = [
    (FieldPath("part.name"), "-name"),
    (FieldPath("part.name", "x"), "-name=x"),
    (FieldPath("part.name", exact=True), "-name (part.name)"),
    (FieldPath("part.ip", False), "-no-ip"),
    (FieldPath("part.ip", True), "-no-ip=false"),
    (FieldPath("part.zones.3", exact=True), "-zone (part.zones.3)"),
    (FieldPath("part.labels.a.b"), "-labels"),
    (FieldPath("part.colour", "blue"), "part.colour: blue"),
    (FieldPath("part"), "part"),
    (FieldPath("name").below(FieldPath("part")), "-name"),
    (FieldPath("name").below(FieldPath("parts.0", kind="part.0")), "-name"),
]


@pytest.mark.parametrize(("field", "shown"), NAMED, ids=[f"{field!r}" for field, _ in NAMED])
def test_a_field_is_called_by_the_flag_that_sets_it_or_what_holds_it(field: FieldPath, shown: str) -> None:
    assert flag_names(FLAGS)(field) == shown


def test_an_error_of_the_core_reaches_people_with_the_command_s_flags() -> None:
    @click.command("failing", cls=GoCommand, params=FLAGS)
    def failing(**_values: Any) -> None:
        raise CustomizerError(Message("{} needs {}", FieldPath("part.name"), FieldPath("part.ip", False)), "try again.")

    with pytest.raises(CustomizerError) as caught:
        failing.main([], "failing", standalone_mode=False)
    assert (caught.value.message, caught.value.hint) == ("-name needs -no-ip", "try again.")


def test_a_flag_that_its_command_does_not_run_without_is_asked_for() -> None:
    @click.command("needy", cls=GoCommand, params=[Flag("name", "A text.", needed=True)])
    def needy(name: str) -> str:
        return name

    assert needy.main(["-name=x"], "needy", standalone_mode=False) == "x"
    for arguments in ([], ["-name="]):
        with pytest.raises(UsageError, match="-name must be given"):
            needy.main(arguments, "needy", standalone_mode=False)
    assert needy.params[0].help == "A text. Required."


def test_help_has_the_field_s_text_in_the_words_of_the_flags() -> None:
    text = Message("Where to look, with {} and {}.", FieldPath("part.name"), FieldPath("part.ip"))
    flags = [
        Flag("name", "A text.", field="part.name"),
        NegatingFlag("no-ip", Option("part.ip", Message("Give {} an address.", FieldPath("part.name")), True)),
        ListFlag("zone", Option("part.zones", text), also="In turn."),
    ]
    GoCommand("test", params=list(flags))
    assert [flag.help for flag in flags] == [
        "A text.",
        "Do not give -name an address.",
        "Where to look, with -name and -no-ip. In turn. May be repeated.",
    ]
