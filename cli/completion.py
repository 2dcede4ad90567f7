"""Shell completion: click's, for flags of one hyphen."""

import os

VARIABLE = "_COS_CUSTOMIZER_COMPLETE"
"""Set by the completion scripts when they ask the program what could come next."""


def asked_for() -> bool:
    """Whether a shell wants to know what could come next."""
    return VARIABLE in os.environ


def prepare() -> None:
    """Let click complete for bash as it should."""
    from click.shell_completion import BashComplete, add_completion_class

    class _Bash(BashComplete):
        # bash takes the `=` of `-flag=value` for a word of its own; it is left out, so that the value follows the flag.
        def get_completion_args(self) -> tuple[list[str], str]:
            args, incomplete = super().get_completion_args()
            return [arg for arg in args if arg != "="], "" if incomplete == "=" else incomplete

        @staticmethod
        def _check_version() -> None:
            """Not asked: this may run in a container without bash, for a shell elsewhere."""

    add_completion_class(_Bash, "bash")
