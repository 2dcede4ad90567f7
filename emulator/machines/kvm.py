"""Decides whether virtual machines use KVM: /dev/kvm may exist and still hang a guest, so one is booted to see."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.files import replacing
from cos_customizer.emulator.machines.host import die_with_parent, run
from cos_customizer.emulator.machines.stand_in_image import StandIn

Accelerator = Literal["kvm", "tcg"]
OVERRIDE = "COS_CUSTOMIZER_EMULATOR_ACCEL"
"""Environment variable that decides without a probe: `kvm` or `tcg`."""

PROBE_SECONDS = 15.0
_DEVICE = Path("/dev/kvm")
_SIGN_OF_LIFE = b"stand-in: alive"


def choose_accelerator(stand_in: StandIn, cache_dir: Path, report: Callable[[str], None] = LOG.info) -> Accelerator:
    """Choose KVM where a guest really boots with it, else software emulation (`tcg`); the answer is cached.

    Args:
        stand_in: the image whose kernel is booted, already built.
        cache_dir: keeps the answer, which holds for this kernel, this QEMU and this stand-in image.
        report: called with a sentence on the outcome.

    Raises:
        EmulatorError: the environment variable has another value.
    """
    setting = os.environ.get(OVERRIDE, "")
    if setting == "kvm":
        return "kvm"
    if setting == "tcg":
        return "tcg"
    if setting:
        raise EmulatorError(f"{OVERRIDE} is {setting!r}", "set it to kvm or tcg, or not at all")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    kept = cache_dir / "accelerator.json"
    circumstances = [platform.release(), run("qemu-system-x86_64", "--version").splitlines()[0], stand_in.key]
    try:
        answer = json.loads(kept.read_text())
        if answer["circumstances"] == circumstances:
            return "kvm" if answer["kvm"] else "tcg"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not probed yet, or not a file of ours
    works = _boots(stand_in)
    report("KVM passed its probe" if works else "KVM did not pass its probe; software emulation instead")
    with replacing(kept) as partial:
        partial.write_text(json.dumps({"circumstances": circumstances, "kvm": works}))
    return "kvm" if works else "tcg"


def _boots(stand_in: StandIn) -> bool:
    """Return whether the stand-in's kernel comes up under KVM."""
    command = [
        *("qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-cpu", "max", "-smp", "2", "-m", "512"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(stand_in.kernel), "-initrd", str(stand_in.initrd)),
        *("-append", "console=ttyS0 quiet stand_in.probe"),
    ]
    try:
        done = subprocess.run(
            die_with_parent(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and _SIGN_OF_LIFE in done.stdout
