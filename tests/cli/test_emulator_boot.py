"""`emulator boot`: a command's output and exit code are passed on, and nothing is left, however it ends."""

import base64
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud import compute_v1
from support.command_line import run
from support.compute_clients import COS, PROJECT, ZONE, Compute
from support.programs import read_until, rest_of
from support.waiting import wait_for

from cos_customizer.emulator.server import Emulator

NAME = COS.rpartition("/")[2]
NONCE = {"nonce": {"metadata": "user-data", "pattern": r"(?m)^\s*nonce=(\w+)"}}


@pytest.fixture
def compute(emulator: Emulator) -> Iterator[Compute]:
    compute = Compute(emulator)
    yield compute
    assert compute.names("instances") == compute.names("disks") == []


def line(what: str, after: float = 0.0) -> dict[str, Any]:
    return {"text": f"\nCommand[${{nonce}}]: {what}\n", "after": after}


def printed(stream: str, data: bytes) -> dict[str, Any]:
    return line(f"{stream} {base64.b64encode(data).decode()}")


def guest(*events: dict[str, Any]) -> dict[str, Any]:
    """A script for a VM that runs a command."""
    return {"match": {"name": "boot-.*"}, "variables": NONCE, "events": list(events)}


def test_what_a_command_prints_and_its_exit_code_are_passed_on(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add(
        guest(
            line("started"), printed("out", b"one\n"), printed("err", b"two\n"), printed("out", b"3"), line("ended 7")
        )
    )
    ran = run("emulator", "boot", NAME, "--", "sh", "-c", "exit 7")
    assert (ran.code, ran.out) == (7, "one\n3")
    head, *errors = ran.err.splitlines()
    assert head.startswith(f"emulator: booting {NAME} of cos-cloud as boot-cos-stable-68-")
    assert errors == ["two"]


def test_the_vm_is_as_the_flags_say(compute: Compute, emulator: Emulator, tmp_path: Path) -> None:
    seen: list[Any] = []

    def play(spec: Any) -> list[dict[str, Any]]:
        seen.append(spec)
        return [{"power_off": True}]

    emulator.scripts.add(play)
    (tmp_path / "user-data").write_text("#cloud-config\nruncmd: [ls]\n")
    flags = (f"-user-data={tmp_path / 'user-data'}", "-metadata=role=web,tier=2", "-zone=us-east1-b")
    assert run("emulator", "boot", *flags, "-machine-type=n1-standard-2", f"cos-cloud/{NAME}").code == 0
    (spec,) = seen
    assert (spec.zone, spec.machine_type) == ("us-east1-b", "n1-standard-2")
    assert {key: spec.attributes[key] for key in ("role", "tier")} == {"role": "web", "tier": "2"}
    assert spec.attributes["user-data"] == "#cloud-config\nruncmd: [ls]\n"


def test_a_command_is_run_beside_user_data(compute: Compute, emulator: Emulator, tmp_path: Path) -> None:
    seen: list[str] = []

    def play(spec: Any) -> list[dict[str, Any]]:
        seen.append(spec.attributes["user-data"])
        return [{"power_off": True}]

    emulator.scripts.add(play)
    (tmp_path / "user-data").write_text("#cloud-config\nruncmd: [ls]\n")
    run("emulator", "boot", NAME, f"-user-data={tmp_path / 'user-data'}", "--", "cat", "--", "-x")
    assert "\n#cloud-config\nruncmd: [ls]\n" in seen[0]
    assert "command=(cat -- -x)" in seen[0]
    assert yaml.safe_load(seen[0].partition("+str()\n")[2].partition("--cos-")[0])["write_files"]


def test_without_a_command_the_console_is_shown_until_the_vm_stops(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"port": 1, "text": "Welcome\r\n"}, {"power_off": True}]})
    ran = run("emulator", "boot", NAME)
    assert (ran.code, ran.out) == (0, "Welcome\r\n")
    assert "Ctrl-C deletes the VM" in ran.err
    assert "it has stopped by itself" in ran.err


