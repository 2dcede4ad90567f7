"""`-timeout` of the commands that build nothing: what was done, what was not, and that nothing outlives it."""

import signal
import threading
import time
from pathlib import Path

import pytest
from support.command_line import Ran, run
from support.compute_clients import Compute
from support.family_images import DAY, add_images, changes
from support.leftovers import DEAD, labelled, make_disk, store
from support.storage_clients import anonymous_bucket
from support.time_up import CommandClock, time_up_during
from support.waiting import wait_for

from cos_customizer.emulator.server import Emulator

EXPIRE = ("expire-images", "-project=my-project", "-image-family=my-family", "-keep-last=0", "-dry-run=false")
SWEEP = ("sweep", "-project=my-project", "-dry-run=false")
ROLLBACK = ("rollback", "-project=my-project", "-image-family=my-family")
MORE_TIME = "-timeout gives it more time."


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> CommandClock:
    return CommandClock(monkeypatch)


def actions(ran: Ran) -> dict[str, str]:
    """By name, what has become of each thing of a table."""
    lines = [line.split(maxsplit=4) for line in ran.out.splitlines()]
    return {line[3]: line[0] for line in lines if len(line) == 5 and line[1] in ("image", "disk", "VM", "object")}


def three_images(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"old-1": {"deleted": past}, "old-2": {"deleted": past}, "now": {}})


LOOKS = [
    (EXPIRE, r"^/compute/.*/images\?", "could not "),
    (SWEEP, r"aggregated/disks", "could not "),
    (ROLLBACK, r"^/compute/.*/images\?", "could not "),
]


@pytest.mark.parametrize(("command", "path", "words"), LOOKS, ids=lambda value: str(value)[:30])
def test_a_time_that_is_up_before_anything_is_changed_changes_nothing(
    compute: Compute, clock: CommandClock, command: tuple[str, ...], path: str, words: str
) -> None:
    three_images(compute)
    make_disk(compute, DEAD.builder_vm, DEAD.labels(time.time() - 1))
    compute.emulator.calls.clear()
    with time_up_during(compute.emulator, clock, path):
        ran = run(*command)
    assert (ran.code, changes(compute)) == (1, [])
    assert ran.err.startswith(f"cos-customizer: {words}")
    assert "the time was up" in ran.err
    assert "; nothing was changed" in ran.err
    assert MORE_TIME in ran.err


def test_a_sweep_s_table_says_what_was_done_begun_and_not_begun(compute: Compute, clock: CommandClock) -> None:
    labels = DEAD.labels(time.time() - 1)
    compute.create(DEAD.test_vm, **labelled(labels))
    make_disk(compute, DEAD.builder_vm, labels)
    context = DEAD.scratch("") + "context.tar.gz"
    store(anonymous_bucket(), context, labels)
    compute.emulator.faults.add("operation", method="delete", path=f"/disks/{DEAD.builder_vm}$", seconds=1e9)
    with time_up_during(compute.emulator, clock, "/operations/[^/]*/wait", method="POST", skip=1):
        ran = run(*SWEEP)
    assert ran.code == 1
    assert actions(ran) == {DEAD.test_vm: "deleted", DEAD.builder_vm: "failed", context: "failed"}
    assert f"could not delete disk {DEAD.builder_vm}: it was begun, and there was no time left to see it end" in ran.out
    assert f"could not delete gs://my-project_cloudbuild/{context}: the time was up" in ran.out
    assert ran.out.splitlines()[-1] == "2 deleted, 2 failed"  # the VM's disk went with it
    assert "2 could not be deleted: " in ran.err
    assert MORE_TIME in ran.err


@pytest.mark.parametrize(
    ("path", "method", "skip", "why"),
    [
        ("/operations/[^/]*/wait", "POST", 1, "it was begun, and there was no time left to see it end"),
        ("/images/family/", "GET", 1, "the time was up"),  # while it is judged again
    ],
)
def test_images_that_were_not_deleted_in_time_are_named_and_go_the_next_time(
    compute: Compute, clock: CommandClock, path: str, method: str, skip: int, why: str
) -> None:
    three_images(compute)
    compute.emulator.faults.add("operation", method="delete", path="/images/", seconds=1e9, count=0)
    with time_up_during(compute.emulator, clock, path, method=method, skip=skip):
        ran = run(*EXPIRE)
    assert (ran.code, ran.out.splitlines()[-1]) == (1, "1 kept, 2 failed")
    for name in ("old-1", "old-2"):
        assert f"could not delete image {name}: {why}" in ran.out
    clock.start_anew()
    compute.emulator.faults.clear()

    def go() -> bool:  # a request may still have been on its way when its time was up
        compute.emulator.clock.advance(2e9)
        return (run(*EXPIRE).code, compute.names("images")) == (0, ["now"])

    wait_for(go)


def test_a_rollback_says_how_far_it_has_come(compute: Compute, clock: CommandClock) -> None:
    add_images(compute, {"image-1": {}, "image-2": {}, "image-3": {}})
    with time_up_during(compute.emulator, clock, "/deprecate", method="POST", skip=1):
        ran = run(*ROLLBACK, "-to=image-1")
    assert (ran.code, ran.out) == (1, "deprecated    image-2\n")
    assert "the rollback to image-1 is not complete, family my-family may still give image-3: " in ran.err
    assert MORE_TIME in ran.err


def test_what_does_not_keep_to_the_time_is_cut_off(
    compute: Compute, clock: CommandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_images(compute)
    asked, over = threading.Event(), threading.Event()

    def ask(*_: object, **__: object) -> None:  # as a library would that has a patience of its own
        asked.set()
        threading.Event().wait()

    monkeypatch.setattr("google.auth.credentials.AnonymousCredentials.before_request", ask)

    def end() -> None:
        asked.wait()
        clock.end_all()
        while not over.wait(0.05):  # as the timer does it: Python drops what is raised in a finalizer
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    thread = threading.Thread(target=end)
    thread.start()
    signal.signal(signal.SIGALRM, lambda *_: None)  # for one that comes when the command is over
    ran = run(*EXPIRE)
    over.set()
    thread.join()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert ran.code == 1
    assert ran.err.startswith("cos-customizer: the time was up, and there was no answer; nothing was changed")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("command", [EXPIRE, SWEEP, ROLLBACK, ("rebuild-images", "-recipe=web.yaml")])
@pytest.mark.parametrize(
    ("value", "words"),
    [("0s", "'0s' is no time to do anything in"), ("-1m", "'-1m0s' is no time"), ("5", "'5' is not a duration")],
)
def test_a_time_limit_that_is_none_is_wrong_usage(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    value: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").touch()
    ran = run(*command, f"-timeout={value}")
    assert (ran.code, emulator.calls.count()) == (2, 0)
    assert ran.err.startswith(f"cos-customizer: -timeout: {words}")
