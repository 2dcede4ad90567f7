"""`emulator images`, `vms`, `console` and `cat`: what an emulator has, found without its project or zone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.command_line import Ran, run
from support.compute_clients import PROJECT, Compute
from support.family_images import OURS
from support.leftovers import UNRELEASED, store
from support.storage_clients import anonymous_bucket
from support.waiting import PATIENCE

from cos_customizer.cli import reference
from cos_customizer.cli.commands.emulator import _running
from cos_customizer.cli.console_text import ConsoleText
from cos_customizer.cli.main import program
from cos_customizer.emulator.server import Emulator

COMMAND = (sys.executable, "-c", "import sys; from cos_customizer.cli.main import main; sys.exit(main())", "emulator")


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def rows(ran: Ran) -> list[list[str]]:
    """A table's rows, by their columns."""
    assert (ran.code, ran.err) == (0, "")
    head, *lines = ran.out.splitlines()
    starts = [name.start() for name in re.finditer(r"\S+(?: \S+)*", head)]
    ends = [*starts[1:], None]
    return [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]


def test_images_are_listed_from_all_projects_with_what_became_of_them(compute: Compute) -> None:
    compute.image("app-1", family="app", description=OURS)
    compute.image("app-2", labels=UNRELEASED)
    there = rows(run("emulator", "images"))
    assert [(row[0], row[1], row[2], row[3]) for row in there] == [
        (PROJECT, "app-2", "", "unreleased"),
        (PROJECT, "app-1", "app", "ready"),
    ]
    assert [row[4] for row in there] == ["10 GB", "10 GB"]
    assert there[0][7] == "cos-cloud/cos-stable-68-10718-86-0"
    assert "build " in there[1][7]


def test_images_to_start_from_are_listed_where_they_are_asked_for(emulator: Emulator) -> None:
    nothing = run("emulator", "images")
    assert (nothing.code, nothing.out) == (0, "")
    assert "-project=cos-cloud lists those to start from" in nothing.err
    names = {row[1]: row[3] for row in rows(run("emulator", "images", "-project=cos-cloud"))}
    assert names["cos-stable-68-10718-86-0"] == "ready"


def test_vms_are_listed_from_all_zones(compute: Compute) -> None:
    compute.create("one", description="the first")
    compute.create("two", "us-east1-b")
    compute.stop("one")
    assert [(row[1], row[2], row[3], row[6]) for row in rows(run("emulator", "vms"))] == [
        ("us-west1-b", "one", "TERMINATED", "the first"),
        ("us-east1-b", "two", "RUNNING", ""),
    ]


def test_a_console_is_found_by_the_vm_s_name_alone(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"port": 1, "text": "Booting\r\n"}, {"port": 3, "text": "BuildStatus: \xe9\n"}]})
    compute.create("app", "us-east1-b")
    assert run("emulator", "console", "app").out == "Booting\r\n"
    assert run("emulator", "console", "app", "-port=3").out == "BuildStatus: \xe9\n"
    assert run("emulator", "console", "-port=3", "app").out == "BuildStatus: \xe9\n"