ENDS = {
    "the VM stops": ([line("started"), {"power_off": True}], "the VM has stopped before the command had ended"),
    "the VM crashes at once": ([{"crash": True}], "the VM has stopped before the command had ended"),
    "the VM restarts": ([line("started"), line("restarted")], "the VM has restarted before the command had ended"),
    "it never begins": ([], "the VM has not begun the command within 2.0 s"),
    "it never ends": ([line("started")], "the command has not ended within 2.0 s"),
}


@pytest.mark.parametrize(("events", "message"), ENDS.values(), ids=ENDS)
def test_a_command_that_does_not_end_is_an_error_with_the_console_s_last_lines(
    events: list[dict[str, Any]], message: str, compute: Compute, emulator: Emulator
) -> None:
    emulator.scripts.add(guest({"port": 1, "text": "\x1b[1mKernel panic\x1b[0m\r\n"}, *events))
    ran = run("emulator", "boot", NAME, "-timeout=2s" if "2.0 s" in message else "-timeout=1h", "--", "ls")
    assert (ran.code, ran.out) == (1, "")
    assert f"cos-customizer: {message}\n    | Kernel panic\n" in ran.err


def test_a_console_that_is_looked_at_for_long_is_not_shown_twice(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"port": 1, "text": "Welcome\n"}]})
    ran = run("emulator", "boot", NAME, "-timeout=2s")
    assert (ran.code, ran.out) == (1, "Welcome\n")
    assert "cos-customizer: the VM has not stopped within 2.0 s\n  hint: -timeout gives it more time.\n" in ran.err


def test_a_console_that_has_lost_something_says_so(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add(guest(line("started"), line("out aGVsb"), line("ended 0")))
    ran = run("emulator", "boot", NAME, "--", "cat", "file")
    assert (ran.code, ran.out) == (0, "")
    assert "some of its output was lost" in ran.err


def test_a_line_of_shell_that_is_no_program_is_explained(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add(guest(line("started"), line("ended 127")))
    assert "needs a shell: -- sh -c 'ls | wc'" in run("emulator", "boot", NAME, "--", "ls | wc").err


def test_a_zone_without_machines_leaves_nothing(compute: Compute, emulator: Emulator) -> None:
    emulator.stock_out(ZONE)
    ran = run("emulator", "boot", NAME, "--", "ls")
    assert (ran.code, ran.out) == (1, "")
    assert "could not create VM boot-cos-stable" in ran.err


def test_a_disk_that_stays_is_said(emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"power_off": True}]})
    for count, arguments in enumerate(([], ["--", "ls"]), start=1):
        emulator.faults.add(kind="http", method="DELETE", path="/(instances|disks)/boot-", status=403, count=100)
        ran = run("emulator", "boot", NAME, *arguments)
        emulator.faults.clear()
        assert ran.code == 1
        assert "left behind: VM boot-cos-stable-68-10718-86-0-" in ran.err
        assert len(Compute(emulator).names("instances")) == count


def test_an_image_is_found_by_name_family_and_link(compute: Compute, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"power_off": True}]})
    for name in ("web-1", "web-2"):
        compute.image(name, family="web")
    path = f"projects/{PROJECT}/global/images"
    ways = {
        ("web-1",): "web-1 of my-project",
        ("my-project/web-1",): "web-1 of my-project",
        ("-project=my-project", "web-1"): "web-1 of my-project",
        (f"{path}/web-1",): "web-1 of my-project",
        (f"https://www.googleapis.com/compute/v1/{path}/web-1",): "web-1 of my-project",
        ("-family=web",): "web-2 of my-project",
        (f"{path}/family/web",): "web-2 of my-project",
        ("-family=cos-stable",): " of cos-cloud",
    }
    for arguments, named in ways.items():
        ran = run("emulator", "boot", *arguments)
        assert (ran.code, named in ran.err) == (0, True), (arguments, ran.err)


