"""The builder VM's user-data: a cloud-config that cloud-init reads, a plan that bash reads, nothing lost between."""

import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from support.guest_scripts import driver_step, script_step

from cos_customizer import guest
from cos_customizer.customizer.spec.script_checks import ENVIRONMENT_LIMIT
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS
from cos_customizer.guest.user_data import (
    CONTENTS_SCRIPTS,
    DIRECTORY,
    LAYOUT_SCRIPTS,
    SCRIPTS,
    USER_DATA_LIMIT,
    ContextObject,
    GuestStep,
    render_plan,
    render_user_data,
    step_scripts,
)

FOLDER = Path(guest.__file__).parent
CONTEXT = ContextObject("my-bucket", "image-build-42/cos-customizer/abc/context.tar.gz", "5f" * 32)

NASTY = {
    "EMPTY": "",
    "SPACES": "  two  spaces  ",
    "SINGLE": "it's",
    "DOUBLE": 'say "hi"',
    "SUBSTITUTION": "$(touch /tmp/oops) `id` ${HOME} $HOME \\$x",
    "GLOB": "* ? [a-z] ~ ~root {a,b} !!",
    "OPERATORS": "a; b && c | d > e < f & g # h",
    "LINES": "first\nsecond\n\n  indented\n\ttab\nEOF\nlast\n",
    "TRAILING": "a \nb\t\n c\n\n",
    "CRLF": "a\r\nb\rc",
    "YAML": "- a: b\n# no comment\n---\n...\n%YAML 1.1\n@`'\"|>",
    "UNICODE": "Grüße 世界 🎉 \u00a0 \u200b \u0301",
    "SEPARATORS": "a\x85b\u2028c\u2029d\ufeffe\n",
    "CONTROL": "".join(map(chr, range(1, 0x20))) + "\x7f",
    "BACKSLASH": "\\n \\\\ \\",
    "EQUALS": "a=b=c",
    "NUMBER": "0o17",
    "BOOLEAN": "no",
    "LONG": "x" * 100_000,
}


DRIVER = driver_step(install_dir="/var/lib/my nvidia")
GPU_SCRIPTS = ("steps/install_gpu.sh", "steps/setup_gpu.sh")


def render(*steps: GuestStep) -> Any:
    text = render_user_data(steps, CONTEXT, "n0nce")
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def files(config: Any) -> dict[str, str]:
    return {entry["path"]: entry["content"] for entry in config["write_files"]}


def run_plan(plan: str, directory: Path) -> list[list[bytes]]:
    """The words of each step as bash reads them, together with the plan's settings as a first one."""
    directory.joinpath("plan.sh").write_text(plan, encoding="utf-8", newline="")
    script = r"""
        step() { printf '%s\0' $# "$@"; }
        . ./plan.sh
        step "$nonce" "$context_bucket" "$context_object" "$context_sha256" "$steps"
        plan
    """
    done = subprocess.run(["bash", "-uc", script], cwd=directory, capture_output=True, check=True)
    assert not done.stderr
    words = iter(done.stdout.split(b"\0")[:-1])
    return [[next(words) for _ in range(int(count))] for count in words]


SECRET = "projects/my-project/secrets/token/versions/latest"


def plan_of(env: Mapping[str, str]) -> str:
    return files(render(script_step("a.sh", env)))[f"{DIRECTORY}/plan.sh"]


def test_it_holds_the_scripts_as_they_are_the_unit_and_its_start() -> None:
    config = render(DRIVER)
    for name in SCRIPTS + GPU_SCRIPTS:
        assert files(config)[f"{DIRECTORY}/{name}"] == (FOLDER / name).read_text(encoding="utf-8")
    steps = step_scripts(STEP_KINDS)
    others = {"one_command.sh"}  # a VM of its own: emulator boot
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.sh")} == {
        *SCRIPTS,
        *LAYOUT_SCRIPTS,
        *CONTENTS_SCRIPTS,
        *steps,
        *others,
    }
    assert (
        "ExecStart=/bin/bash /run/cos-customizer/build.sh"
        in files(config)["/run/systemd/system/cos-customizer.service"].splitlines()
    )
    assert config["runcmd"] == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "--no-block", "start", "cos-customizer.service"],
    ]
    assert config["users"] == []


def test_what_installs_gpu_drivers_is_there_only_if_a_driver_is_installed() -> None:
    without = files(render(script_step("a.sh")))
    assert files(render(script_step("a.sh"), DRIVER)).keys() - without.keys() == {
        f"{DIRECTORY}/{name}" for name in GPU_SCRIPTS
    }


