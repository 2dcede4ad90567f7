"""start-image-build, run-script, and what finish-image-build does before it builds."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from google.cloud import compute_v1
from support.command_line import run
from support.dry_runs import DISKS, IMAGES, INSTANCES, UPLOAD, read_dry_run

from cos_customizer.cli.command import BUILD_STEPS
from cos_customizer.cli.commands import finish_image_build
from cos_customizer.cli.commands.finish_image_build import FLAGS, specification
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import NegatingFlag
from cos_customizer.cli.main import program
from cos_customizer.cli.state import BuildState, StateDirectory
from cos_customizer.customizer.spec import gpu_drivers, kernel_arguments, script_checks
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.options import OPTIONS
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS
from cos_customizer.customizer.spec.steps.run_script import RunScript
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect

IMAGE = "cos-stable-68-10718-86-0"
START = ("start-image-build", "-image-project=cos-cloud", "-gcs-bucket=my-project_cloudbuild", "-gcs-workdir=work")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and a build context as working directory."""
    home, context = tmp_path / "home", tmp_path / "workspace"
    home.mkdir()
    context.mkdir()
    (context / "preload.sh").write_text('echo "Hello, World!" > /var/lib/hello\n')
    (context / "lib").mkdir()
    (context / "lib" / "more.sh").write_text("true\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(context)
    for variable in ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(variable, raising=False)
    return home


@pytest.fixture
def started(home: Path) -> StateDirectory:
    """The state that start-image-build leaves, without a look at any cloud."""
    directory = StateDirectory(home / ".cos-customizer-workdir")
    spec = {
        "source": {"project": "cos-cloud", "name": IMAGE, "architecture": "X86_64"},
        "context": {"sha256": "0" * 64},
        "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
    }
    with directory.new() as draft:
        draft.archive.write_bytes(b"archive")
        draft.commit(spec, ("lib/more.sh", "preload.sh"), str(Path.cwd()))
    return directory


# start-image-build


def test_start_resolves_and_archives(home: Path, emulator: Emulator) -> None:
    started = run(*START, f"-image-name={IMAGE}")
    assert started.err == ""
    assert started.code == 0
    assert started.out.startswith(f"source image  cos-cloud/{IMAGE}\ncontext       2 files, 43 bytes, sha256 ")
    state = StateDirectory(home / ".cos-customizer-workdir").read()
    assert state.spec["source"] == {"project": "cos-cloud", "name": IMAGE, "architecture": "X86_64"}
    assert state.files == ("lib/more.sh", "preload.sh")
    assert state.archive.stat().st_size > 0


WAYS = [
    (["-image-milestone=125"], "cos-125-"),
    (["-image-milestone=125", "-image-name="], "cos-125-"),
    (["-image-family=cos-stable"], "cos-"),
    ([f"-image-name={IMAGE}", "-image-milestone=0", "-image-family="], IMAGE),
]


@pytest.mark.parametrize(("flags", "beginning"), WAYS)
def test_start_takes_a_name_a_milestone_or_a_family(
    home: Path, emulator: Emulator, flags: list[str], beginning: str
) -> None:
    assert run(*START, *flags).code == 0
    assert StateDirectory(home / ".cos-customizer-workdir").read().spec["source"]["name"].startswith(beginning)


def test_start_writes_down_the_architecture_it_finds(home: Path, emulator: Emulator) -> None:
    assert run(*START, "-image-milestone=125", "-image-architecture=arm64").code == 0
    source = StateDirectory(home / ".cos-customizer-workdir").read().spec["source"]
    assert source["name"].startswith("cos-arm64-")
    assert source["architecture"] == "ARM64"


def test_a_start_that_finds_no_image_leaves_nothing(home: Path, emulator: Emulator) -> None:
    failed = run(*START, "-image-name=cos-stable-1-2-3-4")
    assert failed.code == 1
    assert "could not find source image cos-stable-1-2-3-4" in failed.err
    assert list(home.iterdir()) == []


BAD_STARTS: list[tuple[list[str], str]] = [
    ([], "exactly one of -image-name, -image-milestone and -image-family must be set"),
    ([f"-image-name={IMAGE}", "-image-family=x"], "exactly one of"),
    ([f"-image-name={IMAGE}", "-image-project="], "-image-project (source.project) must be set"),
    ([f"-image-name={IMAGE}", "-gcs-bucket="], "-gcs-bucket (scratch.bucket) must be set"),
    ([f"-image-name={IMAGE}", "-gcs-workdir="], "-gcs-workdir (scratch.workdir) must be set"),
    ([f"-image-name={IMAGE}", "-gcs-bucket=", "-gcs-workdir="], "-gcs-bucket (scratch.bucket) must be set; -gcs-w"),
    ([f"-image-name={IMAGE}", "-gcs-bucket=gs://bucket/dir"], "is a URL, not a bucket"),
    ([f"-image-name={IMAGE}", "-gcs-bucket=Bucket"], "-gcs-bucket (scratch.bucket)"),
    (["-image-milestone=125", "-image-project=mine"], "-image-milestone needs -image-project=cos-cloud"),
    (["-image-milestone=-1"], "-image-milestone (source.milestone)"),
    (["-image-milestone=x"], "-image-milestone: 'x' is not a whole number"),
    (["-image-milestone=125", "-image-architecture=mips"], "-image-architecture: 'mips' is not one of x86_64, arm64"),
    ([f"-image-name={IMAGE}", "-build-context=nowhere"], "-build-context: 'nowhere' does not exist"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_STARTS)
def test_a_wrong_start_is_refused_before_any_cloud_is_asked(home: Path, flags: list[str], message: str) -> None:
    refused = run(*START, *flags)  # no endpoint is set: asking would fail in another way
    assert refused.code == 2
    assert message in refused.err
    assert list(home.iterdir()) == []


def test_half_an_endpoint_override_is_wrong_usage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    refused = run(*START, f"-image-name={IMAGE}")
    assert refused.code == 2
    assert "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE" in refused.err
    assert list(home.iterdir()) == []


def test_the_state_is_not_part_of_the_context(home: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))  # as for those who build in their home directory
    assert run(*START, f"-image-name={IMAGE}").code == 0
    assert run(*START, f"-image-name={IMAGE}", "-force").code == 0
    state = StateDirectory(Path.cwd() / ".cos-customizer-workdir").read()
    assert state.files == ("lib/more.sh", "preload.sh")


def test_the_state_cannot_be_the_context(home: Path) -> None:
    refused = run(*START, f"-image-name={IMAGE}", f"-local-state-workdir={Path.cwd()}")
    assert refused.code == 2
    assert "is the directory of the local state" in refused.err


def test_a_second_start_is_refused(started: StateDirectory) -> None:
    before = started.read()
    refused = run(*START, f"-image-name={IMAGE}")
    assert refused.code == 2
    assert "has been started already" in refused.err
    assert "-force" in refused.err
    assert started.read() == before


def test_builds_side_by_side(home: Path, emulator: Emulator) -> None:
    for name in ("a", "b"):
        assert run(f"-local-state-workdir={name}", *START, f"-image-name={IMAGE}").code == 0
    assert run("run-script", "-script=preload.sh", "-local-state-workdir", "a").code == 0
    assert run("-local-state-workdir=a", "run-script", "-script=preload.sh", "-local-state-workdir=b").code == 0
    for name in ("a", "b"):
        assert len(StateDirectory(home / name).read().spec["steps"]) == 1
    assert not (home / ".cos-customizer-workdir").exists()


def test_every_kind_of_step_is_a_command() -> None:
    assert set(STEP_KINDS) <= {step.name for step in program.commands_in(BUILD_STEPS)}


# run-script


def test_run_script_is_written_down(started: StateDirectory) -> None:
    first = run("run-script", "-script=./preload.sh")
    assert (first.code, first.out) == (0, "step 1        run-script preload.sh\n")
    second = run("run-script", "-script", "lib/../lib/more.sh", "-env=A=1,B=x=y", "-env=B=2")
    assert (second.code, second.out) == (0, "step 2        run-script lib/more.sh (env A=***, B=***)\n")
    assert started.read().spec["steps"] == [
        {"type": "run-script", "script": "preload.sh"},
        {"type": "run-script", "script": "lib/more.sh", "env": {"A": "1", "B": "2"}},
    ]


@pytest.mark.parametrize(
    ("flag", "written"),
    [("-repeat-after-reboot", {"repeat_after_reboot": True}), ("-repeat-after-reboot=false", {})],
)
def test_whether_a_script_is_repeated_after_a_reboot_is_written_down(
    started: StateDirectory, flag: str, written: dict[str, bool]
) -> None:
    assert run("run-script", "-script=preload.sh", flag).code == 0
    assert started.read().spec["steps"] == [{"type": "run-script", "script": "preload.sh", **written}]


def test_secrets_are_written_down_by_their_names(started: StateDirectory) -> None:
    more = run(
        "run-script", "-script=preload.sh", "-env=A=1", f"-env-secret=B={VERSION},C={VERSION}", f"-env-secret=B={OTHER}"
    )
    shown = f"step 1        run-script preload.sh (env A=***, B={OTHER}, C={VERSION})\n"
    assert (more.code, more.out) == (0, shown)
    assert started.read().spec["steps"] == [
        {"type": "run-script", "script": "preload.sh", "env": {"A": "1"}, "env_secrets": {"B": OTHER, "C": VERSION}},
    ]


VERSION, OTHER = "projects/my-project/secrets/token/versions/latest", "projects/my-project/secrets/other/versions/2"
BAD_SCRIPTS = [
    ([], "-script must be set", ""),
    (["-script="], "-script must be set", ""),
    (["-script=preload"], "there is no 'preload' in the build context", "did you mean preload.sh?"),
    (["-script=more.sh"], "there is no 'more.sh' in the build context", "did you mean lib/more.sh?"),
    (["-script=lib"], "there is no 'lib' in the build context", ""),
    (["-script=/etc/passwd"], "is absolute", ""),
    (["-script=../preload.sh"], "is outside the build context", ""),
    (["-script=."], "is a directory", ""),
    (["-script=preload.sh", "-env=1A=x"], "-env: '1A' is not a valid environment variable name", ""),
    (["-script=preload.sh", "-env=A"], "-env: item 1", "KEY=VALUE"),
    (["-script=preload.sh", "-env-secret=A=projects/p/secrets/s"], "-env-secret: A names a secret", ""),
    (["-script=preload.sh", "-env-secret=A=hunter2"], "-env-secret: A does not name a secret's version", ""),
    (["-script=preload.sh", "-env-secret=hunter2"], "-env-secret: item 1 (not shown)", ""),
    (["-script=preload.sh", f"-env-secret=1A={VERSION}"], "-env-secret: '1A' is not a valid environment variable", ""),
    (["-script=preload.sh", f"-env-secret=UID={VERSION}"], "-env-secret: UID cannot be set", ""),
    (["-script=preload.sh", "-env=A=hunter2", f"-env-secret=A={VERSION}"], "A is in both -env and -env-secret", ""),
    (["-script=preload.sh", f"-env=A={'x' * 131072}"], "-env: the environment has 131,074 bytes", ""),
]


@pytest.mark.parametrize(("flags", "message", "hint"), BAD_SCRIPTS, ids=lambda value: str(value)[:60])
def test_a_wrong_run_script_is_refused(started: StateDirectory, flags: list[str], message: str, hint: str) -> None:
    refused = run("run-script", *flags)
    assert refused.code == 2
    assert message in refused.err
    assert hint in refused.err
    assert "hunter2" not in refused.err
    assert "steps" not in started.read().spec


@pytest.mark.parametrize("command", [("run-script", "-script=preload.sh"), ("finish-image-build", "-zone=z")])
def test_a_step_before_the_first_says_what_is_missing(home: Path, command: tuple[str, ...]) -> None:
    refused = run(*command)
    assert refused.code == 2
    assert "no image build has been started" in refused.err
    assert str(home / ".cos-customizer-workdir") in refused.err
    assert "start-image-build comes first" in refused.err
    assert list(home.iterdir()) == []


# finish-image-build, as far as its specification


def finish(state: BuildState, *arguments: str) -> BuildSpec:
    context = finish_image_build.finish_image_build.make_context("finish-image-build", list(arguments))
    return specification(state, context.params)


REQUIRED = ("-zone=us-west1-b", "-project=my-project", "-image-name=my-image")


def test_blanks_after_commas_are_no_part_of_items(started: StateDirectory) -> None:
    spec = finish(started.read(), *REQUIRED[1:], "-zone=us-west1-b, us-west1-a ,", "-labels=a=1, b=2")
    assert (spec.builder.zones, spec.output.labels) == (["us-west1-b", "us-west1-a"], {"a": "1", "b": "2"})


def test_defaults_are_the_specification_s(started: StateDirectory) -> None:
    """What help says is the default is what the specification takes without the flag, and with it."""
    plain = finish(started.read(), *REQUIRED)
    shown = [f"-{flag.flag}={flag.default}" for flag in FLAGS if flag.default_text and flag.field]
    assert {flag.partition("=")[0] for flag in shown} == {
        *("-approval-timeout", "-network", "-on-existing", "-service-account", "-timeout"),
    }
    assert finish(started.read(), *REQUIRED, *shown) == plain
    assert plain.output.project == "my-project"
    assert plain.builder.external_ip


FIELDS: list[tuple[str, str, Any]] = [
    ("-zone=a,b", "builder.zones", ["us-west1-b", "a", "b"]),
    ("-image-project=other", "output.project", "other"),
    ("-image-family=fam", "output.family", "fam"),
    ("-labels=cos_image=true,milestone=65", "output.labels", {"cos_image": "true", "milestone": "65"}),
    ("-inherit-labels", "output.inherit_labels", True),
    ("-inherit-labels=false", "output.inherit_labels", False),
    ("-inherit-labels=T", "output.inherit_labels", True),
    ("-inherit-labels=", "output.inherit_labels", False),
    ("-inherit-labels=team,cost-centre", "output.inherit_labels", ["team", "cost-centre"]),
    ("-description=Web servers, of the shop", "output.description", "Web servers, of the shop"),
    ("-guest-os-features=GVNIC,IDPF", "output.guest_os_features", ["GVNIC", "IDPF"]),
    ("-platform-key-file=./keys/pk.der", "output.uefi_platform_key", "keys/pk.der"),
    ("-key-exchange-key-file=kek.der", "output.uefi_key_exchange_keys", ["kek.der"]),
    ("-signature-database-file=a.der,b.der", "output.uefi_signature_database", ["a.der", "b.der"]),
    ("-forbidden-database-file=dbx.bin", "output.uefi_forbidden_database", ["dbx.bin"]),
    ("-confidential-vm=SEV_SNP", "builder.confidential_vm", "SEV_SNP"),
    ("-spot", "builder.spot", True),
    ("-spot=false", "builder.spot", False),
    ("-metadata=a=1,b=x=y", "builder.metadata", {"a": "1", "b": "x=y"}),
    ("-metadata=^;^a=1,2;b=3", "builder.metadata", {"a": "1,2", "b": "3"}),
    ("-scopes=storage-ro", "builder.scopes", ["https://www.googleapis.com/auth/devstorage.read_only"]),
    ("-licenses=projects/p/global/licenses/a,", "output.licenses", ["projects/p/global/licenses/a"]),
    (
        "-licenses=https://www.googleapis.com/compute/v1/projects/p/global/licenses/a",
        "output.licenses",
        ["projects/p/global/licenses/a"],
    ),
    ("-licenses=", "output.licenses", []),
    ("-storage-location=eu", "output.storage_location", "eu"),
    ("-record-contents", "output.record_contents", True),
    ("-record-contents=false", "output.record_contents", False),
    (
        "-kms-key=projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "builder.kms_key",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    ),
    ("-disk-size-gb=50", "builder.disk_size_gb", 50),
    ("-disk-type=pd-ssd", "builder.disk_type", "pd-ssd"),
    ("-machine-type=n1-standard-4", "builder.machine_type", "n1-standard-4"),
    ("-gpu-type=nvidia-tesla-t4", "builder.gpu_type", "nvidia-tesla-t4"),
    ("-network=net", "builder.network", "net"),
    ("-subnet=sub", "builder.subnet", "sub"),
    ("-no-external-ip", "builder.external_ip", False),
    ("-no-external-ip=false", "builder.external_ip", True),
    ("-network-tags=a,b", "builder.network_tags", ["a", "b"]),
    ("-service-account=me@x", "builder.service_account", "me@x"),
    ("-builder-labels=team=images", "builder.labels", {"team": "images"}),
    ("-verify-boot", "verify.boot", True),
    ("-require-approval", "verify.require_approval", True),
    ("-approval-timeout=2d", "verify.approval_timeout", 172800),
    ("-timeout=90m", "timeout", "1h30m0s"),
]


@pytest.mark.parametrize(("flag", "field", "expected"), FIELDS, ids=lambda value: str(value)[:40])
def test_a_flag_sets_its_field(started: StateDirectory, flag: str, field: str, expected: Any) -> None:
    value: Any = finish(started.read(), *REQUIRED, flag)
    for part in field.split("."):
        value = getattr(value, part)
    assert value == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["-verify-changes=none"], {}),
        (["-verify-changes=/var/lib/app/**,paths:/etc/app"], {"paths": ["/var/lib/app/**", "/etc/app"]}),
        (
            ["-verify-changes=units:app.service,containers:gcr.io/p/app:*", "-verify-changes=packages:*"],
            {"units": ["app.service"], "containers": ["gcr.io/p/app:*"], "packages": ["*"]},
        ),
    ],
)
def test_a_flag_says_what_may_change(started: StateDirectory, flags: list[str], expected: dict[str, Any]) -> None:
    changes = finish(started.read(), *REQUIRED, "-image-family=f", *flags).verify.changes
    assert changes is not None
    assert changes.model_dump(exclude_defaults=True) == expected


