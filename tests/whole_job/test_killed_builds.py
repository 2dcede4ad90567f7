"""Builds that are ended from outside, as commands of their own: interrupted, terminated, out of time, killed."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run
from support.compute_clients import Compute
from support.containers import image as container_image
from support.guest_scripts import marker, script, succeeding
from support.leftovers import bystanders, everything
from support.storage_clients import anonymous_bucket
from support.waiting import PATIENCE, wait_for
from support.warm_program import ProgramOnDisk, Started

from cos_customizer.customizer.names import BuildNames
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import database_template
from cos_customizer.flows.local_server import LocalServer
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.slow

PROGRAM = str(Path(sys.executable).with_name("cos-customizer"))
LABEL = "run-script preload.sh"
STARTED = marker(f"BuildStep: 1 started {LABEL}")
START = (
    *("start-image-build", "-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud"),
    *("-gcs-bucket=my-project_cloudbuild", "-gcs-workdir=work"),
)
FINISH = (
    *("finish-image-build", "-zone=us-west1-b", "-project=my-project"),
    *("-image-name=my-image", "-image-project=my-project"),
)


class Workplace:
    """A home directory with a build context, and builds that are started there."""

    def __init__(self, directory: Path, emulator: Emulator, served_program: str) -> None:
        self.emulator = emulator
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        outputs = directory / "cold", directory / "served"
        for output in outputs:
            output.mkdir()
        self._cold = ProgramOnDisk(kept, outputs[0], [PROGRAM])
        self._served = ProgramOnDisk(kept, outputs[1], [served_program])
        self.home = directory / "home"
        self.home.mkdir()
        self.context = directory / "context"
        self.context.mkdir()
        (self.context / "preload.sh").write_text("echo hello\n")
        self.temporary = directory / "tmp"
        self.temporary.mkdir()

    def begin(self, *arguments: str, own_server: bool = False) -> Started:
        """Begin a command, on the session's Prefect server, or as users do: from cold, with a server of its own."""
        environment = self.emulator.environment() | {"HOME": str(self.home), "TMPDIR": str(self.temporary)}
        return (self._cold if own_server else self._served).start(arguments, environment, self.context)

    def prepare(self, *flags: str) -> None:
        """Take the steps before `finish-image-build`, in this process: they are not what is ended here."""
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.context):
            patch.setenv("HOME", str(self.home))
            for command, *arguments in ((*START, *flags), ("run-script", "-script=preload.sh")):
                ran = run(command, *arguments)
                assert ran.code == 0, ran.err

    def instances(self) -> list[dict[str, Any]]:
        return self.emulator.list("projects/my-project/zones/-/instances")

    def disks(self) -> list[dict[str, Any]]:
        return self.emulator.list("projects/my-project/zones/-/disks")

    def images(self) -> list[dict[str, Any]]:
        return self.emulator.list("projects/my-project/global/images")

    def objects(self) -> list[str]:
        names = [blob.name for blob in connect().storage.list_blobs("my-project_cloudbuild")]
        return [name.rpartition("/")[2] for name in names]

    def processes(self) -> list[str]:
        """Command lines of processes that this workplace's builds have left running, in containers or not."""
        found = []
        signs = (str(self.home), self.emulator.environment()["STORAGE_EMULATOR_HOST"])
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and int(process.name) != os.getpid():
                try:
                    environment = (process / "environ").read_bytes()
                    if any(sign.encode() in environment for sign in signs):
                        found.append((process / "cmdline").read_text().replace("\0", " "))
                except OSError:
                    continue
        return found


@pytest.fixture
def workplace(tmp_path: Path, emulator: Emulator, served_program: str) -> Workplace:
    return Workplace(tmp_path, emulator, served_program)


def script_runs(workplace: Workplace) -> bool:
    return workplace.emulator.calls.count(path="serialPort") > 0


