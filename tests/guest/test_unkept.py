"""What steps have made where the image has nothing of it is told; run by bash on this machine, with another /etc."""

import os
import subprocess
from pathlib import Path

import pytest
from support.bash_guest import FOLDER


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    etc = tmp_path / "etc"
    (etc / "systemd" / "system").mkdir(parents=True)
    for name in ("os-release", "passwd", "motd", "sysctl.conf"):
        (etc / name).write_text("ID=cos\n")
    (tmp_path / "run").mkdir()
    return etc


def told(etc: Path, steps: str, more: str = "") -> list[str]:
    """What is said after these steps, with `/etc` for the directory that stands for it."""
    text = (FOLDER / "unkept.sh").read_text()
    (etc.parent / "unkept.sh").write_text(text.replace("    /etc/", f"    {etc}/").replace("| /etc/", f"| {etc}/"))
    script = f"""
        set -u; shopt -s nullglob dotglob globstar
        directory={etc.parent}/run
        say() {{ printf '%s\n' "$*"; }}
        . {etc.parent}/unkept.sh
        os_release={etc}/os-release unkept_places=({etc} {etc.parent}/not-there)
        {more}
        list_mounts() {{ ! [[ -e {etc}/mounted ]] || printf '/opt/my app\\0'; printf '/tmp\\0'; }}
        record_unkept
        cd {etc}
        {{ {steps}
        }} >/dev/null
        record_unkept
        tell_unkept
    """
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert ran.stderr == ""
    return [line.replace(str(etc), "/etc") for line in ran.stdout.splitlines()]


UNIT = "/etc/systemd/system/hello-app.service"
WHY = "(COS keeps no /etc)"
WANTS = "/etc/systemd/system/multi-user.target.wants/hello-app.service"
CASES = {
    "nothing": ("true", []),
    "a unit": (
        "echo x >systemd/system/hello-app.service",
        [f"warning: {UNIT} will not be in the image (COS keeps no /etc)"],
    ),
    "a unit that is enabled": (
        "cd systemd/system; mkdir multi-user.target.wants; ln -s ../x multi-user.target.wants/hello-app.service",
        [
            f"warning: hello-app.service will not be enabled in the image: {WANTS} will not be in the image {WHY}",
        ],
    ),
    "a file that was there": (
        "echo more >>sysctl.conf; chmod 600 motd",
        [f"warning: /etc/{name} will not be in the image (COS keeps no /etc)" for name in ("motd", "sysctl.conf")],
    ),
    "a file that was there before and is as it was": ("cat passwd motd; mkdir empty", []),
    "a file that was removed": ("rm motd", ["warning: /etc/motd will be in the image again (COS keeps no /etc)"]),
    "a name that is awkward": (
        "echo x >'a b\tc'",
        ["warning: /etc/a b\tc will not be in the image (COS keeps no /etc)"],
    ),
    "a file made and removed again": ("echo x >app.conf; rm app.conf", []),
    "the system's own": (
        "mkdir ssh docker; echo x | tee resolv.conf machine-id passwd- ssh/ssh_host_rsa_key docker/key.json",
        [],
    ),
    "memory mounted": (
        "echo x >mounted",
        [
            "warning: /etc/mounted will not be in the image (COS keeps no /etc)",
            "warning: what is in /opt/my app will not be in the image (a step has mounted memory there)",
        ],
    ),
}


@pytest.mark.parametrize(("steps", "lines"), CASES.values(), ids=CASES)
def test_what_will_not_be_in_the_image_is_told(steps: str, lines: list[str], etc: Path) -> None:
    assert told(etc, steps) == lines


def test_of_many_files_a_few_are_named_and_the_rest_counted(etc: Path) -> None:
    lines = told(etc, "for i in {10..49}; do echo x >app-$i.conf; done")
    assert len(lines) == 9
    assert lines[0] == "warning: /etc/app-10.conf will not be in the image (COS keeps no /etc)"
    assert lines[-1].startswith("warning: 32 more files will not be in the image")


@pytest.mark.parametrize("release", ["ID=debian\nNAME=cos\n", "ID=ubuntu\nID_LIKE=cos\n", ""])
def test_nothing_is_said_where_etc_is_kept(release: str, etc: Path) -> None:
    (etc / "os-release").write_text(release)
    assert told(etc, "echo x >app.conf") == []


def test_after_a_reboot_what_counts_is_what_was_there_then(etc: Path) -> None:
    reboot = f"echo x >before.conf; rm {etc.parent}/run/*; record_unkept; echo x >after.conf"
    assert told(etc, reboot) == ["warning: /etc/after.conf will not be in the image (COS keeps no /etc)"]


def test_nothing_is_guessed_without_find(etc: Path) -> None:
    assert told(etc, "echo x >app.conf; find() { return 127; }") == []
    assert told(etc, "echo y >app.conf", "find() { return 127; }") == []