SETTERS = [flag for step in program.commands_in(BUILD_STEPS) for flag in step.flags() if flag.field]


@pytest.mark.parametrize("flag", SETTERS, ids=lambda flag: flag.flag)
def test_a_flag_names_a_field_that_there_is(flag: Flag) -> None:
    names = flag.field.split(".")
    kind = STEP_KINDS.get(names[1]) if names[0] == "steps" else None
    model: Any = kind or BuildSpec
    *parents, last = names[2:] if kind else names
    for parent in parents:
        model = model.model_fields[parent].annotation
    assert last in model.model_fields


def test_every_option_has_one_flag_which_takes_its_words() -> None:
    options = OPTIONS | script_checks.OPTIONS | gpu_drivers.OPTIONS | kernel_arguments.OPTIONS
    parts = {path for path in options if path.startswith("verify.changes.")}  # which one flag sets
    assert sorted(flag.field for flag in SETTERS) == sorted(options.keys() - parts - {"context.sha256"})
    local = ("build-context", "deps-dir")  # which are relative to the working directory
    same = [flag for flag in SETTERS if not isinstance(flag, NegatingFlag) and flag.flag not in local]
    assert [flag.flag for flag in same if options[flag.field].text not in flag.about] == []


BAD_FINISHES = [
    (["-project=p", "-image-name=i"], "-zone (builder.zones) must be set"),
    (["-zone=z", "-image-name=i"], "-project (builder.project) must be set"),
    (["-zone=z", "-project=p"], "exactly one of -image-name and -image-suffix must be set"),
    (["-zone=z", "-project=p", "-image-name=i", "-image-suffix=s"], "exactly one of -image-name and -image-suffix"),
    ([*REQUIRED, "-image-name=Not_a_name"], "-image-name (output.name): 'Not_a_name' is not a valid name"),
    (["-zone=z", "-project=p", "-image-suffix=_x"], f"-image-suffix: '{IMAGE}_x' is not a valid name"),
    ([*REQUIRED, "-deprecate-old-images"], "-deprecate-old-images needs -image-family"),
    ([*REQUIRED, "-old-image-ttl=5", "-image-family=f"], "-old-image-ttl needs -deprecate-old-images"),
    ([*REQUIRED, "-old-image-ttl=-5"], "-old-image-ttl (output.old_image_ttl)"),
    ([*REQUIRED, "-disk-size-gb=-1"], "-disk-size-gb (builder.disk_size_gb)"),
    ([*REQUIRED, "-labels=A=1"], "-labels (output.labels): 'A' is not a valid label key"),
    ([*REQUIRED, "-licenses=cos"], "-licenses (output.licenses): 'cos' is not a licence"),
    ([*REQUIRED, "-timeout=0s"], "-timeout (timeout)"),
    ([*REQUIRED, "-timeout=1"], "-timeout: '1' is not a duration"),
    ([*REQUIRED, "-output-file=/nowhere/at/all.json"], "-output-file: there is no directory '/nowhere/at'"),
    ([*REQUIRED, "-output-file=/"], "-output-file: '/' is a directory"),
    ([*REQUIRED, "-oem-size=1T"], "-oem-size (builder.oem_size): '1T' is no size: write a number with G, M, K or B"),
    ([*REQUIRED, "-oem-size=15M"], "-oem-size (builder.oem_size): '15M' is less than 16M"),
    (
        [*REQUIRED, "-verify-changes=unit:a", "-image-family=f"],
        "-verify-changes: 'unit:a' does not say what may change",
    ),
    ([*REQUIRED, "-verify-changes=a", "-image-family=f"], "-verify-changes: 'a' does not say what may change"),
    ([*REQUIRED, "-verify-changes=paths:a", "-image-family=f"], "'a' is no pattern of paths"),
    ([*REQUIRED, "-verify-changes=none,/a", "-image-family=f"], "-verify-changes: 'none' does not say what may change"),
    ([*REQUIRED, "-approval-timeout=-1"], "-approval-timeout (verify.approval_timeout)"),
    (
        [*REQUIRED, "-sbom-input-path=a.json"],
        "-sbom-input-path and -sbom-output-path must both be set, or neither",
    ),
    (
        [*REQUIRED, "-sbom-output-path=gs://my-bucket/sboms"],
        "-sbom-input-path and -sbom-output-path must both be set, or neither",
    ),
    (
        [*REQUIRED, "-sbom-input-path=a.json", "-sbom-output-path=my-bucket/sboms"],
        "-sbom-output-path (output.sbom_output_path): 'my-bucket/sboms' is not in Cloud Storage",
    ),
    (
        [*REQUIRED, "-sbom-input-path=a.json", "-sbom-output-path=gs://my-bucket/sboms"],
        "-sbom-input-path: there is no 'a.json' in the build context",
    ),
    ([*REQUIRED, "-attestation-key=my-key"], "-attestation-key (output.attestation_key): 'my-key' is not the version"),
]


