"""Whether virtual machines can use KVM here: /dev/kvm may exist and still hang a guest, so one is booted to see."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cos_customizer.emulator.machines.backend import EmulatorError
from cos_customizer.emulator.machines.host import LOG, mortal, run
from cos_customizer.emulator.machines.stand_in_image import StandIn

Accelerator = Literal["kvm", "tcg"]
OVERRIDE = "COS_CUSTOMIZER_EMULATOR_ACCEL"
"""Environment variable that decides without a probe: `kvm` or `tcg`."""

PROBE_SECONDS = 15.0
_DEVICE = Path("/dev/kvm")
_SIGN_OF_LIFE = b"stand-in: alive"


def choose_accelerator(stand_in: StandIn, cache_dir: Path, report: Callable[[str], None] = LOG.info) -> Accelerator:
    """KVM where a guest really boots with it, else software emulation (`tcg`); the answer is kept in the cache.

    Args:
        stand_in: the image whose kernel is booted, already built.
        cache_dir: where the answer is kept, valid for this host kernel, QEMU and stand-in.
        report: told in words what was found.

    Raises:
        EmulatorError: the environment variable holds something else.
    """
    wish = os.environ.get(OVERRIDE, "")
    if wish == "kvm":
        return "kvm"
    if wish == "tcg":
        return "tcg"
    if wish:
        raise EmulatorError(f"{OVERRIDE} is {wish!r}", "set it to kvm or tcg, or not at all")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    kept = cache_dir / "accelerator.json"
    circumstances = [platform.release(), run("qemu-system-x86_64", "--version").splitlines()[0], stand_in.key]
    try:
        answer = json.loads(kept.read_text())
        if answer["circumstances"] == circumstances:
            return "kvm" if answer["kvm"] else "tcg"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or not a file of ours
    works = _boots(stand_in)
    report("KVM passed its probe" if works else "KVM did not pass its probe; software emulation instead")
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"circumstances": circumstances, "kvm": works}))
    partial.replace(kept)
    return "kvm" if works else "tcg"


def _boots(stand_in: StandIn) -> bool:
    command = [
        *("qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-cpu", "max", "-smp", "2", "-m", "512"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *(
            "-kernel",
            str(stand_in.kernel),
            "-initrd",
            str(stand_in.initrd),
            "-append",
            "console=ttyS0 quiet stand_in.probe",
        ),
    ]
    try:
        done = subprocess.run(
            mortal(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and _SIGN_OF_LIFE in done.stdout
