"""The program around the build steps: help, lists, refusals, completion, how errors look, what is imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.command_line import run
from support.paths import ROOT

from cos_customizer.cli import reference
from cos_customizer.cli.main import program
from cos_customizer.cli.messages import printable
from cos_customizer.cli.missing import MISSING_COMMANDS
from cos_customizer.cli.reference import commands
from cos_customizer.customizer.errors import BuildFailedError

BUILD_STEPS = ("start-image-build", "run-script", "finish-image-build")
COMMAND = [sys.executable, "-c", "import sys; from cos_customizer.cli.main import main; sys.exit(main())"]


def test_help_names_every_command() -> None:
    shown = run("help")
    assert shown.code == 0
    assert shown.err == ""
    for command in commands(program):
        assert command.name.split(" ")[0] in shown.out
    for name in MISSING_COMMANDS:
        assert name in shown.out
    assert run("-help").out == run("--help").out == run("-h").out == shown.out


@pytest.mark.parametrize(("first", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_second_signal_does_not_cut_short_what_the_first_has_begun(
    monkeypatch: pytest.MonkeyPatch, first: signal.Signals, code: int
) -> None:
    undone = []

    def work(_workdir: str | None) -> None:
        try:
            signal.raise_signal(first)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(number)
            undone.append(True)

    monkeypatch.setattr("cos_customizer.cli.state.StateDirectory.named", work)
    ended = run("run-script", "-script=a.sh")
    assert undone
    assert ended.code == code
    assert ended.err in ("cos-customizer: interrupted\n", "cos-customizer: terminated\n")


@pytest.mark.parametrize("name", BUILD_STEPS)
def test_help_explains_every_flag(name: str) -> None:
    shown = run("help", name)
    assert shown.code == 0
    assert run(name, "-help").out == run(name, "-h").out == shown.out
    explained = next(command for command in commands(program) if command.name == name)
    for flag in explained.flags:
        assert f"\n  {flag.written(' ')}\n" in shown.out
        assert flag.text
    assert max(map(len, shown.out.splitlines())) <= 100


@pytest.mark.parametrize("name", BUILD_STEPS)
def test_flags_that_take_a_value_have_an_example_that_is_read(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    for flag in next(each for each in commands(program) if each.name == name).flags:
        if flag.value:
            assert flag.example.startswith(f"{flag.name}=")
            command.make_context(name, [flag.example], parent=click.Context(program))


def test_commands_lists_them_one_a_line() -> None:
    lines = run("commands").out.splitlines()
    assert set(BUILD_STEPS) | {"help", "commands", "flags", "version", "completion", "emulator"} <= set(lines)
    assert not set(MISSING_COMMANDS) & set(lines)


@pytest.mark.parametrize("group", ["", "emulator"])
def test_every_file_of_a_command_is_a_command_and_nothing_else_lists_them(group: str) -> None:
    context = reference.find(click.Context(program), (group,) if group else ())
    place = ROOT / "cli" / "commands" / group
    files = {path.stem.replace("_", "-") for path in place.glob("[a-z]*") if path.suffix in (".py", "")}
    assert isinstance(context.command, click.Group)
    names = context.command.list_commands(context)
    assert len(names) == len(set(names))
    assert files == set(names)
    assert all(context.command.get_command(context, name).short_help for name in names)  # type: ignore[union-attr]


def test_a_group_by_itself_shows_its_help_and_nothing_around_it() -> None:
    alone = run("emulator")
    assert (alone.code, alone.out) == (2, "")
    assert alone.err == run("help", "emulator").out


def test_flags_lists_those_of_a_command() -> None:
    shown = run("flags", "run-script").out
    assert shown.startswith("  -script PATH\n        Path of the script")
    assert "-zone" not in shown
    everything = run("flags").out
    assert "cos-customizer run-script\n  -script PATH\n" in everything
    assert "cos-customizer finish-image-build\n" in everything


def test_version() -> None:
    assert run("--version").out == run("-version").out == run("version").out
    assert run("version").out.startswith("cos-customizer ")


@pytest.mark.parametrize("name", MISSING_COMMANDS)
def test_steps_that_are_not_there_yet_are_refused_by_name(name: str) -> None:
    for arguments in ([name], [name, "-version=396.26", "-what", "ever"]):
        refused = run(*arguments)
        assert refused.code == 2
        assert refused.err.startswith(f"cos-customizer: {name} is not there yet\n  hint: ")


USAGE = [
    (["run-cloudbuild", "x.yaml"], "there is no command 'run-cloudbuild'", "did you mean emulator run-cloudbuild?"),
    (["run-cloudbiuld"], "there is no command 'run-cloudbiuld'", "did you mean emulator run-cloudbuild?"),
    (["finish-image-build", "-image-nmae=x"], "unknown flag -image-nmae", "did you mean -image-name? see"),
    (["start-image-build", "-image-projet=x"], "unknown flag -image-projet", "did you mean -image-project? see"),
    (["build", "app.yaml"], "build takes flags only", "write -recipe=app.yaml; see"),
    (["rebuild-images", "app.yaml"], "rebuild-images takes flags only", "write -recipe=app.yaml; see"),
    (["run-script", "-script=a", "b"], "run-script takes flags only", "hint: see: cos-customizer help run-script"),
    (["run-script", r".\x.sh"], r"does not understand '.\x.sh'", r"write -script=.\x.sh;"),
    (["run-script", "-script=a", "-env=hunter2"], "-env: item 1 (not shown)", "hint: write -env=KEY=VALUE."),
    (["run-script", "-script=a", "-env=LIST=a,b,c"], "-env: item 2 (not shown)", "-set steps.0.env.KEY=a,b,c`."),
    (["finish-image-build", "-labels=a=1,b"], "-labels: 'b' is not", "pairs are written KEY=VALUE,KEY=VALUE."),
    (["run-scirpt"], "there is no command 'run-scirpt'", "did you mean run-script?"),
    (["help", "finish"], "there is no command 'finish'", "finish-image-build"),
    (["-what"], "unknown flag -what", ""),
    (["run-script", "-scirpt=x"], "unknown flag -scirpt", "did you mean -script?"),
    (["run-script", "x.sh"], "run-script takes flags only", "write -script=x.sh;"),
    (["completion", "tcsh"], "tcsh", "cos-customizer help completion"),
    (["completion"], "Missing", "cos-customizer help completion"),
    (["-local-state-workdir=/etc/passwd", "commands"], "-local-state-workdir: Directory '/etc/passwd' is a file", ""),
    (["emulator", "sotp"], "there is no command 'sotp'", "did you mean stop?"),
]


@pytest.mark.parametrize(("arguments", "message", "hint"), USAGE, ids=lambda value: str(value))
def test_wrong_usage(arguments: list[str], message: str, hint: str) -> None:
    refused = run(*arguments)
    assert refused.code == 2
    assert refused.out == ""
    first, _, rest = refused.err.partition("\n")
    assert first.startswith("cos-customizer: ")
    assert message in first
    assert hint in rest
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("arguments", [[], ["emulator"]])
def test_without_a_command_the_help_is_shown_as_it_is(arguments: list[str]) -> None:
    refused = run(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == run("help", *arguments).out
    assert refused.err.startswith("usage: ")


def test_a_bug_is_one_line_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> str:
        raise RuntimeError("out of\ncheese")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(reference, "version", fail)
    failed = run("version")
    assert failed.code == 1
    (file,) = tmp_path.iterdir()
    first, second = failed.err.splitlines()
    assert first == "cos-customizer: unexpected RuntimeError: out of"
    assert str(file) in second
    assert 'raise RuntimeError("out of\\ncheese")' in file.read_text()


def test_a_failed_build_shows_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise BuildFailedError("step 2/3 failed", "look", ("+ curl", "\x1b[31mno\x07 such host"))

    monkeypatch.setattr(reference, "version", fail)
    assert run("version").err == (
        "cos-customizer: step 2/3 failed\n    | + curl\n    | [31mno such host\n  hint: look\n"
    )


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_interruptions_have_their_exit_codes(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(reference, "version", fail)
    interrupted = run("version")
    assert interrupted.code == code
    assert len(interrupted.err.strip().splitlines()) == 1


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    program_ = subprocess.Popen([*COMMAND, "flags"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program_.stdout is not None
    program_.stdout.close()
    assert program_.stderr is not None
    assert program_.stderr.read() == b""
    program_.stderr.close()
    program_.wait()


def test_output_that_cannot_be_encoded_is_no_error() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run([*COMMAND, "flags"], env=environment, capture_output=True, check=True)
    assert b"NAME=VALUE," in shown.stdout


PRINTABLE = [
    ("plain", "plain"),
    ("tab\there", "tab here"),
    ("\x1b]0;title\x07\x1b[2J", "]0;title[2J"),
    ("bell\x07 back\x08 null\x00 return\r", "bell back null return"),
    ("\x9b31m \u202e \u2028", "31m  "),
    ("Grüße, 東京 🎉", "Grüße, 東京 🎉"),
]


@pytest.mark.parametrize(("text", "expected"), PRINTABLE)
def test_nothing_printed_can_steer_a_terminal(text: str, expected: str) -> None:
    assert printable(text) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["help", "finish-image-build"],
        ["flags"],
        ["run-script", "-script=x"],
        ["install-gpu", "-version=latest"],
    ],
    ids=" ".join,
)
def test_light_commands_import_little(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from cos_customizer.cli.main import main; main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True
    )
    imported = set(ran.stderr.decode().splitlines()[-1].split())
    assert "click" in imported
    heavy = {"prefect", "google", "pydantic", "yaml", "rich"} | ({"flask"} if arguments != ["flags"] else set())
    assert not imported & heavy


SHELLS = [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --no-files")]


@pytest.mark.parametrize(("shell", "marker"), SHELLS)
def test_completion_scripts(shell: str, marker: str) -> None:
    shown = run("completion", shell)
    assert shown.code == 0
    assert marker in shown.out
    assert "_COS_CUSTOMIZER_COMPLETE" in shown.out


COMPLETED = [
    (["run-"], {"run-script"}),
    (["emu"], {"emulator"}),
    (["run-script", "-sc"], {"-script"}),
    (["run-script", "--sc"], {"--script"}),
    (["run-script", "-"], {"-script", "-env", "-env-secret", "-repeat-after-reboot", "-local-state-workdir"}),
    (["finish-image-build", "-no-e"], {"-no-external-ip"}),
    (["finish-image-build", "-zone=a", "-disk-"], {"-disk-size-gb", "-disk-type"}),
    (["finish-image-build", "-inherit-labels", "-lab"], {"-labels"}),
    (["finish-image-build", "-what", "-lab"], {"-labels"}),
    (["start-image-build", "-image-architecture", "a"], {"arm64"}),
    (["start-image-build", "-image-architecture", "=", "a"], {"arm64"}),
    (["start-image-build", "-image-architecture", "="], {"arm64", "x86_64"}),
    (["-local-state-workdir=x", "fin"], {"finish-image-build"}),
    (["help", "fi"], {"finish-image-build"}),
    (["help", "emulator", "sto"], {"stop"}),
    (["emulator", "bo"], {"boot"}),
    (["emulator", "boot", "my-image", "-fam"], {"-family"}),
]


@pytest.mark.parametrize(
    ("words", "expected"), COMPLETED, ids=lambda value: " ".join(sorted(value) if type(value) is set else value)
)
def test_bash_completes(words: list[str], expected: set[str], tmp_path: Path) -> None:
    # As the completion script does: words of COMP_WORDS, where bash has split off each `=`.
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "_COS_CUSTOMIZER_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(["cos-customizer", *words]),
        "COMP_CWORD": str(len(words)),
    }
    shown = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True).stdout
    assert {line.partition(",")[2] for line in shown.splitlines()} == expected


def test_bash_itself_completes(tmp_path: Path) -> None:
    wrapper = tmp_path / "cos-customizer"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{COMMAND[2]}" "$@"\n')
    wrapper.chmod(0o755)
    script = """
    eval "$(cos-customizer completion bash)"
    COMP_WORDS=(cos-customizer run-script -s) COMP_CWORD=2
    _cos_customizer_completion cos-customizer
    echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert shown.stdout.strip() == "-script", shown.stderr