def test_a_verify_script_that_is_not_in_the_build_context_is_refused(started: StateDirectory) -> None:
    refused = run("finish-image-build", *REQUIRED, "-verify-script=prelaod.sh")
    assert refused.code == 2
    assert "-verify-script: there is no 'prelaod.sh' in the build context" in refused.err
    assert "did you mean preload.sh?" in refused.err


@pytest.mark.parametrize(("flags", "message"), BAD_FINISHES, ids=lambda value: str(value)[:80])
def test_a_wrong_finish_is_refused_and_the_state_kept(started: StateDirectory, flags: list[str], message: str) -> None:
    before = started.read()
    refused = run("finish-image-build", *flags)
    assert refused.code == 2
    assert message in refused.err
    assert refused.out == ""
    assert started.read() == before


def test_a_dry_run_prints_the_specification_and_every_request(home: Path, emulator: Emulator) -> None:
    assert run(*START, f"-image-name={IMAGE}").code == 0
    assert run("run-script", "-script=preload.sh", "-env=TOKEN=hunter2").code == 0
    kept = (home / ".cos-customizer-workdir" / "state.json").read_bytes()
    dry = run("finish-image-build", *REQUIRED, "-image-family=f", "-dry-run")
    assert (dry.code, dry.err) == (0, "")
    printed = read_dry_run(dry.out)
    read = BuildSpec.model_validate(printed.recipe)
    assert read.source.name == IMAGE
    assert read.context.path == str(Path.cwd())
    assert read.steps == [RunScript(script="preload.sh", env={"TOKEN": "***"})]
    (vm,), (image,) = printed.bodies(f"POST {INSTANCES}"), printed.bodies(f"POST {IMAGES}")
    assert vm["disks"][0]["initializeParams"]["sourceImage"].endswith(IMAGE)
    assert image["name"] == "my-image"
    assert printed.bodies(f"PATCH {IMAGES}/my-image") == [{"family": "f"}]
    assert "hunter2" not in dry.out
    assert (home / ".cos-customizer-workdir" / "state.json").read_bytes() == kept


