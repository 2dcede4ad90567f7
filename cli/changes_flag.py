"""`-verify-changes`: what may have changed of an image, in one flag."""

from typing import Any

from cos_customizer.cli.flag_kinds import ListFlag
from cos_customizer.customizer.contents.difference import AREAS
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spelling import did_you_mean

NOTHING = "none"
_PARTS = ("paths", *AREAS)


class ChangesFlag(ListFlag):
    """A flag that takes patterns of what may change: `/var/lib/app/**`, `units:docker.service`, or `none`."""

    def field_value(self, value: Any) -> dict[str, list[str]]:
        """The value of its field where the flag has this value.

        Raises:
            UsageError: a pattern is not said to be one of anything.
        """
        found: dict[str, list[str]] = {}
        for item in value:
            if item == NOTHING and len(value) == 1:
                continue
            part, colon, pattern = ("paths", ":", item) if item.startswith("/") else item.partition(":")
            if part not in _PARTS or not colon:
                meant = did_you_mean(part, _PARTS)
                kinds = f"{', '.join(_PARTS[:-1])} or {_PARTS[-1]}"
                raise UsageError(
                    f"-{self.flag}: {item!r} does not say what may change",
                    f"{meant} write KIND:PATTERN, with {kinds} as kind; a path alone; or {NOTHING}.".strip(),
                )
            found.setdefault(part, []).append(pattern)
        return found