@pytest.mark.parametrize(
    ("first", "then", "code", "said"),
    [
        # This one brings a Prefect server of its own; the others take the session's, which costs less.
        pytest.param(signal.SIGINT, None, 130, "interrupted", id="ctrl-c"),
        pytest.param(signal.SIGTERM, None, 143, "terminated", id="terminated"),
        # Python takes signals that are pending at the same moment by their numbers, so SIGINT comes first in any case.
        pytest.param(signal.SIGINT, signal.SIGTERM, 130, "interrupted", id="ctrl-c-then-terminated"),
        pytest.param(signal.SIGTERM, signal.SIGTERM, 143, "terminated", id="terminated-twice"),
    ],
)
def test_a_signal_undoes_the_build_and_says_so(
    workplace: Workplace,
    first: signal.Signals,
    then: signal.Signals | None,
    code: int,
    said: str,
) -> None:
    workplace.emulator.scripts.add(script(STARTED))
    workplace.prepare()
    own_server = first is signal.SIGINT and then is None
    build = workplace.begin(*FINISH, f"-output-file={workplace.context}/result.json", own_server=own_server)
    build.wait_for("step 1/1")
    build.send(first)
    if then is not None:
        build.send(then)  # a third one would end the undoing
    assert build.wait() == code, build.err
    assert "Traceback" not in build.out + build.err
    assert "cleaned up   1 VM, 1 disk, 1 object" in build.out
    assert build.err.splitlines()[0] == f"cos-customizer: {said}"
    assert workplace.instances() + workplace.disks() + workplace.images() == []
    assert workplace.objects() == ["serial.log"]
    assert json.loads((workplace.context / "result.json").read_text())["outcome"] == "interrupted"
    assert workplace.processes() == []
    assert list(workplace.temporary.iterdir()) == []
    assert [file.name for file in (workplace.home / ".cos-customizer-workdir").iterdir()] == ["ended.txt"]


def test_a_timeout_undoes_the_build_and_says_so(workplace: Workplace) -> None:
    workplace.emulator.scripts.add(script(STARTED))
    workplace.prepare()
    build = workplace.begin(*FINISH)
    build.wait_for("step 1/1")
    build.send(signal.SIGALRM)  # as its timer does when time is up
    assert build.wait() == 1
    assert "did not complete within the specified timeout" in build.err
    assert "serial.log" in build.out + build.err
    assert workplace.instances() + workplace.disks() + workplace.images() == []
    assert workplace.objects() == ["serial.log"]
    assert workplace.processes() == []


@pytest.mark.parametrize("moment", ["vm-created", "script-runs", "image-made"])
def test_a_build_that_is_killed_outright_leaves_nothing_for_long(workplace: Workplace, moment: str) -> None:
    """Nobody can undo anything then; Compute Engine deletes the builder VM when its time is up."""
    faults, calls = workplace.emulator.faults, workplace.emulator.calls
    if moment == "vm-created":
        faults.add("operation", method="insert", path="/instances/", seconds=600)
        reached: Callable[[], object] = workplace.instances
    elif moment == "script-runs":
        workplace.emulator.scripts.add(script(STARTED))
        reached = lambda: script_runs(workplace)  # noqa: E731
    else:
        workplace.emulator.scripts.add(succeeding(LABEL))
        faults.add("operation", method="insert", path="/images/", seconds=600)
        reached = workplace.images
    workplace.prepare()
    build = workplace.begin(*FINISH, own_server=moment == "script-runs")
    wait_for(reached)
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    wait_for(lambda: workplace.processes() == [])
    workplace.emulator.clock.advance(600)

    # The next run with the same image name does the right thing, also beside what the killed one has left.
    workplace.emulator.scripts.add(succeeding(LABEL))
    calls.clear()
    workplace.prepare("-force")
    finish = workplace.begin(*FINISH)
    assert finish.wait() == 0, finish.err
    (image,) = workplace.images()
    assert image["status"] == "READY"
    if moment == "image-made":
        assert "exists and was never released; releasing it" in finish.out

    workplace.emulator.clock.advance(2 * 3600)
    wait_for(lambda: not workplace.instances() and not workplace.disks())