def test_a_dry_run_shows_which_secrets_are_read_and_tells_the_vm_no_value(home: Path, emulator: Emulator) -> None:
    assert run(*START, f"-image-name={IMAGE}").code == 0
    assert run("run-script", "-script=preload.sh", f"-env-secret=TOKEN={VERSION}").code == 0
    dry = run("finish-image-build", *REQUIRED, "-dry-run-full")
    assert (dry.code, dry.err) == (0, "")
    printed = read_dry_run(dry.out)
    assert printed.recipe["steps"][0]["env_secrets"] == {"TOKEN": VERSION}
    (vm,) = printed.bodies(f"POST {INSTANCES}")
    items = {item["key"]: item["value"] for item in vm["metadata"]["items"]}
    assert f"secret:TOKEN={VERSION}" in items["user-data"]
    assert "secretmanager-endpoint" not in items, "the emulator tells its own VMs"


def test_a_dry_run_shows_how_the_image_would_be_verified_and_released(home: Path, emulator: Emulator) -> None:
    assert run(*START, f"-image-name={IMAGE}").code == 0
    dry = run("finish-image-build", *REQUIRED, "-image-family=f", "-verify-script=./preload.sh", "-dry-run")
    assert (dry.code, dry.err) == (0, "")
    printed = read_dry_run(dry.out)
    assert printed.calls == [
        f"POST {UPLOAD}?uploadType=multipart",
        f"POST {UPLOAD}?uploadType=resumable",
        f"POST {INSTANCES}",
        f"POST {IMAGES}?forceCreate=true",
        f"DELETE {INSTANCES}/cos-customizer-0000000000",
        f"DELETE {DISKS}/cos-customizer-0000000000",
        f"POST {INSTANCES}",
        *4 * [f"POST {UPLOAD}?uploadType=multipart"],  # the difference, two bills of materials, provenance
        f"PATCH {IMAGES}/my-image",
        f"POST {IMAGES}/my-image/setLabels",
        f"DELETE {INSTANCES}/cos-customizer-0000000000-test",
        f"DELETE {DISKS}/cos-customizer-0000000000-test",
        "DELETE storage/v1/b/my-project_cloudbuild/o/work/cos-customizer/0000000000/context.tar.gz",
        f"POST {UPLOAD}?uploadType=multipart",
        f"POST {UPLOAD}?uploadType=multipart",
    ]
    spec, (_, test_vm), (image,) = printed.recipe, printed.bodies(f"POST {INSTANCES}"), printed.bodies(f"POST {IMAGES}")
    (patch,) = printed.bodies(f"PATCH {IMAGES}/my-image")
    assert spec["verify"]["scripts"] == [{"type": "run-script", "script": "preload.sh", "env": {}}]
    assert "family" not in image
    assert image["labels"]["cos-customizer-state"] == "unreleased"
    assert test_vm["disks"][0]["initializeParams"]["sourceImage"].endswith("/my-image")
    assert patch == {"family": "f"}


