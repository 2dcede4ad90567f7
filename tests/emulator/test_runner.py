"""Workflows run as processes of this machine: their order, what they share, and how they are ended."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cos_customizer.emulator.cloud_build.model import Step
from cos_customizer.emulator.cloud_build.processes import Processes
from cos_customizer.emulator.cloud_build.runner import Outcome, build_directories, run_workflow
from cos_customizer.emulator.cloud_build.workflow import parse_workflow

SOON = 300.0
"""Seconds that a step waits for what should come at once, before it gives up."""


class Ran:
    """A workflow of shell commands, run, and what it printed."""

    def __init__(self, source: Path, grace: float = 0.0) -> None:
        self.source, self.grace, self.lines = source, grace, list[str]()
        self.tell: Callable[[str], None] = self.lines.append
        source.mkdir(exist_ok=True)

    def __call__(self, *steps: dict[str, Any], **fields: Any) -> Outcome:
        named = [{"name": "sh", **step} for step in steps]
        text = yaml.safe_dump({"steps": named, **fields}).replace("$", "$$")
        with build_directories(self.source) as place:
            self.place = place
            executor = Processes(["sh", "-c"], {"SIDE": str(self.source)}, place)
            return run_workflow(parse_workflow(text, "w", {}, {}), executor, "1", _is_ours, self.tell, self.grace)

    def noted(self) -> list[str]:
        """What steps wrote to the file `notes` beside the workspace."""
        notes = self.source / "notes"
        return notes.read_text().split() if notes.exists() else []


def _is_ours(step: Step) -> bool:
    return step.name == "sh"


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path / "source")


def sh(command: str, **fields: Any) -> dict[str, Any]:
    return {"args": [command], **fields}


def await_file(name: str) -> str:
    return f"n=0; until [ -e {name} ]; do n=$((n + 1)); [ $n -lt {SOON * 20:.0f} ] || exit 9; sleep 0.05; done"


def test_a_script_is_run_by_sh_or_by_what_its_first_line_names(ran: Ran) -> None:
    outcome = ran(
        {"script": "echo sh; pwd | sed s,.*/,,", "dir": "sub"},
        {"script": f"#!{sys.executable}\nimport os\nprint(os.environ['A'])", "env": ["A=1"]},
        {"script": "exit 3", "allowExitCodes": [3]},
    )
    assert outcome.status == "SUCCESS"
    said = [line for line in ran.lines if line.startswith("Step")]
    assert said == [
        "Step #0: sh",
        "Step #0: sub",
        "Step #1: 1",
        "Step #2: step exited with non-zero status: 3, which is allowed",
    ]
    assert list(ran.source.iterdir()) == []


def test_steps_share_home_and_workspace_and_leave_the_source_as_it_was(ran: Ran) -> None:
    (ran.source / "given").write_text("given\n")
    (ran.source / ".git").mkdir()
    outcome = ran(
        sh("cat given; ls -A . $HOME; echo home > $HOME/x; echo more > given"),
        sh("cat given $HOME/x", dir="sub/dir"),
        sh("cat given $HOME/x ../../given", dir="/workspace/sub/dir"),
        sh("echo $A", env=["A=1=2"]),
        {"args": ["x", "y"], "entrypoint": "echo"},
    )
    assert outcome == Outcome("FAILURE", 'build step 1 "sh" failed: step exited with non-zero status: 1')
    assert ran.lines[:2] == ["Starting Step #0", "Step #0: given"]
    assert ".git" not in "".join(ran.lines)
    assert ran(sh("echo home > $HOME/x"), sh("cat $HOME/x ../../given", dir="sub/dir")).status == "SUCCESS"
    assert ran.lines[-3:] == ["Step #1: home", "Step #1: given", "Finished Step #1"]
    assert ran(sh("echo $A", env=["A=1=2"]), {"args": ["x", "y"], "entrypoint": "echo"}).status == "SUCCESS"
    assert [line for line in ran.lines[-6:] if ": " in line] == ["Step #0: 1=2", "Step #1: x y"]
    assert sorted(path.name for path in ran.source.iterdir()) == [".git", "given"]
    assert (ran.source / "given").read_text() == "given\n"
    assert not ran.place.workspace.parent.exists()


def test_variables_of_this_process_are_not_those_of_a_step(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere")
    monkeypatch.setenv("MY_OWN", "1")
    assert ran({"entrypoint": "env"}).status == "SUCCESS"
    names = {line.partition(": ")[2].partition("=")[0] for line in ran.lines}
    assert {"HOME", "PATH", "SIDE"} <= names
    assert not {"PREFECT_API_URL", "MY_OWN"} & names


def test_steps_that_wait_for_nothing_run_side_by_side(ran: Ran) -> None:
    """Each waits for the other; a third comes after both."""
    outcome = ran(
        sh(f"touch one; {await_file('two')}; echo done", id="a"),
        sh(f"touch two; {await_file('one')}; echo done", waitFor=["-"]),
        sh("ls one two"),
    )
    assert outcome.status == "SUCCESS"
    assert {'Step #0 - "a": done', "Step #1: done"} <= set(ran.lines)
    assert ran.lines[-3:] == ["Step #2: one", "Step #2: two", "Finished Step #2"]


def test_a_step_waits_for_those_it_names_alone(ran: Ran) -> None:
    outcome = ran(
        sh("touch quick", id="quick"),
        sh(await_file("after"), id="slow", waitFor=["-"]),
        sh("ls quick && touch after", waitFor=["quick"]),
    )
    assert outcome.status == "SUCCESS"


def test_a_step_of_another_image_is_left_out_and_the_build_goes_on(ran: Ran) -> None:
    other = {"name": "gcr.io/cloud-builders/gcloud", "args": ["info"]}
    outcome = ran(sh("echo one"), {**other, "id": "g"}, sh("echo three", waitFor=["g"]))
    assert outcome == Outcome("SUCCESS", "", (1,))
    assert 'Step #1 - "g": left out: gcr.io/cloud-builders/gcloud' in ran.lines
    assert "Step #2: three" in ran.lines
    assert ran(other) == Outcome("SUCCESS", "", (0,))


def test_a_failed_step_ends_the_build_unless_it_may_fail(ran: Ran) -> None:
    outcome = ran(sh("exit 3", allowExitCodes=[3]), sh("exit 4", allowFailure=True), sh("exit 5"), sh("echo never"))
    assert outcome == Outcome("FAILURE", 'build step 2 "sh" failed: step exited with non-zero status: 5')
    assert "Step #1: step exited with non-zero status: 4, which is allowed" in ran.lines
    assert not any("never" in line for line in ran.lines)
    assert ran(sh("kill -9 $$")).detail.endswith("failed: killed by SIGKILL")
    assert ran({"entrypoint": "no-such-program"}).detail.endswith("non-zero status: 127")
    assert "Step #0: no-such-program cannot be started: No such file or directory" in ran.lines
    (ran.source / "file").touch()
    assert ran(sh("echo never", dir="file")).detail.endswith("non-zero status: 127")
    assert ran({"entrypoint": "a\0b"}).detail.endswith("non-zero status: 127")


READY = "touch ready $SIDE/ready; "
TRAP = 'trap "echo term >> $SIDE/notes; exit" TERM; ' + READY
WAIT = "while :; do sleep 0.05; done"


def until_ready(ran: Ran, *steps: dict[str, Any]) -> tuple[Outcome, int]:
    """Run steps with a time limit that passes when they are ready, however slow this machine is: the outcome, it."""
    for limit in (1, 10, 100):
        outcome = ran(*steps, timeout=f"{limit}s")
        if (ran.source / "ready").exists():
            return outcome, limit
    raise AssertionError("never ready")


@pytest.mark.parametrize(("grace", "noted"), [(0.0, []), (SOON, ["term"])], ids=["killed", "terminated"])
def test_a_failure_ends_the_steps_beside_it(ran: Ran, grace: float, noted: list[str]) -> None:
    ran.grace = grace
    outcome = ran(sh(TRAP + WAIT), sh(f"{await_file('ready')}; exit 1", waitFor=["-"]))
    assert outcome.detail == 'build step 1 "sh" failed: step exited with non-zero status: 1'
    assert ran.noted() == noted
    assert processes_of(ran) == []


@pytest.mark.parametrize(("grace", "noted"), [(0.0, []), (SOON, ["term"])], ids=["killed", "terminated"])
def test_the_build_s_timeout_ends_all_of_it(ran: Ran, grace: float, noted: list[str]) -> None:
    ran.grace = grace
    outcome, limit = until_ready(ran, sh(f"(sleep 1000 &); {TRAP}{WAIT}"), sh("echo never"))
    assert outcome == Outcome("TIMEOUT", f"build timed out after {limit} s")
    assert ran.noted() == noted
    assert processes_of(ran) == []


def test_a_step_s_own_timeout_ends_the_build(ran: Ran) -> None:
    outcome = ran(sh("sleep 1000", timeout="0.5s"))
    assert outcome == Outcome("TIMEOUT", 'build step 0 "sh" timed out after 0.5 s')


def test_a_step_that_takes_no_notice_of_sigterm_is_killed_when_its_grace_is_over(ran: Ran) -> None:
    ran.grace = 0.5
    outcome, _ = until_ready(ran, sh(f'trap "" TERM; {READY}{WAIT}'))
    assert outcome.status == "TIMEOUT"
    assert processes_of(ran) == []


@pytest.mark.parametrize(("grace", "noted"), [(0.0, []), (SOON, ["term"])], ids=["killed", "terminated"])
def test_an_interrupt_ends_all_of_it(ran: Ran, grace: float, noted: list[str]) -> None:
    ran.grace = grace

    def interrupt() -> None:
        while not (hasattr(ran, "place") and (ran.place.workspace / "ready").exists()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        ran(sh(TRAP + WAIT))
    assert ran.noted() == noted
    assert processes_of(ran) == []
    assert not ran.place.workspace.parent.exists()


def test_what_a_step_leaves_running_goes_with_it(ran: Ran) -> None:
    """As in a container: the first process's end is everybody's."""
    assert ran(sh("sleep 1000 & echo started")).status == "SUCCESS"
    assert processes_of(ran) == []


def test_output_of_any_kind_is_shown_line_by_line(ran: Ran) -> None:
    assert ran(sh(r"printf 'a\377b\r\n\nlast' >&2")).status == "SUCCESS"
    assert ran.lines == ["Starting Step #0", "Step #0: a\ufffdb", "Step #0: ", "Step #0: last", "Finished Step #0"]


def test_when_nobody_reads_the_log_any_more_the_steps_are_ended(ran: Ran) -> None:
    def tell(line: str) -> None:
        if line == "Step #0: a":
            raise BrokenPipeError

    ran.tell = tell
    with pytest.raises(BrokenPipeError):
        ran(sh(f"echo a; {WAIT}"))
    assert processes_of(ran) == []


def processes_of(ran: Ran) -> list[str]:
    """Command lines of processes that steps have left running: a process that is killed takes a moment to go."""
    end = time.monotonic() + SOON
    while (found := _living(ran)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _living(ran: Ran) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and f"SIDE={ran.source}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
