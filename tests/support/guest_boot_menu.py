"""As much of a builder VM as steps see that change the boot menu: a disk, its partition 12, the command line."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.guest_gpu import FOLDER, NAMESPACES

MENU = (Path(__file__).parent.parent / "guest" / "data" / "grub.cfg").read_text()


@dataclass
class Done:
    """What came of a step: its exit code, its output, and whether it has rebooted the machine."""

    code: int
    output: str
    rebooted: bool


class MenuVm:
    """A machine whose boot menu is in `menu`, to be changed by bash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.menu = folder / "esp" / "efi" / "boot" / "grub.cfg"
        self.menu.parent.mkdir(parents=True)
        self.menu.write_text(MENU)
        self.cmdline = 'BOOT_IMAGE=/syslinux/vmlinuz.A loglevel=7 cros_efi "dm=1 vroot none"\n'
        self.root = "254:0"
        self.disk = folder / "block" / "disks" / "nvme0n1"
        for number, name in ((1, "STATE"), (3, "ROOT-A"), (12, "EFI-SYSTEM")):
            partition = self.disk / f"nvme0n1p{number}"
            partition.mkdir(parents=True)
            (partition / "partition").write_text(f"{number}\n")
            (partition / "uevent").write_text(f"MAJOR=259\nDEVNAME={partition.name}\nPARTN={number}\nPARTNAME={name}\n")
        (folder / "block" / "259:3").symlink_to("disks/nvme0n1/nvme0n1p3")
        (folder / "block" / "254:0" / "slaves").mkdir(parents=True)
        (folder / "block" / "254:0" / "slaves" / "nvme0n1p3").symlink_to("../../disks/nvme0n1/nvme0n1p3")
        (folder / "run").mkdir()

    def run(self, kind: str, call: str, before: str = "") -> Done:
        """Run a function of a step, as steps.sh does.

        Args:
            kind: of the step.
            call: the function and its arguments, in bash.
            before: bash that comes first.
        """
        (self.folder / "cmdline").write_text(self.cmdline)
        script = f"""
            /bin/mount --bind {self.folder}/block /sys/dev/block
            /bin/mount --bind {self.folder}/cmdline /proc/cmdline
            set -u; shopt -s nullglob dotglob globstar
            directory={self.folder}/run kind={kind}
            ln -sfn {FOLDER}/steps $directory/steps
            . {FOLDER}/steps.sh; . {FOLDER}/steps/{kind.replace("-", "_")}.sh
            mountpoint() {{ echo {self.root}; }}
            mount() {{
              [[ $* == '-t vfat '*' /dev/nvme0n1p12 '* ]] && /bin/mount --bind {self.folder}/esp "${{@: -1}}"
            }}
            systemctl() {{ echo "systemctl $*"; }}
            {before}
            ({call})
            code=$?
            grep -c {self.folder}/run/efi /proc/mounts
            exit "$code"
        """
        done = subprocess.run(
            [*NAMESPACES, "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        output, left = re.fullmatch(r"(.*?)(\d+)\n", done.stdout, re.DOTALL).groups()  # type: ignore[union-attr]
        assert left == "0", "nothing is left mounted"
        assert [path.name for path in self.menu.parent.iterdir()] == ["grub.cfg"][: self.menu.exists()]
        return Done(done.returncode, output, "systemctl --no-block reboot\n" in output)

    def lines(self) -> list[str]:
        """The kernel lines."""
        return [line.strip() for line in self.menu.read_text().splitlines() if line.startswith("  linux")]
