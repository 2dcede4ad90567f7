"""Prepares what the emulator would prepare by itself on its first start, a stage at a time, and says what there is."""

import argparse
import re
import signal
import sys

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.machines.host import run
from cos_customizer.emulator.machines.kvm import choose_accelerator
from cos_customizer.emulator.machines.stand_in_image import StandIn


def _silent(_: str) -> None:
    """The one line at the end says it all."""


def stand_in_image() -> str:
    """Build the stand-in for COS unless it is in the cache."""
    stand_in = StandIn(default_cache_dir())
    if stand_in.is_built():
        return "in the cache"
    stand_in.ensure(_silent)
    return "built, kept for next time"


def qemu() -> str:
    """Find out how virtual machines run here."""
    found = re.search(r"version ([0-9.]+)", run("qemu-system-x86_64", "--version"))
    cache = default_cache_dir()
    accelerator = choose_accelerator(StandIn(cache), cache, _silent)
    kind = {"kvm": "KVM", "tcg": "software emulation (no usable KVM)"}[accelerator]
    return f"found {found.group(1) if found else '?'}, {kind}"


def main() -> int:
    """Do one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    stages = {"stand-in-image": stand_in_image, "qemu": qemu}
    parser.add_argument("stage", choices=stages)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        print(stages[parser.parse_args().stage]())
    except EmulatorError as error:
        print(f"{error}\n  hint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