def test_what_records_contents_is_there_only_if_they_are_recorded() -> None:
    steps = [script_step("a.sh")]
    without, recording = (
        files(yaml.safe_load(render_user_data(steps, CONTEXT, "n0nce", records_contents=records)))
        for records in (False, True)
    )
    assert recording.keys() - without.keys() == {f"{DIRECTORY}/{name}" for name in CONTENTS_SCRIPTS}
    assert {path: recording[path] for path in without} == without


def test_every_kind_of_step_has_a_file_that_defines_its_function_and_runs_nothing() -> None:
    for kind in STEP_KINDS:
        function = f"step_{kind.replace('-', '_')}"
        script = f'directory={FOLDER} && . "$1" && declare -F {function}'
        done = subprocess.run(["bash", "-uc", script, "bash", FOLDER / step_scripts([kind])[0]], capture_output=True)
        assert (done.stdout.decode(), done.stderr) == (f"{function}\n", b"")


def test_everything_lies_in_memory() -> None:
    assert all(path.startswith("/run/") for path in files(render(DRIVER)))


def test_people_can_read_it() -> None:
    text = render_user_data([script_step("a.sh", {"A": "1"})], CONTEXT, "n0nce")
    assert "\n      step 1 run-script 'run-script a.sh' script=a.sh A=1\n" in text
    for name in SCRIPTS:
        assert f"path: {DIRECTORY}/{name}\n  permissions: '0600'\n  content: |\n    #" in text


def test_the_same_build_gives_the_same_text() -> None:
    steps = [script_step("a.sh", {"B": "1", "A": "2"})]
    assert render_user_data(steps, CONTEXT, "n0nce") == render_user_data(list(steps), CONTEXT, "n0nce")


def test_the_plan_as_bash_reads_it(tmp_path: Path) -> None:
    steps = [
        GuestStep("run-script", "run-script a b.sh", [("script", "dir/a b.sh"), ("A", "1"), ("B", "2")]),
        GuestStep("run-script", "run-script\n-x'.sh", [("script", "-x'.sh")]),
    ]
    context = ContextObject("my-bucket", "a dir/ö?x=1&y#z%41", "5f" * 32)
    settings, *plan = run_plan(render_plan(steps, context, "n0nce"), tmp_path)
    assert plan == [
        [b"1", b"run-script", b"run-script a b.sh", b"script=dir/a b.sh", b"A=1", b"B=2"],
        [b"2", b"run-script", b"run-script?-x'.sh", b"script=-x'.sh"],
    ]
    assert settings[:2] + settings[3:] == [b"n0nce", b"my-bucket", b"5f" * 32, b"2"]
    assert unquote(settings[2].decode()) == context.name
    assert not set(settings[2]) & set(b" /?&#")


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_value_survives(name: str, tmp_path: Path) -> None:
    (_, step) = run_plan(plan_of({name: NASTY[name]}), tmp_path)
    assert step[4:] == [f"{name}={NASTY[name]}".encode()]


def test_random_values_survive(tmp_path: Path) -> None:
    rng = random.Random(4)
    alphabet = "a \t\n'\"\\$`#:-|>%@&*!{}[]\r\x85\u2028\ufeffé🎉\x1b"
    env = {f"V{number}": "".join(rng.choices(alphabet, k=rng.randrange(40))) for number in range(300)}
    (_, step) = run_plan(plan_of(env), tmp_path)
    assert step[4:] == [f"{name}={value}".encode() for name, value in env.items()]


def test_of_a_secret_the_plan_holds_its_name_and_its_reference(tmp_path: Path) -> None:
    (_, step) = run_plan(
        render_plan([replace(script_step("a.sh"), secrets=[("A", SECRET)])], CONTEXT, "n0nce"), tmp_path
    )
    assert step[3:] == [b"script=a.sh", f"secret:A={SECRET}".encode()]


def test_a_plan_without_steps_is_one_too(tmp_path: Path) -> None:
    assert [settings[4] for settings in run_plan(render_plan([], CONTEXT, "n0nce"), tmp_path)] == [b"0"]


@pytest.mark.parametrize(("makes_image", "line"), [(True, "makes_image=1"), (False, "makes_image=")])
def test_a_plan_says_whether_its_vm_makes_an_image(makes_image: bool, line: str) -> None:
    config = yaml.safe_load(render_user_data([], CONTEXT, "n0nce", makes_image=makes_image))
    assert line in files(config)[f"{DIRECTORY}/plan.sh"].splitlines()


