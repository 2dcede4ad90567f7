"""`kernel-args`: write down changes of the kernel's command line."""

from typing import Any

import click

from cos_customizer.cli.go_flags import Flag, GoCommand, see_help, spec_fields
from cos_customizer.cli.state import StateDirectory
from cos_customizer.cli.workdir import WORKDIR_FLAG, workdir_of
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec import kernel_arguments

FLAGS = (
    Flag(
        "append",
        "Arguments to append, as on a kernel's command line; one that is there already is not repeated.",
        value="ARGUMENTS",
        example="-append='panic=10 sysctl.kernel.hostname=\"a b\"'",
        field="append",
    ),
    Flag(
        "remove",
        "Arguments to remove: a name stands for all arguments of that name, name=value for that one alone.",
        value="NAMES",
        example="-remove='quiet console=ttyS0'",
        field="remove",
    ),
    Flag(
        "replace",
        "Arguments that take the place of all others of their names; appended where there are none.",
        value="ARGUMENTS",
        example="-replace=loglevel=4",
        field="replace",
    ),
    Flag(
        "reboot",
        "Reboot the builder VM, so that the steps that follow run with the new command line too.",
        kind="bool",
        field="reboot",
    ),
    WORKDIR_FLAG,
)


@click.command(
    "kernel-args",
    cls=GoCommand,
    params=list(FLAGS),
    short_help="Change arguments on the kernel's command line.",
)
@click.pass_context
def kernel_args(ctx: click.Context, /, **values: Any) -> int:
    """Change arguments on the kernel's command line.

    The change is only written down here; finish-image-build makes it, in the order of the steps, in every entry of the
    boot menu that the image will have. It can be given any number of times. What Container-Optimized OS boots by (root,
    dm, dm-mod.create, cros_efi) cannot be changed.
    """
    step = spec_fields(FLAGS, values)
    for field, check in kernel_arguments.CHECKS.items():
        try:
            step[field] = check(step.get(field, ""))
        except ValueError as error:
            raise UsageError(f"-{field}: {error}") from None
    changes = {field: step[field] for field in kernel_arguments.CHECKS}
    try:
        kernel_arguments.check_together(**changes)
    except ValueError as error:
        raise UsageError(str(error), see_help("kernel-args")) from None
    number = StateDirectory.named(workdir_of(ctx, values)).add_step({"type": "kernel-args", **step})
    topic = f"step {number}"
    click.echo(f"{topic:<14}{kernel_arguments.label(**changes, reboot=values['reboot'])}")
    return 0
