"""A script that fails says where; nothing else about it changes. Run by bash on this machine."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.bash_guest import Guest, bash_guest, texts

from cos_customizer.guest.protocol import BuildFailed, BuildSucceeded, Event, StepFailed, StepPlace


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Guest]:
    with bash_guest(tmp_path) as guest:
        yield guest


def run(machine: Guest, script: str, files: dict[str, str] | None = None) -> list[Event]:
    """Run it as `mid.sh`, beside other files."""
    for name, text in (files or {}).items():
        machine.write(name, text)
    events = machine.build(machine.write("mid.sh", script))
    assert isinstance(events[-1], BuildFailed), texts(events)
    return events


def fail(machine: Guest, script: str, files: dict[str, str] | None = None) -> list[str]:
    """Run it, and give what the build's log has of it, from our first word on."""
    lines = texts(run(machine, script, files))
    begin = next((number for number, line in enumerate(lines) if line.startswith("failed at ")), len(lines))
    return lines[begin:]


TEN = {
    "a quiet command under set -e": (
        "set -e\necho begin\n\ntest -f /nowhere/app.conf\necho end\n",
        "failed at mid.sh: line 4: test -f /nowhere/app.conf: exit 1",
    ),
    "a pipe under pipefail": (
        "set -eo pipefail\ncat /nowhere/list |\n  sort |\n  uniq >/dev/null\n",
        "failed at mid.sh: line 2: cat /nowhere/list | sort | uniq >/dev/null: exit 1 (of the pipe: 1 0 0)",
    ),
    "a function": (
        "set -e\ninstall_it() {\n  echo installing\n  cp /nowhere/a /nowhere/b\n}\n\ninstall_it\n",
        "failed at mid.sh: line 4: cp /nowhere/a /nowhere/b: exit 1, in install_it, called at line 7",
    ),
    "a sourced file": (
        "set -e\n. lib/common.sh\n",
        "failed at lib/common.sh: line 2: test -d /nowhere: exit 1, sourced at mid.sh line 2",
    ),
    "a function of a sourced file": (
        ". lib/f.sh\nset -u\ngo() { fetch x; }\n\nset -e; go\n",
        "failed at lib/f.sh: line 2: test -f x: exit 1, in fetch, called at mid.sh line 3, in go, called at line 5",
    ),
    "a subshell": (
        "set -e\n(\n  cd /\n  test -f nowhere\n)\n",
        "failed at mid.sh: line 2: ( cd /; test -f nowhere ): exit 1",
    ),
    "exit in the middle": (
        "if true; then\n  [[ -d /nowhere ]] ||\n    exit 3\nfi\necho end\n",
        "failed at mid.sh: line 2: [[ -d /nowhere ]] || exit 3",
    ),
    "a signal": (
        "echo begin\nkill -TERM $$\nsleep 1\n",
        "failed at mid.sh: line 2: kill -TERM $$: killed by signal 15, TERM",
    ),
    "a command that is not there": (
        "set -e\nno-such-program --now\n",
        "failed at mid.sh: line 2: no-such-program --now: exit 127",
    ),
    "an unbound variable": (
        "set -u\necho begin\necho $NOT_SET\n",
        "failed at mid.sh: line 3: echo $NOT_SET: exit 1",
    ),
}
"""Ten scripts that fail in ten ways, and what is said of each."""

LIBRARIES = {
    "lib/common.sh": "echo common\ntest -d /nowhere\n",
    "lib/f.sh": "fetch() {\n  test -f x\n}\n",
    "lib/exits.sh": "echo in\n[[ -f /nowhere ]] || exit 3\n",
}


@pytest.mark.parametrize(("script", "said"), TEN.values(), ids=TEN)
def test_a_script_that_fails_says_where(script: str, said: str, machine: Guest) -> None:
    assert fail(machine, script, LIBRARIES) == [said]