@pytest.mark.parametrize("moment", ["script-runs", "image-is-verified"])
def test_a_sweep_past_the_expiry_leaves_nothing_of_a_killed_build_and_everything_else(
    workplace: Workplace, moment: str
) -> None:
    """Also where Compute Engine has deleted nothing: its clock is not turned here."""
    compute, bucket = Compute(workplace.emulator), anonymous_bucket()
    later = time.time() + 40 * 24 * 3600  # the serial log is kept for thirty days
    others = bystanders(compute, bucket, BuildNames("aaaaaaaaaa").labels(later + 3600))
    if moment == "script-runs":
        workplace.emulator.scripts.add(script(STARTED))
        reached: Callable[[], object] = lambda: script_runs(workplace)  # noqa: E731
    else:
        workplace.emulator.scripts.add(script(name="cos-customizer-[0-9a-f]{10}-test"))
        workplace.emulator.scripts.add({**succeeding(LABEL), "match": {"name": "cos-customizer-[0-9a-f]{10}"}})
        reached = lambda: workplace.emulator.calls.count(path="-test/serialPort")  # noqa: E731
    workplace.prepare()
    # A family of its own: the session's server holds that of a killed build back for two minutes.
    build = workplace.begin(*FINISH, f"-image-family=sweep-{moment}", "-verify-boot")
    wait_for(reached)
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    left = everything(compute, bucket) - others
    expected = {"instances", "disks", "objects"} | ({"images"} if moment == "image-is-verified" else set())
    assert {name.partition("/")[0] for name in left} == expected

    done = workplace.begin("sweep", "-project=my-project", "-dry-run=false")
    assert done.wait() == 0, done.err
    assert left <= everything(compute, bucket)  # it might still run
    clients = connect()
    decided = sweep.plan(clients, sweep.SweepScope("my-project"), later)
    removals = sweep.apply(clients, "my-project", decided, later)
    assert everything(compute, bucket) == others
    assert [removal for removal in removals if removal.action == "failed"] == []


WORKFLOW = f"""
steps:
- {{name: cos-customizer, args: {list(START)}}}
- {{name: cos-customizer, args: [run-script, -script=preload.sh]}}
- {{name: cos-customizer, args: {list(FINISH)}, id: finish}}
"""


def run_until_its_time_is_up(workplace: Workplace, *flags: str, own_server: bool = False) -> tuple[str, str]:
    """Run the workflow with a timeout that passes while the script runs, however slow this machine is."""
    for seconds in (10, 40, 160):
        command = ("emulator", "run-cloudbuild", "cloudbuild.yaml", *flags, f"-timeout={seconds}s")
        job = workplace.begin(*command, own_server=own_server)
        assert job.wait(seconds + PATIENCE) == 1, job.err + job.out
        assert f"build timed out after {seconds} s" in job.err
        if script_runs(workplace):
            return job.out, job.err
    raise AssertionError(f"finish-image-build has not come as far as the script: {job.out}")


def run_until_it_is_cancelled(workplace: Workplace, *flags: str, own_server: bool = False) -> tuple[str, str]:
    """Run the workflow, and press Ctrl-C while the script runs."""
    job = workplace.begin("emulator", "run-cloudbuild", "cloudbuild.yaml", *flags, own_server=own_server)
    job.wait_for("step 1/1")
    job.send(signal.SIGINT)
    assert job.wait() == 130, job.err + job.out
    return job.out, job.err


