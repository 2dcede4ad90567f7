"""`kernel-args`: write down changes of the kernel's command line."""

from typing import Any

import click

from cos_customizer.cli.command import BUILD_STEPS, command
from cos_customizer.cli.flag import Flag, spec_fields
from cos_customizer.cli.flag_kinds import SwitchFlag
from cos_customizer.cli.go_flags import see_help
from cos_customizer.cli.noted_step import note_step
from cos_customizer.cli.state import StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, message_of, placed
from cos_customizer.customizer.spec import kernel_arguments
from cos_customizer.customizer.spec.kernel_arguments import OPTIONS

FLAGS = (
    Flag(
        "append",
        OPTIONS["steps.kernel-args.append"],
        value="ARGUMENTS",
        example="-append='panic=10 sysctl.kernel.hostname=\"a b\"'",
    ),
    Flag("remove", OPTIONS["steps.kernel-args.remove"], value="NAMES", example="-remove='quiet console=ttyS0'"),
    Flag("replace", OPTIONS["steps.kernel-args.replace"], value="ARGUMENTS", example="-replace=loglevel=4"),
    SwitchFlag("reboot", OPTIONS["steps.kernel-args.reboot"]),
    WORKDIR_FLAG,
)


@command("kernel-args", FLAGS, section=BUILD_STEPS, rank=4)
@click.pass_context
def kernel_args(ctx: click.Context, /, **values: Any) -> int:
    """Change arguments on the kernel's command line.

    The change is only written down here; finish-image-build makes it, in the order of the steps, in every entry of the
    boot menu that the image will have. It can be given any number of times. What Container-Optimized OS boots by (root,
    dm, dm-mod.create, cros_efi) cannot be changed.
    """
    step = spec_fields(FLAGS, values, "steps.kernel-args.")
    for field, check in kernel_arguments.CHECKS.items():
        try:
            step[field] = check(step.get(field, ""))
        except ValueError as error:
            raise UsageError(f"-{field}: {error}") from None
    changes = {field: step[field] for field in kernel_arguments.CHECKS}
    try:
        kernel_arguments.check_together(**changes)
    except ValueError as error:
        message = placed(message_of(error), FieldPath("steps.kernel-args"))
        raise UsageError(message, see_help("kernel-args")) from None
    state = StateDirectory.named(workdir_of(ctx, values["local_state_workdir"]))
    return note_step(state, {"type": "kernel-args", **step}, kernel_arguments.label(**changes, reboot=values["reboot"]))
