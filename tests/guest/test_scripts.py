"""The guest's scripts, run by bash on this machine: fetching the build context, and running steps, reboots apart."""

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.bash_guest import FOLDER, Cloud, Guest, bash_guest, texts
from support.guest_scripts import driver_step, script_step
from support.waiting import wait_for

from cos_customizer.guest.protocol import (
    BuildFailed,
    BuildSucceeded,
    OutputLine,
    StepFailed,
    StepPlace,
    StepStarted,
    StepSucceeded,
)
from cos_customizer.guest.user_data import ContextObject, GuestStep, render_plan

TOKEN = "ya29.secret-Token_1"
OBJECT = "a dir/context 1.tar.gz"


def tar_of(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(text.encode()), 0o640, 12345
            archive.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            cloud.asked.append((self.path, self.headers["Metadata-Flavor"], self.headers["Authorization"]))
            status, body = cloud.answers.get(path, (404, b"not here"))
            if cloud.failures_first.get(path):
                status = cloud.failures_first[path].pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # A status of 0 in the list of failures: a transfer that breaks off.
            self.wfile.write(body[: len(body) // 2] if status == 299 else body)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    cloud.answers["/computeMetadata/v1/instance/service-accounts/default/token"] = (
        200,
        b'{\n "access_token": "%s",\n "expires_in":3599}' % TOKEN.encode(),
    )
    cloud.answers["/computeMetadata/v1/instance/attributes/storage-endpoint"] = (200, cloud.url.encode() + b"/")
    yield cloud
    server.shutdown()
    thread.join()
    server.server_close()


PATH_OF_OBJECT = "/storage/v1/b/my-bucket/o/a%20dir%2Fcontext%201.tar.gz"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Guest]:
    with bash_guest(tmp_path) as guest:
        yield guest


def offer(cloud: Cloud, machine: Guest, tar: bytes) -> None:
    cloud.answers[PATH_OF_OBJECT] = (200, gzip.compress(tar))
    machine.context = ContextObject("my-bucket", OBJECT, hashlib.sha256(tar).hexdigest())


def test_the_context_is_fetched_with_the_token_and_unpacked(cloud: Cloud, machine: Guest) -> None:
    offer(cloud, machine, tar_of({"a.sh": "echo a", "lib/b c.sh": "echo b"}))
    events = machine.fetch(cloud)
    assert [text.partition(" (")[0] for text in texts(events)] == ["fetched the build context"]
    assert len(events) == 1
    context = machine.folder / "state" / "context"
    assert (context / "a.sh").read_text() == "echo a"
    assert (context / "lib" / "b c.sh").read_text() == "echo b"
    assert (context / "a.sh").stat().st_uid == os.getuid()
    assert (context / "a.sh").stat().st_mode & 0o777 == 0o640
    assert (machine.folder / "state").stat().st_mode & 0o777 == 0o700
    assert cloud.asked[-1] == (f"{PATH_OF_OBJECT}?alt=media", None, f"Bearer {TOKEN}")
    assert all(flavor == "Google" for path, flavor, _ in cloud.asked if path.startswith("/computeMetadata"))
    assert TOKEN.encode() not in machine.said


@pytest.mark.parametrize("failures", [[503], [429, 408, 500], [299]])
def test_what_passes_is_tried_again(failures: list[int], cloud: Cloud, machine: Guest) -> None:
    offer(cloud, machine, tar_of({"a.sh": "echo a" * 50_000}))
    cloud.failures_first[PATH_OF_OBJECT] = list(failures)
    cloud.failures_first["/computeMetadata/v1/instance/service-accounts/default/token"] = [503]
    assert "fetched the build context" in texts(machine.fetch(cloud))[-1]
    assert sum(path.startswith(PATH_OF_OBJECT) for path, _, _ in cloud.asked) == len(failures) + 1


def refuse(status: int) -> Callable[[Cloud], None]:
    return lambda cloud: cloud.answers.update({PATH_OF_OBJECT: (status, b"no")})


def no_service_account(cloud: Cloud) -> None:
    del cloud.answers["/computeMetadata/v1/instance/service-accounts/default/token"]


def other_endpoint(url: str) -> Callable[[Cloud], None]:
    path = "/computeMetadata/v1/instance/attributes/storage-endpoint"
    return lambda cloud: cloud.answers.update({path: (200, url.encode())})


def offer_bytes(body: bytes) -> Callable[[Cloud], None]:
    return lambda cloud: cloud.answers.update({PATH_OF_OBJECT: (200, body)})


@pytest.mark.parametrize(
    ("spoil", "requests", "reason"),
    [
        (refuse(403), 1, "the builder VM's service account may not read the build context gs://my-bucket/"),
        (refuse(401), 1, "(HTTP 401)"),
        (refuse(404), 1, "does not exist (HTTP 404 from http://127.0.0.1:"),
        (refuse(503), 6, "error: 503"),
        (no_service_account, 0, "the builder VM has no service account to read the build context with"),
        (other_endpoint("http://nowhere.invalid"), 0, "Could not resolve host: nowhere.invalid"),
        (other_endpoint("http://127.0.0.1:9"), 0, "Failed to connect to 127.0.0.1 port 9"),
        (
            offer_bytes(b"<html>"),
            1,
            "cannot unpack the build context gs://my-bucket/a%20dir%2Fcontext%201.tar.gz: gzip",
        ),
        (offer_bytes(gzip.compress(b"no tar" * 1000)), 1, "cannot unpack the build context gs://my-bucket/"),
        (offer_bytes(gzip.compress(tar_of({"a.sh": "changed"}))), 1, "it was changed after the upload"),
    ],
)
def test_a_context_that_cannot_be_had_fails_the_build_and_says_why(
    spoil: Callable[[Cloud], None], requests: int, reason: str, cloud: Cloud, machine: Guest
) -> None:
    offer(cloud, machine, tar_of({"a.sh": "echo a"}))
    spoil(cloud)
    *before, last = machine.fetch(cloud)
    assert before == []
    assert isinstance(last, BuildFailed)
    assert (last.step, last.exit_code) == (None, None)
    assert reason in last.reason
    assert sum(path.startswith("/storage") for path, _, _ in cloud.asked) == requests
    assert not (machine.folder / "state" / "context").exists()


def test_without_an_attribute_the_endpoint_is_googles(cloud: Cloud, machine: Guest) -> None:
    del cloud.answers["/computeMetadata/v1/instance/attributes/storage-endpoint"]
    (failed,) = machine.bash("curl+=(--resolve storage.googleapis.com:443:127.0.0.2); fetch_context", cloud=cloud)
    assert isinstance(failed, BuildFailed)
    assert "from https://storage.googleapis.com: " in failed.reason


def test_steps_run_in_order_with_their_environment(machine: Guest) -> None:
    one = machine.write("one.sh", 'echo "1 in $PWD, $FROM_ENV, $#, $0"; echo err >&2')
    two = machine.write("sub dir/-two.sh", "printf 'no end'")
    context = machine.folder / "state" / "context"
    events = machine.build(one, two)
    assert [event for event in events if not isinstance(event, StepSucceeded)] == [
        StepStarted(1, "run-script one.sh"),
        OutputLine(f"1 in {context}, it's"),
        OutputLine(f"$here, 0, {context}/one.sh"),
        OutputLine("err"),
        StepStarted(2, "run-script sub dir/-two.sh"),
        OutputLine("no end"),
        BuildSucceeded(),
    ]
    assert [event.step for event in events if isinstance(event, StepSucceeded)] == [1, 2]


def test_nothing_of_ours_reaches_the_script(machine: Guest) -> None:
    script = (
        "env | sed 's/=.*//'; declare -F; ls /proc/self/fd | wc -l; cat; trap -p INT; yes | head -1; set -o | grep on$"
    )
    (_, *output, _, _) = machine.build(machine.write("a.sh", script))
    names = [event.text for event in output if isinstance(event, OutputLine)]
    ours = subprocess.run(["bash", "-c", "env | sed 's/=.*//'"], capture_output=True, text=True, check=True)
    assert set(names) >= {"FROM_ENV", "PWD"}
    assert not [name for name in names if name in {"state", "directory", "nonce", "OLDPWD", "BASH_ENV", "step"}]
    plain = subprocess.run(["bash", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
    rest = [line for line in plain.stdout.splitlines() if line not in ours.stdout.splitlines()]
    assert names[-len(rest) :] == rest, "open files, functions, options"


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("false", 1), ("kill -9 $$", 137), ("no-such-program", 127), ("if", 2), ("exit 256", 0)],
)
def test_the_exit_code_decides(script: str, code: int, machine: Guest) -> None:
    events = machine.build(machine.write("a.sh", script), machine.write("b.sh", "echo b"))
    if code:
        reason = f"exited with {code}"
        assert events[-2:] == [StepFailed(1, code, reason), BuildFailed(1, code, reason)]
        assert "b" not in texts(events)
        assert machine.build(machine.write("a.sh", "true"))[-1] == BuildFailed(1, code, reason), "after a reboot"
    else:
        assert events[-1] == BuildSucceeded()


def test_a_script_that_is_not_there_fails(machine: Guest) -> None:
    machine.write("a.sh", "")
    *_, output, _, failed = machine.build(script_step("b.sh"))
    assert failed == BuildFailed(1, 127, "exited with 127")
    assert isinstance(output, OutputLine)
    assert "b.sh: No such file" in output.text


def test_a_kind_of_step_that_the_guest_does_not_know_fails(machine: Guest) -> None:
    machine.write("a.sh", "")
    *_, failed = machine.build(GuestStep("install-x", "install-x"))
    assert failed == BuildFailed(1, None, "is of a kind unknown to the builder VM: install-x")


def test_a_process_that_holds_the_output_does_not_hold_up_the_build(machine: Guest) -> None:
    go = machine.folder / "go"
    holder = machine.write("a.sh", f"(until [[ -e {go} ]]; do sleep 0.05; done; echo late) & echo pid $!")
    events = machine.build(holder, machine.write("b.sh", "echo b"))
    assert [type(event) for event in events if not isinstance(event, OutputLine)][-1] is BuildSucceeded
    pid = int(next(text for text in texts(events) if text.startswith("pid ")).split()[1])
    os.kill(pid, 0)  # left alone
    go.touch()
    wait_for(lambda: b"BuildStatus: late\n" in machine.said)


def test_last_words_without_an_end_are_heard_though_a_process_holds_the_output(machine: Guest) -> None:
    go = machine.folder / "go"
    holder = f"(until [[ -e {go} ]]; do sleep 0.05; done) & printf 'fatal: no end of line'; exit 3"
    events = machine.build(machine.write("a.sh", holder))
    go.touch()
    (failed,) = [at for at, event in enumerate(events) if isinstance(event, StepFailed)]
    assert texts(events[:failed])[0] == "fatal: no end of line", "before the marker, and so in the error"


def test_a_step_is_not_run_twice(machine: Guest) -> None:
    again = machine.write("a.sh", f"echo x >>{machine.folder}/runs; touch {machine.folder}/going-down")
    steps = (again, machine.write("b.sh", f"echo y >>{machine.folder}/runs"))
    first = machine.build(*steps)
    assert isinstance(first[-1], StepSucceeded), "a shutdown under way: the next step is left to the next boot"
    (machine.folder / "going-down").unlink()
    second = machine.build(*steps)
    assert [type(event) for event in second] == [StepStarted, StepSucceeded, BuildSucceeded]
    assert (machine.folder / "runs").read_text() == "x\ny\n"


def test_a_step_cut_off_by_a_reboot_fails(machine: Guest) -> None:
    step = machine.write("a.sh", "kill -9 $PPID; sleep 1")
    with pytest.raises(subprocess.CalledProcessError):
        machine.build(step)
    for _ in range(2):
        *_, failed = machine.build(step)
        assert isinstance(failed, BuildFailed)
        assert (failed.step, failed.exit_code) == (1, None)
        assert failed.reason == "was interrupted by a reboot before it finished"
    (machine.folder / "run" / "running").touch()  # the same boot still
    *_, failed = machine.build(step)
    assert failed == BuildFailed(1, None, "was interrupted: something killed the build's own processes")


@pytest.mark.parametrize("code", [3010, 194])  # Linux keeps 8 bits of an exit code
def test_a_script_that_exits_with_3010_has_succeeded_and_is_followed_by_a_reboot(code: int, machine: Guest) -> None:
    asked, down = machine.folder / "asked", machine.folder / "going-down"
    reboots = f'systemctl() {{ echo "$*" >>{asked}; touch {down}; }}'
    steps = (machine.write("a.sh", f"echo a; exit {code}"), machine.write("b.sh", f"echo b; exit {code}"))
    for number, said in enumerate("ab", start=1):
        *events, told = machine.build(*steps, before=reboots)
        assert [type(event) for event in events] == [StepStarted, OutputLine, StepSucceeded]
        assert (events[0], events[1]) == (StepStarted(number, steps[number - 1].label), OutputLine(said))
        assert told == OutputLine(f"step {number} asks for a reboot"), "and the next step is left to the next boot"
        down.unlink()
    assert machine.build(*steps, before=reboots) == [BuildSucceeded()]
    assert asked.read_text() == "--no-block reboot\n" * 2, "once for each step"


def test_a_script_that_reboots_by_itself_may_exit_with_3010_too(machine: Guest) -> None:
    step = machine.write("a.sh", f"touch {machine.folder}/going-down; exit 3010")
    events = machine.build(step, before="systemctl() { echo a second reboot; }")
    assert [type(event) for event in events] == [StepStarted, StepSucceeded, OutputLine]


def test_a_machine_that_does_not_reboot_where_a_script_asks_for_it_fails_the_build(machine: Guest) -> None:
    events = machine.build(machine.write("a.sh", "exit 3010"), before="systemctl() { false; }")
    assert isinstance(events[1], StepSucceeded)
    assert events[-1] == BuildFailed(None, None, "the VM does not reboot, though step 1 asks for it")


def test_steps_of_other_kinds_do_not_ask_for_a_reboot_by_their_exit_code(machine: Guest) -> None:
    machine.write("a.sh", "")
    *_, failed = machine.build(DRIVER, before="step_install_gpu() { exit 194; }")
    assert failed == BuildFailed(1, 194, "exited with 194")


def test_a_script_that_may_be_repeated_runs_from_its_beginning_after_a_reboot(machine: Guest) -> None:
    runs = machine.folder / "runs"
    cut = f"echo run >>{runs}; [[ $(wc -l <{runs}) == 2 ]] || {{ kill -9 $PPID; sleep 1; }}"
    step = replace(machine.write("a.sh", cut), repeatable=True)
    with pytest.raises(subprocess.CalledProcessError):
        machine.build(step)
    again, started, succeeded, end = machine.build(step)
    assert again == OutputLine("step 1 was interrupted by a reboot, and is run again")
    assert (started, type(succeeded), end) == (StepStarted(1, step.label), StepSucceeded, BuildSucceeded())


def test_what_a_script_removes_of_the_build_in_memory_is_put_back(machine: Guest) -> None:
    run = machine.folder / "run"
    steps = (machine.write("a.sh", f"rm -rf {run}"), machine.write("b.sh", "echo b"))
    events = machine.build(*steps, before='keep_files; before=$(cd "$directory" && md5sum *.sh steps/*)')
    assert events[-1] == BuildSucceeded()
    assert f"warning: a script has removed files of the build from {run}; they are put back" in texts(events)
    assert (run / "plan.sh").read_text() == render_plan(steps, machine.context, "n0nce")
    assert (run / "plan.sh").stat().st_mode & 0o777 == 0o600
    assert (run / "steps" / "kernel_args.sh").read_bytes() == (FOLDER / "steps" / "kernel_args.sh").read_bytes()


@pytest.mark.parametrize(
    ("sabotage", "step", "reason"),
    [
        ("rm -rf {state}", None, "cannot record a step in {state}: has a script removed it?"),
        ("rm -rf {state}/*", None, "cannot record a step in {state}: has a script removed it?"),
        ("rm -rf {state}/pending", 2, "is not on record any more: something has removed it from {state}"),
        ("(until [[ -e {state}/done/2 ]]; do sleep 0.02; done; rm {state}/done/1) &", 1, "is not on record as done"),
    ],
)
def test_a_script_that_removes_the_record_of_the_steps_fails_the_build(
    sabotage: str, step: int | None, reason: str, machine: Guest
) -> None:
    state = machine.folder / "state"
    steps = (machine.write("a.sh", sabotage.format(state=state)), machine.write("b.sh", "echo b"))
    after = "until [[ ! -e $state/done/2 || ! -e $state/done/1 ]]; do command sleep 0.02; done; check_record"
    events = machine.bash(f"recall_steps; record_plan; plan; {after}; conclude 'BuildSucceeded[n0nce]:'", *steps)
    failed = events[-1]
    assert isinstance(failed, BuildFailed)
    assert failed.step == step
    assert failed.reason.startswith(reason.format(state=state))


DRIVER = driver_step()


def test_a_driver_s_installation_cut_off_by_a_reset_runs_again_at_most_twice(machine: Guest) -> None:
    script = machine.write("a.sh", "echo once")
    reset = 'step_install_gpu() { echo "$1"; kill -9 $$; sleep 1; }'
    for attempt in range(3):
        before = len(machine.said)
        with pytest.raises(subprocess.CalledProcessError):
            machine.build(script, DRIVER, before=reset)
        wait_for(lambda before=before: b"version=396.26" in machine.said[before:])  # type: ignore[misc]
        again = b"BuildStatus: step 2 was interrupted by a reboot, and is run again" in machine.said[before:]
        assert again == (attempt > 0)
        assert (b"once" in machine.said[before:]) == (attempt == 0)
    for _ in range(2):
        *_, failed = machine.build(script, DRIVER, before=reset)
        assert failed == BuildFailed(2, None, "was interrupted by a reboot three times, and is not run again")


def test_a_driver_s_installation_that_succeeds_after_a_reset_is_done(machine: Guest) -> None:
    machine.write("a.sh", "")
    with pytest.raises(subprocess.CalledProcessError):
        machine.build(DRIVER, before="step_install_gpu() { kill -9 $$; sleep 1; }")
    *_, started, _, _, end = machine.build(DRIVER, before="step_install_gpu() { echo table; }")
    assert (started, end) == (StepStarted(1, DRIVER.label), BuildSucceeded())
    assert machine.build(DRIVER) == [BuildSucceeded()], "and is not run a third time"
    (machine.folder / "state" / "done" / "1").rename(machine.folder / "state" / "started" / "1")
    (machine.folder / "run" / "running").touch()  # no reset, but the build's processes were killed
    *_, failed = machine.build(DRIVER)
    assert failed == BuildFailed(1, None, "was interrupted: something killed the build's own processes")


def test_sigterm_waits_for_the_script(machine: Guest) -> None:
    step = machine.write("a.sh", "kill $PPID; sleep 0.3; echo done; exit 4")
    *_, output, _, _, failed, _ = machine.build(step)
    assert (output, failed) == (OutputLine("done"), StepFailed(1, 4, "exited with 4"))


REFERENCE = "projects/my-project/secrets/token/versions/3"
ACCESS = f"/v1/{REFERENCE}:access"
SECRETS = {
    "a word": "hunter2-and-some-more",
    "short": "ab",
    "of sed's and the shell's own characters": r"a.*[b]$^/\\|&'\"`$(id)~!{}",
    "of several lines": "-----BEGIN KEY-----\n"
    + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 6
    + "  indented = 1\n-----END KEY-----\n\n",
    "of which lines are parts of lines": "abcd\nabcdefgh\nxabcdefghy",
    "not ASCII": "Schlüssel-世界-🎉",
    "long": "".join(f"{number:x}." for number in range(9000)),
}
SHOW = """
printf '%s' "$TOKEN" | cmp - ../../expected && echo "as it is"
printf '%s' "$TOKEN"; echo; printf '%s\n' "before $TOKEN after"; echo $TOKEN
printf '%s' "$TOKEN" | base64 -w 0; echo; printf '%s\n' "$TOKEN" | base64; printf '%s' "$TOKEN" | base64 -w 64
printf '%s' "$TOKEN" | base64 -w 0 | tr +/ -_; echo
printf '%s' "$TOKEN" | od -An -v -tx1 | tr -d ' \n'; echo
for user in u us use; do printf '%s:%s@' $user "$TOKEN" | base64 -w 0; echo; done
while IFS= read -r line; do
  for file in /proc/[0-9]*/cmdline; do
    [[ ${#line} -lt 4 || $(tr '\\0' ' ' <"$file") != *"$line"* ]] || echo "on the command line of ${file//[!0-9]/}"
  done
done < <(printf '%s' "$TOKEN" | sort -u | head -n 5) 2>/dev/null
echo "end"
"""


def give_secret(cloud: Cloud, value: bytes) -> None:
    cloud.answers["/computeMetadata/v1/instance/attributes/secretmanager-endpoint"] = (200, cloud.url.encode())
    payload = {"data": base64.b64encode(value).decode(), "dataCrc32c": "1"}
    cloud.answers[ACCESS] = (200, json.dumps({"name": REFERENCE, "payload": payload}, indent=2).encode())


def with_secret(step: GuestStep) -> GuestStep:
    return replace(step, secrets=[("TOKEN", REFERENCE)])


@pytest.mark.parametrize("value", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_in_the_environment_of_its_step_and_shows_nowhere(value: str, cloud: Cloud, machine: Guest) -> None:
    give_secret(cloud, value.encode())
    (machine.folder / "expected").write_bytes(value.encode())
    steps = (with_secret(machine.write("a.sh", SHOW)), machine.write("b.sh", 'echo "${TOKEN-unset}"; env'))
    events = machine.build(*steps, cloud=cloud)
    assert events[-1] == BuildSucceeded()
    output = texts(events)
    assert output[0] == "as it is"
    assert output[output.index("end") + 1] == "unset"
    assert not [line for line in output if line.startswith("on the command line")]
    shown = b"\n".join(line.encode() for line in output[1 : output.index("end")])
    encoded = base64.b64encode(value.encode()).decode()
    amid = [base64.b64encode(b"." * shift + value.encode()).decode().strip("=")[4:-4] for shift in (1, 2)]
    telling = [
        part for part in (*value.split(), encoded, encoded[:60], value.encode().hex(), *amid) if len(part) >= 4
    ] or [value]
    assert not [part for part in telling if part.encode() in shown], shown
    assert cloud.asked[-1] == (ACCESS, None, f"Bearer {TOKEN}")
    (machine.folder / "expected").unlink()
    written = b"".join(path.read_bytes() for path in machine.folder.rglob("*") if path.is_file())
    assert max(telling, key=len).encode() not in written


def test_a_secret_may_have_any_name_that_a_variable_of_bash_can_have(cloud: Cloud, machine: Guest) -> None:
    give_secret(cloud, b"the value")
    names = ["TOKEN", "state", "secrets", "call", "name", "script", "REPLY", "MAPFILE", "IFS", "PATH", "_x", "BASH_ENV"]
    seen = '$(/usr/bin/tr "\\0" "\\n" </proc/$$/environ | /bin/grep -cx "%s=the value")'
    script = "".join(f"[[ {seen % name} == 1 ]] || echo no {name}\n" for name in names)
    step = replace(machine.write("a.sh", script), secrets=[(name, REFERENCE) for name in names])
    events = machine.build(step, cloud=cloud)
    assert isinstance(events[-1], BuildSucceeded), texts(events)
    assert not [line for line in texts(events) if line.startswith("no ")]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (403, b"no", f"may not read the secret {REFERENCE} (HTTP 403)"),
        (
            400,
            b"no",
            f"the version of the secret {REFERENCE} is disabled or destroyed (HTTP 400 from http://127.0.0.1:",
        ),
        (404, b"no", f"the secret {REFERENCE} does not exist (HTTP 404 from http://127.0.0.1:"),
        (503, b"no", f"cannot read the secret {REFERENCE} from http://127.0.0.1:"),
        (200, b"<html>", f"the secret {REFERENCE} is empty"),
        (200, b'{"payload": {"data": "!"}}', "has not answered as Secret Manager does"),
        (200, b'{"payload": {"data": "YQBi"}}', f"the secret {REFERENCE} holds a NUL character"),
    ],
)
def test_a_secret_that_cannot_be_had_fails_its_step_before_the_script_runs(
    status: int, body: bytes, reason: str, cloud: Cloud, machine: Guest
) -> None:
    give_secret(cloud, b"x")
    cloud.answers[ACCESS] = (status, body)
    events = machine.build(with_secret(machine.write("a.sh", "echo ran")), cloud=cloud)
    failed = events[-1]
    assert isinstance(failed, BuildFailed)
    assert failed.step == 1
    assert failed.reason.startswith("cannot be given TOKEN: ")
    assert reason in failed.reason
    assert "ran" not in texts(events)


def test_where_a_script_failed_is_said_without_its_secret(cloud: Cloud, machine: Guest) -> None:
    give_secret(cloud, b"hunter2-and-some-more")
    script = 'set -e\ntrap "cat {0}/run/failed >{0}/seen" EXIT\neval "false a $TOKEN"\n'
    events = machine.build(with_secret(machine.write("a.sh", script.format(machine.folder))), cloud=cloud)
    assert texts(events)[-1] == 'failed at a.sh: line 3: eval "false a $TOKEN": exit 1'
    assert StepPlace(1, "a.sh", 3, 'eval "false a $TOKEN"') in events
    assert b"hunter2" not in (machine.folder / "seen").read_bytes()