def test_too_much_for_instance_metadata_is_refused_with_its_size() -> None:
    steps = [script_step("a.sh", {"A": "x" * 90_000}) for n in range(3)]
    with pytest.raises(
        ValueError, match=rf"user-data would be 3\d{{5}} bytes, and Compute Engine takes {USER_DATA_LIMIT}"
    ):
        render_user_data(steps, CONTEXT, "n0nce")
    assert len(render_user_data(steps[:2], CONTEXT, "n0nce").encode()) <= USER_DATA_LIMIT


@pytest.mark.parametrize("character", ["x", "é"])
def test_too_much_for_one_environment_string_is_refused_with_its_size(character: str, tmp_path: Path) -> None:
    longest = character * ((ENVIRONMENT_LIMIT - 2) // len(character.encode()))
    (_, step) = run_plan(plan_of({"A": longest}), tmp_path)
    subprocess.run(["env", step[4], "/bin/true"], check=True)  # Linux takes it indeed
    with pytest.raises(ValueError, match=r"A is 13107[23] bytes, and Linux takes 131071"):
        plan_of({"A": longest + character})


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (script_step("a.sh", {"1A": "x"}), "'1A' is not a valid environment variable name"),
        (script_step("a.sh", {"A\n": "x"}), r"'A\\n' is not a valid environment variable name"),
        (script_step("a.sh", {"A": "x\0"}), "A holds a NUL character"),
        (script_step("a.sh", {"A": "\udcff"}), "A is not valid Unicode"),
        (script_step("a\0.sh"), "script holds a NUL character"),
        (GuestStep("run-script", "a", secrets=[("1A", SECRET)]), "'1A' is not a valid environment variable name"),
        (GuestStep("run-script", "a", secrets=[("A", "projects/p/secrets/s")]), "A names a secret and not which"),
        (GuestStep("run-script", "a", secrets=[("A", SECRET + "/../..")]), "A does not name a secret's version"),
        (GuestStep("run-script", "a", secrets=[("UID", SECRET)]), "UID cannot be set"),
        (GuestStep("rm -rf", "a"), "kind of step: 'rm -rf'"),
        (GuestStep("install-x", "a"), "kind of step: 'install-x'"),
        (GuestStep("../build", "a"), "kind of step: '../build'"),
    ],
)
def test_a_step_that_cannot_be_carried_is_refused(step: GuestStep, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_user_data([step], CONTEXT, "n0nce")


def test_a_driver_s_step_carries_every_setting_and_may_be_repeated(tmp_path: Path) -> None:
    steps = [script_step("a.sh"), DRIVER]
    text = render_plan(steps, CONTEXT, "n0nce")
    _, script, driver = run_plan(text, tmp_path)
    assert driver == [
        *(b"2", b"install-gpu", b"install-gpu 396.26"),
        *(b"version=396.26", b"install_dir=/var/lib/my nvidia", b"installer=auto"),
        b"container=gcr.io/cos-cloud/cos-gpu-installer:v20230815",
        *(b"md5sum=", b"deps_dir=", b"verify=1", b"target_gpu="),
    ]
    assert script[1] == b"run-script"
    assert "\nrepeatable=2\n" in text
    assert "\nrepeatable=''\n" in render_plan(steps[:1], CONTEXT, "n0nce")


@pytest.mark.parametrize("nonce", ["", "a b", "a]", "$(id)", "a\n"])
def test_a_nonce_is_letters_and_digits(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        render_user_data([], CONTEXT, nonce)


@pytest.mark.parametrize("digest", ["", "5F" * 32, "5f" * 31, "5f" * 32 + "\n"])
def test_a_digest_is_64_hex_digits(digest: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        render_user_data([], ContextObject("b", "o", digest), "n0nce")


def test_shellcheck_has_no_complaints_about_a_plan(tmp_path: Path) -> None:
    """The scripts that it is beside are files, which `make lint` checks."""
    plan = tmp_path / "plan.sh"
    plan.write_text(plan_of(NASTY), encoding="utf-8", newline="")
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, plan], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "cos-customizer.service"
    unit.write_text(files(render())["/run/systemd/system/cos-customizer.service"])
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert str(unit) not in done.stderr, done.stderr
    assert unit.name not in done.stderr, done.stderr