MORE = {
    "the last command": ("echo a\ntest -f /nowhere\n", "line 2: test -f /nowhere: exit 1"),
    "a command over lines": ("set -e\ncp -r \\\n  /nowhere \\\n  /x\n", "line 2: cp -r /nowhere /x: exit 1"),
    "a loop": ("set -e\nfor i in 1 2; do\n  [[ $i == 1 ]]\ndone\n", "line 3: [[ $i == 1 ]]: exit 1"),
    "arithmetic": ("set -e\ni=0\n((i++))\n", "line 3: ((i++)): exit 1"),
    "a redirection": ("set -e\necho x >/nowhere/x\n", "line 2: echo x > /nowhere/x: exit 1"),
    "a here-document": ("set -e\ncat >/nowhere/x <<EOF\na\nEOF\n", "line 2: cat > /nowhere/x <<EOF …: exit 1"),
    "a value that must be set": (": ${FOO:?must be set}\n", "line 1: : ${FOO:?must be set}: exit 1"),
    "an assignment": ("set -e\nx=$(cat /nowhere)\n", "line 2: x=$(cat /nowhere): exit 1"),
    "code of a command before": ("false\ncode=$?\nexit $code\n", "line 3: exit $code: exit 1"),
    "a program that was killed": (
        "set -e\nbash -c 'kill -9 $$'\n",
        "line 2: bash -c 'kill -9 $$': exit 137 (killed by signal 9, KILL)",
    ),
    "exit in a function, with others elsewhere": (
        "exit_early() { exit 4; }\ndie() {\n  echo $* >&2\n  exit 4\n}\ndie no\n",
        "line 4: exit 4, in die, called at line 6",
    ),
    "exit outside of functions": ("die() {\n  exit 4\n}\n[[ -d /x ]] || exit 4\n", "line 4: [[ -d /x ]] || exit 4"),
    "one of two": ("[[ -d / ]] || exit 4\n[[ -d /x ]] || exit 4\n", "line 1 or 2: exit 4"),
    "in another directory": (
        "set -e\nmkdir -p s; echo 'h() { false x; }' >s/l.sh\ncd s\n. ./l.sh\ncd /\nh\n",
        "line 1: false x: exit 1, in h, called at mid.sh line 6",
    ),
    "whatever IFS is": (
        "set -e\nIFS=/\nf() {\n  false 1 /2\n}\nf\n",
        "line 4: false 1 /2: exit 1, in f, called at line 6",
    ),
    "whatever options are set": (
        "set -euCf -o posix -o pipefail; shopt -s failglob nocasematch\nreadonly IFS\ng() { false; }\nf() { g; }\nf\n",
        "line 3: false: exit 1, in g, called at line 4, in f, called at line 5",
    ),
    "with an EXIT trap of its own": (
        "set -e\ntrap 'rm -f /tmp/x' EXIT\ncp /nowhere /x\n",
        "line 3: cp /nowhere /x: exit 1",
    ),
    "with an EXIT trap that fails": (
        "set -e\ntrap 'test -f /x' EXIT\ncp /nowhere /x\n",
        "line 3: cp /nowhere /x: exit 1",
    ),
    "exit in a sourced file": (". lib/exits.sh\n", "line 2: [[ -f /nowhere ]] || exit 3, sourced at mid.sh line 1"),
    "bad syntax": ("echo a\nif true; then\n", "line 3: syntax error: unexpected end of file"),
    "killed with no time to say so": ("kill -KILL $$\n", "exit 137 (killed by signal 9, KILL)"),
}


@pytest.mark.parametrize(("script", "said"), MORE.values(), ids=MORE)
def test_so_it_does_in_other_ways(script: str, said: str, machine: Guest) -> None:
    (line,) = fail(machine, script, LIBRARIES)
    assert line.partition(": ")[2] == said


PLACES: dict[str, tuple[str, StepPlace | None]] = {
    "a pipe": (
        "set -eo pipefail\ncat /nowhere |\n  sort\n",
        StepPlace(1, "mid.sh", 2, "cat /nowhere | sort"),
    ),
    "a sourced file": ("set -e\n. lib/common.sh\n", StepPlace(1, "lib/common.sh", 2, "test -d /nowhere")),
    "one of two lines": ("[[ -d / ]] || exit 4\n[[ -d /x ]] || exit 4\n", StepPlace(1, "mid.sh", None, "exit 4")),
    "bad syntax": ("echo a\nif true; then\n", StepPlace(1, "mid.sh", 3, "")),
    "killed": ("kill -KILL $$\n", StepPlace(1, "mid.sh", None, "")),
    "no UTF-8": ("set -e\ntest -f /\udce9\n", StepPlace(1, "mid.sh", 2, "test -f /\ufffd")),
    "a tab": ("set -e\ntest -f\t/nowhere\n", StepPlace(1, "mid.sh", 2, "test -f /nowhere")),
    "not known": ("false\nexec bash -c 'exit 3'\n", None),
}


@pytest.mark.parametrize(("script", "place"), PLACES.values(), ids=PLACES)
def test_the_place_is_told_in_parts_before_the_failure(script: str, place: StepPlace | None, machine: Guest) -> None:
    events = run(machine, script, LIBRARIES)
    told = [event for event in events if isinstance(event, StepPlace | StepFailed)]
    assert told[:-1] == ([place] if place else [])
    assert isinstance(told[-1], StepFailed)