def test_a_dry_run_refuses_what_the_build_would(home: Path, emulator: Emulator) -> None:
    source = compute_v1.Image(
        name="labelled",
        labels={f"label-{number}": "" for number in range(64)},
        source_image=f"projects/cos-cloud/global/images/{IMAGE}",
    )
    operation = connect().images.insert_unary(project="my-project", image_resource=source)
    connect().global_operations.wait(project="my-project", operation=operation.name)
    assert run(*START, "-image-project=my-project", "-image-name=labelled").code == 0
    labels = run("finish-image-build", *REQUIRED, "-inherit-labels", "-labels=one=more", "-dry-run")
    for _ in range(3):
        assert run("run-script", "-script=preload.sh", f"-env=TOKEN={'x' * 120_000}").code == 0
    environment = run("finish-image-build", *REQUIRED, "-dry-run")
    for refused, message in ((labels, "-inherit-labels: "), (environment, "-env: ")):
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith(f"cos-customizer: {message}")


def test_the_local_state_says_nothing_to_others(home: Path, emulator: Emulator) -> None:
    assert run(*START, f"-image-name={IMAGE}").code == 0
    state = home / ".cos-customizer-workdir"
    assert {oct(path.stat().st_mode & 0o77) for path in (state, *state.iterdir())} == {"0o0"}
    assert json.loads((state / "state.json").read_text())["spec"]["source"]["name"] == IMAGE


