"""`disable-auto-update`: write down that the image is not to update itself."""

from typing import Any

import click

from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.noted_step import note_step
from cos_customizer.cli.state import StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of


@command("disable-auto-update", (WORKDIR_FLAG,), section=BUILD_STEPS, rank=5)
@click.pass_context
def disable_auto_update(ctx: click.Context, /, **values: Any) -> int:
    """Keep the image from updating itself in place.

    It is only written down here; finish-image-build does it. The update engine is masked on the kernel's command line,
    and the root file system that an update would write to gives 2046 MiB to the stateful partition, or to OEM if
    finish-image-build has -oem-size. The builder VM reboots twice for that, before the first step.
    """
    state = StateDirectory.named(workdir_of(ctx, values["local_state_workdir"]))
    return note_step(state, {"type": "disable-auto-update"}, "disable-auto-update")
