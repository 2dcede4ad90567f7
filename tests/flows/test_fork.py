"""A fork of a process: what it does, prints and leaves, and that it hears of the end of the process before it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.waiting import wait_for

from cos_customizer.flows.fork import may_fork

PROGRAM = """
import atexit, os, pathlib, signal, subprocess, sys, threading, time
from cos_customizer.flows.fork import Fork, may_fork
assert may_fork()
atexit.register(print, "the process before it has ended")
signal.signal(signal.SIGTERM, lambda number, frame: None)
print("said before, and once", end=" ")
def forked(run, **environment):
    with open("log", "ab") as log:
        return Fork(run, environment, pathlib.Path("place"), log, kept)
kept = os.open("place", os.O_RDONLY)
"""
CASES = {
    "it works in its place, with its variables, and ends": """
def run():
    print(sorted(os.environ), os.path.basename(os.getcwd()), os.getsid(0) == os.getpid())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
fork = forked(run, ONE="1")
print(fork.wait())
--
said before, and once 0
the process before it has ended
--
['ONE'] place True
""",
    "its error is in its log": """
def run(): raise ValueError("wrong")
print(forked(run).wait())
--
said before, and once 1
the process before it has ended
--
ValueError: wrong
""",
    "its end can be waited for, and come by a signal": """
fork = forked(lambda: time.sleep(3600))
try:
    fork.wait(0.01)
except subprocess.TimeoutExpired:
    print("waits")
fork.kill()
print(fork.wait(), fork.wait())
fork.kill()
--
said before, and once waits
-9 -9
the process before it has ended
--
""",
    "it has nothing open but what it is to keep: so a lock ends with the process before it": """
import fcntl
lock = os.open("lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
def run():
    print([number for number in range(3, 100) if os.path.exists(f"/proc/self/fd/{number}")] == [kept])
    sys.stdin.read()
fork = forked(run)
os.close(lock)
while not pathlib.Path("log").read_text():  # it is about to close
    time.sleep(0.01)
fcntl.flock(os.open("lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
fork.stdin.close()
print(fork.wait())
--
said before, and once 0
the process before it has ended
--
True
""",
    "it hears that it is to go": """
fork = forked(lambda: print(sys.stdin.read() or "nothing more"))
fork.stdin.close()
print(fork.wait())
--
said before, and once 0
the process before it has ended
--
nothing more
""",
}


def started(tmp_path: Path, program: str) -> "subprocess.Popen[str]":
    (tmp_path / "place").mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_fork_does(tmp_path: Path, case: str) -> None:
    program, printed, logged = case.split("--\n")
    assert started(tmp_path, program).communicate() == (printed, "")
    log = (tmp_path / "log").read_text()
    assert log.endswith(logged)
    assert ("Traceback" in log) == ("Error" in logged)


def test_a_fork_hears_that_the_process_before_it_was_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "print(forked(lambda: (print('up'), sys.stdin.read(), print('gone'))).wait())")
    wait_for(lambda: (tmp_path / "log").exists() and "up" in (tmp_path / "log").read_text())
    process.kill()
    process.communicate()
    wait_for(lambda: "gone" in (tmp_path / "log").read_text())


def test_a_process_with_threads_does_not_fork() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert not may_fork()
    finally:
        end.set()
        thread.join()
