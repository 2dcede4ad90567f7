"""`seal-oem`: write down that the OEM partition is to be sealed."""

from typing import Any

import click

from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.noted_step import check_only_one, note_step
from cos_customizer.cli.state import StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.spec.disk_layout import SEALED_ONCE


@command("seal-oem", (WORKDIR_FLAG,), section=BUILD_STEPS, rank=6)
@click.pass_context
def seal_oem(ctx: click.Context, /, **values: Any) -> int:
    """Seal the OEM partition: from then on dm-verity checks what is read of it, and nothing can be written.

    It is only written down here; finish-image-build does it, in the order of the steps. In the image the partition is
    not mounted: mount /dev/dm-1 where it is wanted. Updates in place are disabled too, as by disable-auto-update. For
    more than 16 MiB, give finish-image-build -oem-size.
    """
    state = StateDirectory.named(workdir_of(ctx, values["local_state_workdir"]))
    check_only_one(state.read(), "seal-oem", SEALED_ONCE)
    return note_step(state, {"type": "seal-oem"}, "seal-oem")
