"""`emulator boot` on a real machine: a command's output and exit code come back as they were, and nothing is left."""

import subprocess
import sys
from pathlib import Path

import pytest

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.server import Emulator

pytestmark = pytest.mark.vm

PROGRAM = "import sys; from cos_customizer.cli.main import main; sys.exit(main())"
COMMAND = r"""
cat /run/written /run/ran >&2
echo "$(id -un) $PWD $HOME $(systemctl is-active multi-user.target) $(cat | wc -c)" >&2
head -c 300000 /usr/bin/bash
setsid sleep 1000 >/dev/null 2>&1 &
sleep 1000 &
exit 37
"""
USER_DATA = """\
#cloud-config
write_files:
- {path: /run/written, content: "written "}
runcmd:
- [sh, -c, "echo run >/run/ran"]
"""


def test_a_command_on_a_booted_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user-data").write_text(USER_DATA)
    with Emulator(tmp_path / "cloud", "qemu", cache_dir=default_cache_dir()) as cloud:
        cloud.prepare()
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        boot = ["emulator", "boot", "-family=cos-stable", f"-user-data={tmp_path / 'user-data'}"]
        command = [sys.executable, "-c", PROGRAM, *boot, "--", "bash", "-c"]
        ran = subprocess.run([*command, COMMAND], capture_output=True, check=False)
        head, *errors = ran.stderr.decode().splitlines()
        assert (ran.returncode, errors) == (37, ["written run", "root / /root active 0"])
        assert "booting cos-stable-" in head
        assert (len(ran.stdout), ran.stdout[:4]) == (300_000, b"\x7fELF")
        assert cloud.list("projects/my-project/zones/-/instances") == []
        assert cloud.list("projects/my-project/zones/-/disks") == []
