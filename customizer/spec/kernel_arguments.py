"""Arguments on the kernel's command line: what a kernel-args step may ask for (no pydantic here).

Sources: https://docs.kernel.org/admin-guide/kernel-parameters.html (names, and double quotes around values),
https://www.gnu.org/software/grub/manual/grub/html_node/Shell_002dlike-scripting.html (what has a meaning in grub.cfg).
"""

import re
from collections.abc import Callable, Mapping

from cos_customizer.customizer.fields import FieldPath, Message, Option, by_path

OPTIONS = by_path(
    Option(
        "steps.kernel-args.append",
        "Arguments to append, as on a kernel's command line; one that is there already is not repeated.",
        "",
    ),
    Option(
        "steps.kernel-args.remove",
        "Arguments to remove: a name stands for all arguments of that name, name=value for that one alone.",
        "",
    ),
    Option(
        "steps.kernel-args.replace",
        "Arguments that take the place of all others of their names; appended where there are none.",
        "",
    ),
    Option(
        "steps.kernel-args.reboot",
        "Reboot the builder VM, so that the steps that follow run with the new command line too.",
        False,
    ),
)
_APPEND, _REMOVE, _REPLACE = map(FieldPath, ("append", "remove", "replace"))

LONGEST_COMMAND_LINE = 2047
"""Characters that a kernel for x86_64 or arm64 reads: its COMMAND_LINE_SIZE, less the closing zero."""

BOOTED_BY = ("root", "dm", "dm-mod.create", "cros_efi")
"""Names of arguments that Container-Optimized OS does not boot without: where its root is, and how it is verified."""

NO_UPDATES = "systemd.mask=update-engine.service"
"""What keeps COS's update engine from starting, whatever is on the disk."""

_WORD = re.compile(r'(?:[^ "]|"[^"]*")+')
_NAME = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.:/]*")
_PLAIN = re.compile(r"[-A-Za-z0-9_.:/,=@%+^~!]*")
"""What needs no quotation marks in grub.cfg."""
_CARRIED = re.compile(r"[ -~]*")
_NOT_CARRIED = "$\\'`"
"""What is something else to GRUB even between quotation marks, or is passed on by it with a backslash."""


def split_arguments(text: str) -> list[str]:
    """The arguments of a text as the kernel sees them, without quotation marks.

    Args:
        text: arguments with spaces between them; a value with spaces is in double quotes: `a="b c"`.

    Raises:
        ValueError: they are not written like that, or the boot loader cannot pass them on.
    """
    for character in text:
        if not _CARRIED.fullmatch(character) or character in _NOT_CARRIED:
            raise ValueError(f"{character!r} cannot be passed on to the kernel by the boot loader")
    if text.count('"') % 2:
        raise ValueError("a quotation mark is not closed")
    arguments = [word.replace('"', "") for word in _WORD.findall(text)]
    for argument in arguments:
        if not _NAME.fullmatch(_name(argument)):
            raise ValueError(f'{argument!r} is not an argument: write name, name=value or name="a value with spaces"')
        if same_name(argument) in map(same_name, BOOTED_BY):
            raise ValueError(f"{_name(argument)} must stay as it is: Container-Optimized OS boots by it")
    return arguments


def check_arguments(text: str) -> str:
    """Return `text` in the one form that it has in grub.cfg: one space between arguments, quotes where they are needed.

    Raises:
        ValueError: see `split_arguments`; or an argument is given twice, or there are more than a kernel reads.
    """
    arguments = split_arguments(text)
    for number, argument in enumerate(arguments):
        if argument in arguments[:number]:
            raise ValueError(f"{argument!r} is given twice")
    written = " ".join(map(_quoted, arguments))
    if len(written) > LONGEST_COMMAND_LINE:
        raise ValueError(f"there are {len(written)} characters; a kernel's command line has {LONGEST_COMMAND_LINE}")
    return written


def check_replacements(text: str) -> str:
    """As `check_arguments`; what takes the place of others has each name once.

    Raises:
        ValueError: as `check_arguments`, or two arguments have one name.
    """
    names = [same_name(argument) for argument in split_arguments(text)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice: one argument takes the place of all of its name")
    return check_arguments(text)


def check_together(append: str, remove: str, replace: str) -> None:
    """Check that what a step asks for goes together.

    Args:
        append: arguments, as `check_arguments` returns them.
        remove: names, or whole arguments.
        replace: arguments.

    Raises:
        ValueError: there is nothing to do, or one thing is asked for in two ways.
    """
    if not (append or remove or replace):
        raise ValueError(Message("at least one of {}, {} and {} must be set", _APPEND, _REMOVE, _REPLACE))
    appended, removed, replaced = map(split_arguments, (append, remove, replace))
    names = set(map(same_name, replaced))
    for field, others in ((_APPEND, appended), (_REMOVE, removed)):
        for argument in others:
            if same_name(argument) in names:
                raise ValueError(
                    Message("{} and {} both name {}: {} alone sets it", field, _REPLACE, _name(argument), _REPLACE)
                )
    for argument in appended:
        if argument in removed or same_name(argument) in map(_normal, removed):
            raise ValueError(
                Message("{} and {} both name {}: {} changes an argument", _APPEND, _REMOVE, _name(argument), _REPLACE)
            )


def removes(remove: str, replace: str, argument: str) -> bool:
    """Whether a step takes an argument away.

    Args:
        remove: names, or whole arguments, as `check_arguments` returns them.
        replace: arguments.
        argument: `name=value`, without quotation marks.
    """
    name = same_name(argument)
    others = [other for other in split_arguments(replace) if same_name(other) == name]
    return any(_normal(wanted) == name or wanted == argument for wanted in split_arguments(remove)) or (
        bool(others) and argument not in others
    )


CHECKS: Mapping[str, Callable[[str], str]] = {
    "append": check_arguments,
    "remove": check_arguments,
    "replace": check_replacements,
}
"""What checks each field, and returns it as it is written in grub.cfg."""


def label(append: str, remove: str, replace: str, *, reboot: bool) -> str:
    """What people see of a step: what is changed, and whether the builder VM reboots."""
    changes = (("append", append), ("remove", remove), ("replace", replace))
    shown = [f"{what} {arguments}" for what, arguments in changes if arguments]
    return f"kernel-args {', '.join(shown + ['reboot'] * reboot)}"


def same_name(argument: str) -> str:
    """The name of an argument, as the kernel compares it: hyphens are underscores to it."""
    return _normal(_name(argument))


def _name(argument: str) -> str:
    return argument.partition("=")[0]


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _quoted(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return argument if _PLAIN.fullmatch(value) else f'{name}{equals}"{value}"'
