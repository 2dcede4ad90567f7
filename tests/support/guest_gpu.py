"""A machine for the guest's GPU scripts, made of programs that only record how they are called.

The scripts run in namespaces of their own: what they write to /proc, /sys and /etc, and what they start, stays there.
"""

import hashlib
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.waiting import PATIENCE

from cos_customizer import guest

FOLDER = Path(guest.__file__).parent
CONTAINER = "gcr.io/cos-cloud/cos-gpu-installer:v20230815"

NAMESPACES = (
    *("unshare", "--mount", "--pid", "--fork", "--mount-proc"),
    *(() if os.getuid() == 0 else ("--map-root-user",)),
)

PLACES = {
    "/etc/ld.so.conf": "ld.so.conf",
    "/proc/sys/kernel/softlockup_panic": "softlockup_panic",
    "/sys/module": "module",
    "/sys/bus/pci/devices": "devices",
}
"""What the scripts write to or read, and what is there for them instead."""

needs_namespaces = pytest.mark.skipif(
    sys.platform != "linux" or subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode != 0,
    reason="namespaces cannot be made here",
)


@dataclass
class Done:
    """What came of a script: its exit code, its output, and the programs that it has called."""

    code: int
    output: str
    calls: list[str]

    def called(self, program: str) -> list[str]:
        """The command lines of a program."""
        return [call for call in self.calls if call.split()[0] == program]


class Vm:
    """As much of a builder VM as the scripts see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.programs = folder / "state", folder / "programs"
        self.driver = folder / "var" / "my nvidia"
        for place in ("run/steps", "state/context", "programs", "var", "module/firmware_class/parameters", "devices"):
            (folder / place).mkdir(parents=True)
        for name in ("ld.so.conf", "softlockup_panic", "module/firmware_class/parameters/path"):
            (folder / name).write_text("")
        for name in ("install_gpu.sh", "setup_gpu.sh"):
            (folder / "run" / "steps" / name).write_bytes((FOLDER / "steps" / name).read_bytes())
        for name in ("mount", "sync", "ldconfig", "docker", "journalctl", "insmod"):
            self.has(name)
        self.has("mountpoint", "exit 1")
        self.has("docker", f"[[ $1 != run ]] || {{ {self.installs_driver}\n}}")

    @property
    def installs_driver(self) -> str:
        """What an installer does, in bash."""
        return f"""
            mkdir -p '{self.driver}/bin'
            printf '#!/bin/bash\\necho table of nvidia-smi\\n' >'{self.driver}/bin/nvidia-smi'
            chmod +x '{self.driver}/bin/nvidia-smi'
        """

    @property
    def place(self) -> str:
        """The install directory as it is in the command lines."""
        return str(self.driver).replace(" ", "\\ ")

    def has(self, program: str, body: str = "") -> None:
        """Put a program in place that records how it was called, and then does something."""
        path = self.programs / program
        path.parent.mkdir(parents=True, exist_ok=True)
        record = 'printf %s "${0##*/}"; (($# == 0)) || printf " %q" "$@"; echo'
        path.write_text(f"#!/bin/bash\n{{ {record}; }} >>{self.folder}/calls\n{body}\n")
        path.chmod(0o755)

    def has_driver_program(self, program: str, body: str = "") -> None:
        """Put a program of the driver in place."""
        (self.driver / "bin").mkdir(parents=True, exist_ok=True)
        self.has(os.path.relpath(self.driver / "bin" / program, self.programs), body)

    def bash(self, script: str) -> Done:
        """Run a piece of bash."""
        (self.folder / "calls").write_text("")
        binds = "".join(f"/bin/mount --bind {self.folder}/{ours} {place}\n" for place, ours in PLACES.items())
        done = subprocess.run(
            [*NAMESPACES, "bash", "-c", f"{binds}\n({script}\n)\nexit"],  # nothing can kill process 1
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            env={"PATH": f"{self.programs}:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"},
        )
        return Done(done.returncode, done.stdout, (self.folder / "calls").read_text().splitlines())

    def install(self, *, before: str = "", **settings: str) -> Done:
        """Run the step as steps.sh does."""
        settings = {
            "version": "396.26",
            "install_dir": str(self.driver),
            "installer": "auto",
            "container": CONTAINER,
            "md5sum": "",
            "deps_dir": "",
            "verify": "1",
            "target_gpu": "",
            **settings,
        }
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in settings.items())
        return self.bash(
            f"""
            set -u; shopt -s nullglob dotglob globstar
            directory={self.folder}/run state={self.state} kind=install-gpu
            . {FOLDER}/steps.sh
            . $directory/steps/install_gpu.sh
            sleep() {{ echo "sleep $1" >>{self.folder}/calls; }}
            {before}
            cd $state/context; step_install_gpu {words}
            """
        )

    def set_up(self, script: str = "bash {}") -> Done:
        """Run setup_gpu.sh where it was installed."""
        self.driver.mkdir(parents=True, exist_ok=True)
        target = self.driver / "setup_gpu.sh"
        target.write_bytes((FOLDER / "steps" / "setup_gpu.sh").read_bytes())
        return self.bash(script.replace("{}", shlex.quote(str(target))))

    def modules(self, *names: str) -> None:
        """The driver has these."""
        (self.driver / "drivers").mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.driver / "drivers" / f"{name}.ko").touch()

    def offer(self, path: str, text: str = "a driver") -> str:
        """Put a file into the build context; returns its MD5 sum."""
        file = self.state / "context" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    def text(self, name: str) -> str:
        """What a file of the machine holds."""
        return (self.folder / name).read_text()