@pytest.mark.parametrize(
    "script",
    ["set -e\nread -p 'Sure? ' answer\n", "set -e\nIFS=, read -r a b\n", "read x || exit 7\n"],
)
def test_a_question_that_nobody_can_answer_is_told(script: str, machine: Guest) -> None:
    assert fail(machine, script)[1:] == ["standard input is empty: nobody can answer a `read`"]


@pytest.mark.parametrize("script", ["read x </dev/null\n", "set -e -o pipefail\ntrue | read x\n", "false read x\n"])
def test_other_reads_are_not_said_to_be_questions(script: str, machine: Guest) -> None:
    assert len(fail(machine, script)) == 1


@pytest.mark.parametrize(
    "script",
    [
        "trap 'echo bye' EXIT\nfalse\nexit 9\n",  # it may well say so itself
        "false\nexec bash -c 'exit 3'\n",
        "trap - EXIT ERR\nexit 3\n",
    ],
)
def test_of_a_script_that_goes_its_own_way_nothing_is_guessed(script: str, machine: Guest) -> None:
    assert fail(machine, script) == []


def test_nothing_is_said_of_commands_that_fail_while_the_script_goes_on(machine: Guest) -> None:
    events = machine.build(
        machine.write("mid.sh", "false\ntest -f /nowhere || true\ncat /nowhere 2>/dev/null\necho end\n")
    )
    assert texts(events) == ["end"]
    assert events[-1] == BuildSucceeded()


UNSEEN = """
echo "$-"; shopt; set -o; declare -F; trap -p INT; ls /proc/self/fd | wc -l; cat
set | grep -v -e '^_=' -e '^BASHPID' -e '^PPID' -e '^S*RANDOM' -e '^EPOCH' -e '^SECONDS'
env | sort | grep -v '^_='
false; echo "$? [$_]"
false 1 2; echo "[$_]"
false | true | false; echo "${PIPESTATUS[@]}"
f() { trap 'echo "mine: $?"' ERR; }; f; false
(exit 3); echo "$?"
trap 'echo "bye $?"' EXIT
bash -c 'trap; echo "${BASH_ENV-unset}"'
(trap -p EXIT; exit 4); exec 2>&1; set -x
false || true
: a b
exit 0
"""


def test_a_script_sees_nothing_of_it(machine: Guest) -> None:
    """All of its output is that of a bash that nobody watches, `set -x` included."""
    context = machine.folder / "state" / "context"
    step = machine.write("mid.sh", UNSEEN)
    watched = texts(machine.build(step))
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    plain = subprocess.run(
        ["/bin/bash", context / "mid.sh"],
        cwd=context,
        env={**env, "FROM_ENV": "it's\n$here"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout.splitlines()
    ignored = ("PWD=", "OLDPWD=", "SHLVL=", "_=", "BASH_LINENO", "DIRSTACK", "PIPESTATUS", "BASH_ARG")
    assert [line for line in watched if not line.startswith(ignored)] == [
        line for line in plain if not line.startswith(ignored)
    ]


def test_a_script_may_have_a_bash_env_of_its_own(machine: Guest) -> None:
    machine.write("env.sh", "echo theirs")
    step = machine.write("mid.sh", 'echo "${BASH_ENV##*/}"; exit 3')
    context = machine.folder / "state" / "context"
    events = machine.build(replace(step, settings=[*step.settings, ("BASH_ENV", f"{context}/env.sh")]))
    assert texts(events) == ["theirs", "env.sh"]


def test_it_takes_no_time_while_commands_fail_and_leaves_no_file(machine: Guest) -> None:
    script = machine.write("mid.sh", "for ((i = 0; i < 3000; i++)); do false; done; echo end; exit 3")
    assert texts(machine.build(script)) == ["end", "failed at mid.sh: line 1: exit 3"]
    assert sorted(path.name for path in (machine.folder / "run").iterdir()) == ["plan.sh", "steps"]


def test_a_script_that_removes_the_build_s_files_fails_as_it_would(machine: Guest) -> None:
    before = "keep_files() { :; }"
    events = machine.build(machine.write("mid.sh", f"rm -r {machine.folder}/run/*; exit 3"), before=before)
    assert isinstance(events[-1], BuildFailed)
    assert events[-1].exit_code == 3


def test_the_last_step_s_failure_is_not_told_of_the_next(machine: Guest) -> None:
    machine.write("a.sh", "false\ntrue")
    steps = [machine.write("a.sh", "false\ntrue"), machine.write("mid.sh", "exec false")]
    events = machine.build(*steps)
    assert isinstance(events[-1], BuildFailed)
    assert texts(events) == []