MISTAKES = {
    "an image that is misspelt": (("web-l", "--", "ls"), 1, "there is no image 'web-l'", "did you mean web-1"),
    "a family that is misspelt": (("-family=wbe",), 1, "there is no family 'wbe'", "did you mean web?"),
    "a family that gives none": (("-family=old",), 1, "family old of my-project gives no image", "deprecated"),
    "another project's": (("web-1", "-project=other-project"), 1, "there is no image 'web-1'", "emulator images"),
    "several": (("twice",), 2, "there are 2 images twice", "-project=my-project or -project=other-project"),
    "no image": ((), 2, "IMAGE or -family must be given", "emulator boot"),
    "both": (("web-1", "-family=web"), 2, "and not both", ""),
    "a command without dashes": (("web-1", "ls", "/"), 2, "'ls' '/'", "emulator boot web-1 -- ls /"),
    "no command": (("web-1", "--"), 2, "the command is missing after --", "leave -- out"),
    "no time": (("web-1", "-timeout=0"), 2, "-timeout", "10m"),
    "no such file": (("web-1", "-user-data=none"), 2, "-user-data: none cannot be read: No such file", ""),
    "user-data twice": (("web-1", "-user-data=/dev/null", "-metadata=user-data=x"), 2, "one and the same", ""),
    "a zone that is none": (("web-1", "-zone=us-west1"), 1, "us-west1", ""),
}


def test_mistakes_are_explained_and_boot_nothing(compute: Compute) -> None:
    for name in ("web-1", "old-1", "twice"):
        compute.image(name, family=name.partition("-")[0])
    twin = compute_v1.Image(name="twice", source_image=COS)
    compute.images.insert_unary(project="other-project", image_resource=twin)
    compute.ok(
        compute.images.deprecate_unary(
            project=PROJECT, image="old-1", deprecation_status_resource=compute_v1.DeprecationStatus(state="DEPRECATED")
        )
    )
    wait_for(lambda: compute.emulator.list("projects/other-project/global/images"))
    for case, (arguments, code, message, hint) in MISTAKES.items():
        ran = run("emulator", "boot", *arguments)
        assert (ran.code, ran.out) == (code, ""), case
        assert message in ran.err, case
        assert hint in ran.err, case


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["--", "sleep", "1000"], signal.SIGINT),
        (["--", "sleep", "1000"], signal.SIGTERM),
        (["--", "sleep", "1000"], signal.SIGKILL),
        ([], signal.SIGINT),
        ([], signal.SIGHUP),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else "command" if value else "console",
)
def test_whatever_ends_it_nothing_is_left(
    words: list[str], number: signal.Signals, compute: Compute, emulator: Emulator, warm_program: str
) -> None:
    up = {"port": 1, "text": "up\n"}
    emulator.scripts.add(guest(line("started"), printed("out", b"up\n")) if words else {"events": [up]})
    booting = subprocess.Popen(
        [warm_program, "emulator", "boot", NAME, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    read_until(booting, "up")
    assert compute.names("instances") == compute.names("disks") != []
    booting.send_signal(number)
    rest_of(booting)
    if number == signal.SIGKILL:
        emulator.clock.advance(3600)  # its time is up
        wait_for(lambda: not compute.names("instances"))
    else:
        assert booting.returncode == 128 + number


@pytest.mark.slow
def test_a_signal_while_the_vm_is_deleted_leaves_nothing(
    compute: Compute, emulator: Emulator, warm_program: str
) -> None:
    emulator.scripts.add(guest(line("started"), line("ended 0")))
    emulator.faults.add(kind="hold", method="DELETE", path="/instances/boot-", when="before")
    booting = subprocess.Popen([warm_program, "emulator", "boot", NAME, "--", "ls"], stdout=-1, stderr=-1, text=True)
    wait_for(lambda: any(fault.get("held") for fault in emulator.faults.list()))
    booting.send_signal(signal.SIGINT)
    _, errors = rest_of(booting)
    emulator.faults.clear()
    assert booting.returncode == 130, errors
    wait_for(lambda: not compute.names("instances"))