@pytest.fixture(params=["processes", pytest.param("containers", marks=pytest.mark.container)])
def kind_of_steps(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Flags for what each step is."""
    if request.param == "processes":
        return ()
    return ("-container-tool=buildah", f"-container-image={container_image()}")


WorkflowEnd = Callable[..., tuple[str, str]]
ENDS = pytest.mark.parametrize(
    "run_workflow",
    [
        pytest.param(run_until_its_time_is_up, id="timeout"),
        pytest.param(run_until_it_is_cancelled, id="cancelled"),
    ],
)


@ENDS
def test_a_workflow_that_is_killed_outright_leaves_what_a_sweep_is_told_to_take_and_then_nothing(
    workplace: Workplace, run_workflow: WorkflowEnd, kind_of_steps: tuple[str, ...]
) -> None:
    """As Cloud Build does it: the step that runs has no chance to clean up."""
    compute, bucket = Compute(workplace.emulator), anonymous_bucket()
    (workplace.context / "cloudbuild.yaml").write_text(WORKFLOW)
    others = bystanders(compute, bucket, BuildNames("aaaaaaaaaa").labels(time.time() + 100 * 24 * 3600))
    workplace.emulator.scripts.add(script(STARTED))
    out, _ = run_workflow(workplace, *kind_of_steps)
    assert 'Step #2 - "finish": ' in out
    assert "cleaned up" not in out
    wait_for(lambda: workplace.processes() == [])
    assert list(workplace.temporary.iterdir()) == []
    assert kinds(everything(compute, bucket) - others) == {"instances", "disks", "objects"}

    now = workplace.emulator.clock.advance(3 * 3600)
    left = everything(compute, bucket) - others
    assert kinds(left) == {"objects"}, "Compute Engine has deleted the builder VM and its disk by itself"
    clients = connect()
    decided = sweep.plan(clients, sweep.SweepScope("my-project"), now)
    taken = {f"objects/{thing.name}" for thing, removal in decided if removal.action == "delete"}
    assert left == taken - others
    sweep.apply(clients, "my-project", decided, now)
    assert everything(compute, bucket) - others == set()


@ENDS
def test_a_workflow_whose_steps_have_sigterm_first_leaves_nothing(
    workplace: Workplace, run_workflow: WorkflowEnd, kind_of_steps: tuple[str, ...]
) -> None:
    (workplace.context / "cloudbuild.yaml").write_text(WORKFLOW)
    workplace.emulator.scripts.add(script(STARTED))
    # The one that is cancelled is as users run it: each step starts from cold, and the last brings a Prefect server.
    own_server = run_workflow is run_until_it_is_cancelled
    out, _ = run_workflow(workplace, "-grace=60s", *kind_of_steps, own_server=own_server)
    assert 'Step #2 - "finish": ' in out
    assert "cleaned up" in out
    assert workplace.instances() + workplace.disks() + workplace.images() == []
    assert workplace.objects() == ["serial.log"]
    assert workplace.processes() == []
    assert list(workplace.temporary.iterdir()) == []


def kinds(things: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in things}


@pytest.fixture
def without_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(database_template.VARIABLE)


@pytest.mark.usefixtures("without_template")
def test_two_builds_side_by_side_share_a_cold_home_and_leave_a_template_for_the_next(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    workplace.emulator.scripts.add(succeeding(LABEL))
    builds = []
    for name in ("one", "two"):
        state = f"-local-state-workdir=state-{name}"
        assert workplace.begin(START[0], state, *START[1:]).wait() == 0
        assert workplace.begin("run-script", state, "-script=preload.sh").wait() == 0
        finish = ("finish-image-build", state, "-zone=us-west1-b", "-project=my-project", f"-image-name=image-{name}")
        builds.append(workplace.begin(*finish, own_server=True))
    for build in builds:
        assert build.wait() == 0, build.err + build.out
    assert sorted(image["name"] for image in workplace.images()) == ["image-one", "image-two"]
    assert workplace.instances() + workplace.disks() == []
    assert workplace.processes() == []

    (template,) = (workplace.home / ".cache" / "cos-customizer").glob("prefect-*")
    assert template.suffix == ".db"
    monkeypatch.setenv("HOME", str(workplace.home))
    server = LocalServer()
    try:
        server.start()
        assert not server._cold
    finally:
        server.stop()