def test_a_home_that_cannot_be_written_is_wrong_usage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    refused = run(*START, f"-image-name={IMAGE}")
    assert refused.code == 2
    assert "cannot keep the local state" in refused.err


def test_a_script_that_bash_cannot_run_is_refused_when_it_is_named(home: Path, emulator: Emulator) -> None:
    Path("crlf.sh").write_bytes(b"#!/bin/bash\r\nif true; then\r\n  true\r\nfi\r\n")
    Path("main.py").write_text("#!/usr/bin/env python3\nprint()\n")
    Path("old.sh").write_bytes(b"echo a\r\n")
    assert run(*START, f"-image-name={IMAGE}").code == 0
    for script, said in (
        ("crlf.sh", "crlf.sh has Windows line ends (CRLF): bash will not read it"),
        ("main.py", "main.py is written for python3"),
    ):
        refused = run("run-script", f"-script={script}")
        assert refused.code == 2
        assert refused.err.startswith(f"cos-customizer: -script: {said}")
    warned = run("run-script", "-script=old.sh")
    assert warned.code == 0
    assert warned.err.startswith("cos-customizer: warning: old.sh has Windows line ends (CRLF)")
    assert "step 1" in warned.out, "the ones before left nothing"


def test_a_partition_is_sealed_once_and_updates_are_disabled_however_often(started: StateDirectory) -> None:
    assert run("disable-auto-update").out == "step 1        disable-auto-update\n"
    assert run("seal-oem").out == "step 2        seal-oem\n"
    assert run("disable-auto-update").code == 0
    again = run("seal-oem")
    assert (again.code, again.out) == (2, "")
    assert "seal-oem can be given once in an image build: a sealed partition cannot be written to" in again.err
    assert [step["type"] for step in started.read().spec["steps"]] == [
        *("disable-auto-update", "seal-oem", "disable-auto-update")
    ]