def test_a_console_is_followed_until_the_vm_stops(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add(
        {"events": [{"port": 1, "text": "up\n"}, {"port": 1, "text": "down\n", "after": 60}, {"power_off": True}]}
    )
    compute.create("app")
    following = subprocess.Popen(
        [*COMMAND, "console", "app", "-follow"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert following.stdout is not None
    with following:
        assert following.stdout.readline() == b"up\n"
        emulator.clock.advance(61)
        assert following.stdout.read() == b"down\n"
    assert following.returncode == 0


def test_an_object_s_bytes_are_printed_as_they_are(emulator: Emulator, warm_program: str) -> None:
    content = bytes(range(256)) * 5000
    anonymous_bucket().blob("work/serial.log").upload_from_string(content)
    url = "gs://my-project_cloudbuild/work/serial.log"
    done = subprocess.run([warm_program, "emulator", "cat", url], capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout == content


MISSING = {
    "a VM that is misspelt": (("console", "ap"), 1, "there is no VM 'ap'", "did you mean app?"),
    "a VM that is nowhere": (("console", "zzz"), 1, "there is no VM 'zzz'", "`cos-customizer emulator vms`"),
    "another zone": (("console", "app", "-zone=us-east1-b"), 1, "there is no VM 'app'", "emulator vms"),
    "a port": (("console", "app", "-port=5"), 2, "there is no serial port 5", "1 to 4"),
    "two of a name": (("console", "two"), 2, "there are 2 VMs two", "-project=my-project -zone=us-east1-b"),
    "no object": (("cat", "gs://my-project_cloudbuild/work/serial.lo"), 1, "no object", "work/serial.log?"),
    "a directory": (("cat", "gs://my-project_cloudbuild/work/"), 1, "no object", "below it: gs://my-project_cl"),
    "a bucket": (("cat", "gs://my-project_cloudbild/x"), 1, "no bucket", "did you mean gs://my-project_cloudbuild?"),
    "no address": (("cat", "my-project_cloudbuild/x"), 2, "is not the address of an object", "emulator cat"),
    "no object's address": (("cat", "gs://my-project_cloudbuild"), 2, "gs://BUCKET/OBJECT", "emulator cat"),
    "no name": (("cat",), 2, "Missing argument", "emulator cat"),
    "a project": (("images", "-project=No"), 2, "-project: ", ""),
}


def test_what_is_not_there_is_said_with_what_is_like_it(compute: Compute) -> None:
    compute.create("app")
    compute.create("two")
    compute.create("two", "us-east1-b")
    store(anonymous_bucket(), "work/serial.log", {})
    for case, (arguments, code, message, hint) in MISSING.items():
        ran = run("emulator", *arguments)
        assert (ran.code, ran.out) == (code, ""), case
        assert message in ran.err, case
        assert hint in ran.err, case


COMMANDS = (("images",), ("vms",), ("console", "vm"), ("cat", "gs://bucket/object"), ("boot", "image"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_where_no_emulator_runs_it_is_said_how_to_start_one(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*_running.VARIABLES, *_running.OPTIONAL_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for flags, where in (((), ""), ((f"-state-dir={tmp_path}",), f" on {tmp_path}")):
        ran = run("emulator", *command, *flags)
        assert ran.code == 1
        assert ran.err == (
            f"cos-customizer: the emulator does not run{where}\n"
            '  hint: start it: eval "$(cos-customizer emulator start)".\n'
        )
    monkeypatch.setenv(_running.VARIABLES[0], "http://127.0.0.1:1/compute/v1/")
    monkeypatch.setenv(_running.VARIABLES[1], "http://127.0.0.1:1")
    gone = run("emulator", *command)
    assert gone.code == 1
    assert "no emulator answers at http://127.0.0.1:1/compute/v1/" in gone.err
    monkeypatch.setenv(_running.VARIABLES[0], "https://compute.googleapis.com/compute/v1/")
    assert "is not this machine" in run("emulator", *command).err


def test_on_a_terminal_a_console_steers_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with ConsoleText() as text:
        text.write(b"\x1b[32m  OK  \x1b[0m Started\x1b]0;title\x07\r\nhal")
        text.write(b"f\r\n\x1b[2Jno end")
    assert capsys.readouterr().out == "  OK   Started␛]0;title␇\nhalf\nno end\n"


def test_a_project_is_known_after_a_restart_by_what_it_has(tmp_path: Path) -> None:
    with Emulator(tmp_path / "state") as first:
        first.list("projects/my-project/global/images")
        Compute(first).image("app-1")
    with Emulator(tmp_path / "state", projects=()) as second:
        assert second.status()["projects"] == [PROJECT]


def test_a_shell_completes_the_names_that_there_are(
    compute: Compute, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute.image("app-1")
    compute.create("app-vm", "us-east1-b")
    boot, console = (reference.find(click.Context(program), ("emulator", name)) for name in ("boot", "console"))

    def completed(context: click.Context, incomplete: str) -> list[str]:
        argument = next(each for each in context.command.params if isinstance(each, click.Argument))
        return [item.value for item in argument.shell_complete(context, incomplete)]

    assert (completed(boot, "ap"), completed(boot, "b")) == (["app-1"], [])
    assert completed(console, "") == ["app-vm"]
    for name in _running.VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert completed(boot, "ap") == []
