"""finish-image-build as a program: what it says, what it leaves, how it ends."""

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builds import make_image
from support.command_line import run
from support.compute_clients import Compute
from support.guest_scripts import marker, said, script, succeeding
from support.leftovers import DEAD, labelled
from support.programs import read_until, rest_of

from cos_customizer.cli.output_file import OutputFile
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect

PROGRAM = [sys.executable, "-c", "import sys; from cos_customizer.cli.main import main; sys.exit(main())"]
FINISH = ["finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=my-image"]
LABEL = "run-script preload.sh"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, a build context as working directory, and a directory for temporary files, which ends empty."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for name in ("home", "workspace", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "workspace" / "preload.sh").write_text("echo Hello\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)  # where the migrated database is
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "workspace")
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def started(places: Path, emulator: Emulator) -> Path:
    """A build of one script, ready to be finished; gives the local state's directory."""
    start = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", "-gcs-bucket=my-project_cloudbuild")
    assert run("start-image-build", *start, "-gcs-workdir=work").code == 0
    assert run("run-script", "-script=preload.sh", "-env=TOKEN=hunter2").code == 0
    return places / "home" / ".cos-customizer-workdir"


@pytest.mark.slow
def test_a_build_and_the_same_again(
    started: Path, places: Path, emulator: Emulator, session_server: dict[str, str], warm_program: str
) -> None:
    """The first one is as users start it, from cold and with a Prefect server of its own."""
    steps = succeeding(LABEL)["events"]
    steps.insert(-1, said("", after=1.0))  # the halt takes a while
    emulator.scripts.add(script(*steps))
    state = started / "state.json"
    kept = state.read_bytes(), next(started.glob("context-*")).read_bytes(), next(started.glob("context-*")).name
    ran = subprocess.run([*PROGRAM, *FINISH, "-output-file=out.json"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = [line.partition("  ")[2] for line in ran.stdout.splitlines()]
    assert lines[0] == "Prefect      own server (PREFECT_API_URL is not set)"
    assert lines[1].startswith("builder VM   cos-customizer-")
    assert lines[2].startswith("builder VM   booted in ")
    assert lines[3:6] == [f"step 1/1     {LABEL}", "  | output of step 1", "step 1/1     done in 0.4 s"]
    assert "image        projects/my-project/global/images/my-image (" in ran.stdout
    assert "cleaned up   1 VM, 1 disk, 1 object" in ran.stdout
    *_, last, heading, line = ran.stdout.splitlines()
    assert last.startswith("my-image built in ")
    assert (heading, line) == ("to look at it:", "  cos-customizer emulator boot my-image -- cat /etc/os-release")
    assert "hunter2" not in ran.stdout
    assert [file.name for file in started.iterdir()] == ["ended.txt"]
    result = BuildResult.model_validate_json(Path("out.json").read_text())
    assert (result.outcome, result.image, result.zone) == ("built", "my-image", "us-west1-b")
    assert result.image_self_link.endswith("projects/my-project/global/images/my-image")
    assert [step.label for step in result.steps] == [LABEL]
    life = re.search(r"\(VM ([0-9.]+) s", ran.stdout)
    assert life
    assert float(life[1]) == pytest.approx(
        sum(result.durations[phase] for phase in ("builder VM", "boot", "steps", "halt", "image")), abs=0.1
    )
    assert result.durations["halt"] > 0.5

    started.mkdir(mode=0o700, exist_ok=True)
    state.write_bytes(kept[0])
    (started / kept[2]).write_bytes(kept[1])
    environment = {**os.environ, **session_server}
    again = subprocess.run([warm_program, *FINISH], env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert "my-image already exists" in again.stdout
    assert again.stdout.splitlines()[-3].startswith("my-image was there already")
    assert [file.name for file in started.iterdir()] == ["ended.txt"]


@pytest.mark.usefixtures("prefect_server")
def test_a_failed_step_shows_its_last_lines(started: Path, emulator: Emulator) -> None:
    emulator.scripts.add(
        script(
            marker(f"BuildStep: 1 started {LABEL}"),
            said("BuildStatus: + curl -sf https://internal.example\r\nBuildStatus: no\x1b[2Jhost\r\n"),
            marker("BuildStep: 1 failed exit 6"),
            marker("BuildFailed: step 1 exit 6"),
        )
    )
    ran = run(*FINISH, "-output-file=out.json")
    assert ran.code == 1
    first, *rest = ran.err.splitlines()
    assert first.startswith("cos-customizer: step 1/1 failed: run-script preload.sh")
    assert "6" in first
    assert "    | + curl -sf https://internal.example" in rest
    log = next(line.removeprefix("  full serial log: ") for line in rest if line.startswith("  full serial log: "))
    assert log.startswith("gs://my-project_cloudbuild/work/")
    assert f"  to read it: cos-customizer emulator cat {log}" in rest
    assert "curl -sf https://internal.example" in run("emulator", "cat", log).out
    assert "serial log" not in ran.out  # once is enough
    assert "\x1b" not in ran.out + ran.err
    assert "Traceback" not in ran.err
    assert [file.name for file in started.iterdir()] == ["ended.txt"]
    result = json.loads(Path("out.json").read_text())
    assert result["outcome"] == "failed"
    assert (result["failure"]["cause"], result["failure"]["step"], result["failure"]["exit_code"]) == (
        "step-failed",
        1,
        6,
    )


@pytest.mark.usefixtures("prefect_server")
def test_a_builder_vm_that_is_kept_is_told_with_the_commands_for_it(started: Path, emulator: Emulator) -> None:
    emulator.scripts.add(script(marker(f"BuildStep: 1 started {LABEL}"), marker("BuildFailed: step 1 exit 6")))
    ran = run(*FINISH, "-keep-builder-on-failure=2h", "-output-file=out.json")
    assert ran.code == 1
    kept = json.loads(Path("out.json").read_text())["kept"]
    lines = ran.err.splitlines()
    assert any(line.startswith(f"  kept: builder VM {kept['name']} in us-west1-b, until 20") for line in lines)
    assert f"  to get in: {kept['get_in']}" in lines
    assert f"  its console: {kept['read_console']}" in lines
    assert f"  to delete it: {kept['delete']}" in lines


@pytest.mark.slow
def test_an_output_file_that_can_no_longer_be_written_hides_no_failure(
    started: Path, emulator: Emulator, session_server: dict[str, str], warm_program: str
) -> None:
    emulator.scripts.add(script(marker(f"BuildStep: 1 started {LABEL}"), marker("BuildFailed: step 1 exit 6", 60)))
    place = Path("results")
    place.mkdir()
    command = [warm_program, *FINISH, f"-output-file={place}/out.json"]
    environment = {**os.environ, **session_server}
    with subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1) as build:
        read_until(build, "step 1/1")
        place.rmdir()
        emulator.clock.advance(60)
        _, err = rest_of(build)
    assert build.returncode == 1
    assert "cannot write -output-file" in err
    assert "step 1/1 failed: run-script preload.sh exited with 6" in err


@pytest.mark.slow
def test_a_configured_server_is_used_and_named(
    started: Path, emulator: Emulator, session_server: dict[str, str], warm_program: str
) -> None:
    emulator.scripts.add(succeeding(LABEL))
    url = session_server["PREFECT_API_URL"]
    credential = session_server["PREFECT_API_AUTH_STRING"]
    environment = {**os.environ, "PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": credential}
    ran = subprocess.run([warm_program, *FINISH], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    (line,) = [line for line in ran.stdout.splitlines() if "flow run" in line]
    own = {"Authorization": "Basic " + base64.b64encode(credential.encode()).decode()}
    request = urllib.request.Request(f"{url}/flow_runs/{line.rpartition('/runs/flow-run/')[2]}", headers=own)
    with urllib.request.urlopen(request) as response:
        flow_run = json.load(response)
    assert flow_run["state_type"] == "COMPLETED"
    assert flow_run["name"] == "build my-image"


@pytest.mark.slow
def test_a_configured_server_that_does_not_answer_is_said(started: Path, warm_program: str) -> None:
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    refused = subprocess.run([warm_program, *FINISH], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("cos-customizer: the Prefect API at http://127.0.0.1:1/api/ does not answer: ")
    assert "PREFECT_API_URL" in refused.stderr
    assert (started / "state.json").exists()


@pytest.mark.usefixtures("prefect_server")
def test_the_state_is_kept_when_the_build_could_not_begin(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    refused = run(*FINISH)
    assert refused.code == 2
    assert "STORAGE_EMULATOR_HOST" in refused.err
    assert (started / "state.json").exists()


MISTAKES = {
    "a region for a zone": (["-zone=us-west1"], 2, "-zone: us-west1 is a region, not a zone"),
    "one zone that is not there": (["-zone=us-west1-b,mars1-a"], 2, "-zone: there is no zone mars1-a"),
    "an unknown machine type": (["-machine-type=n1-huge-1"], 2, "-machine-type=n1-huge-1: there is none in us-west1-b"),
    "a disk that is too small": (["-disk-size-gb=5"], 2, "-disk-size-gb=5: the source image cos-stable-68-10718-86-0"),
    "an unknown disk type": (["-disk-type=pd-huge"], 1, "-disk-type sets it."),
    "no technology": (["-confidential-vm=SGX"], 2, "-confidential-vm: 'SGX' is not one of SEV, SEV_SNP, TDX"),
    "a machine that is not confidential": (
        ["-confidential-vm=SEV", "-machine-type=n1-standard-1"],
        2,
        "-machine-type=n1-standard-1 does not run as -confidential-vm=SEV: machines of n2d, c2d, c3d do",
    ),
    "metadata of the build's": (["-metadata=user-data=x"], 2, "'user-data' is set by the build"),
    "metadata without a value": (["-metadata=a=1,b"], 2, "choose another delimiter: -metadata='^;^KEY=a,b;KEY=c'"),
    "scopes that are too few": (["-scopes=logging-write"], 2, "the VM reads the build context in Cloud Storage"),
    "two locations": (["-storage-location=us,eu"], 2, "'us,eu' is more than one"),
    "no such feature": (["-guest-os-features=gvnic"], 2, "there is no guest OS feature 'gvnic': did you mean GVNIC?"),
    "no label's key": (["-inherit-labels=Team"], 2, "'Team' is not a valid label key"),
    "an arm64 machine": (["-machine-type=t2a-standard-1"], 2, "-machine-type=t2a-standard-1: it runs arm64 images"),
}


@pytest.mark.parametrize(("flags", "code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_that_the_cloud_tells_of_is_told_by_flag_and_costs_no_step(
    started: Path,
    emulator: Emulator,
    session_server: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    code: int,
    message: str,
) -> None:
    for name, value in session_server.items():
        monkeypatch.setenv(name, value)
    before = {path: path.read_bytes() for path in started.iterdir()}
    refused = run("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=i", *flags)
    assert (refused.code, message in refused.err) == (code, True), refused.err
    assert {path: path.read_bytes() for path in started.iterdir()} == before
    assert emulator.list("projects/my-project/zones/-/instances") == []
    if code == 2:
        assert not [call for call in emulator.calls.list(path="^/upload/") if call.status < 400]


def test_a_bucket_that_is_not_there_is_told_by_flag_and_costs_no_step(
    places: Path, emulator: Emulator, session_server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in session_server.items():
        monkeypatch.setenv(name, value)
    source = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud")
    start = ("start-image-build", *source, "-gcs-bucket=my-bucket", "-gcs-workdir=work")
    refused = run(*start)
    assert (refused.code, list((places / "home").iterdir())) == (2, [])
    assert "-gcs-bucket: there is no bucket my-bucket" in refused.err
    bucket = connect().storage.create_bucket("my-bucket")
    assert run(*start).code == 0
    assert run("run-script", "-script=preload.sh").code == 0
    bucket.delete()
    refused = run("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=i")
    assert refused.code == 2
    assert "-gcs-bucket: there is no bucket my-bucket" in refused.err
    assert (places / "home" / ".cos-customizer-workdir" / "state.json").exists()


def test_a_mistake_is_told_before_anybody_waits_for_prefect(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    refused = run("finish-image-build", "-zone=us-west1", "-project=my-project", "-image-name=i")
    assert (refused.code, refused.err.splitlines()) == (
        2,
        [
            "cos-customizer: -zone: us-west1 is a region, not a zone",
            "  hint: zones of it: us-west1-a, us-west1-b, us-west1-c.",
        ],
    )
    assert (started / "state.json").exists()


def test_what_others_have_left_is_deleted_first_where_it_is_asked_for(
    started: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")  # the build itself does not come to that
    compute = Compute(emulator)
    compute.create(DEAD.builder_vm, **labelled(DEAD.labels(time.time() - 1)))
    finish = ("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=i")
    for flags, left in (((), [DEAD.builder_vm]), (("-enable-cleanup",), [])):
        assert run(*finish, "-machine-type=n1-huge-1", *flags).code == 2
        assert compute.names("instances") == left


def test_an_image_of_another_recipe_is_warned_of_with_the_flags_that_help(
    started: Path, emulator: Emulator, session_server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in session_server.items():
        monkeypatch.setenv(name, value)
    make_image("my-image")
    finish = ("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=my-image")
    failed = run(*finish, "-on-existing=fail")
    assert (failed.code, (started / "state.json").exists()) == (1, True)
    assert failed.err.startswith("cos-customizer: my-image is there since 2")
    assert "take another -image-name, or -on-existing=replace." in failed.err
    planned = run(*finish, "-dry-run")
    assert "# The image my-image is there already, not made by cos-customizer: the build would do noth" in planned.out
    ran = run(*finish, "-output-file=out.json")
    assert (ran.code, ran.err) == (0, "")
    (line,) = [line for line in ran.out.splitlines() if "warning: " in line]
    assert "nothing was built; delete it (gcloud compute images delete my-image --project=my-project), take" in line
    assert line.endswith("take another -image-name, or -on-existing=replace")
    assert ran.out.splitlines()[-3] == "my-image was there already, not made by cos-customizer; nothing was built"
    result = json.loads(Path("out.json").read_text())
    assert (result["outcome"], result["made_by"]) == ("exists", "other-means")
    said = run("run-script", "-script=preload.sh").err
    assert "the image build that was started here ended at 2" in said
    assert ": my-image was there already" in said


RESULT = BuildResult(outcome="built", image="i")


def test_the_output_file_is_whole_and_for_others_to_read(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        OutputFile.checked(str(tmp_path / "out.json")).write(RESULT)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert BuildResult.model_validate_json(file.read_text()) == RESULT
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_link_or_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    link, target, pipe = tmp_path / "link", tmp_path / "target", tmp_path / "pipe"
    link.symlink_to(target)  # as /dev/stdout is one
    OutputFile.checked(str(link)).write(RESULT)
    assert link.is_symlink()
    assert BuildResult.model_validate_json(target.read_text()) == RESULT
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    OutputFile.checked(str(pipe)).write(RESULT)
    assert BuildResult.model_validate_json(os.read(reader, 65536)) == RESULT
    os.close(reader)
    assert pipe.is_fifo()


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("x" * 10000)
    OutputFile.checked(str(tmp_path / "out.json")).write(RESULT)
    assert BuildResult.model_validate_json((tmp_path / "out.json").read_text()) == RESULT


@pytest.mark.parametrize("name", ["/", "/nowhere/x.json", "/proc/x.json"])
def test_an_output_file_that_cannot_be_written_is_known_before(name: str) -> None:
    with pytest.raises(UsageError, match="-output-file"):
        OutputFile.checked(name)


def test_no_output_file_is_nothing(tmp_path: Path) -> None:
    for name in (None, ""):
        OutputFile.checked(name).write(RESULT)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("-cloud-logging",)], ids=["off", "on"])
def test_cloud_logging_is_loaded_only_where_it_is_asked_for(
    started: Path, emulator: Emulator, session_server: dict[str, str], flags: tuple[str, ...]
) -> None:
    emulator.scripts.add(succeeding(LABEL))
    program = (
        "import sys; from cos_customizer.cli.main import main; code = main();"
        "print('loaded', 'google.cloud.logging' in sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *FINISH, *flags]
    environment = {**os.environ, **session_server}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == f"loaded {bool(flags)}"
    found = emulator.logs.entries("my-project", 'jsonPayload.event="end"')
    assert [entry["jsonPayload"]["message"] for entry in found] == ["my-image is built"] * bool(flags)


def test_log_entries_that_would_leave_this_machine_are_refused_and_the_state_is_kept(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING")
    ran = run(*FINISH, "-cloud-logging", "-dry-run")
    assert ran.code == 2
    assert "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING does not lead here" in ran.err
    assert started.exists()
