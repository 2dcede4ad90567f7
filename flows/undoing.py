"""What a build has to take back when it ends, however it ends."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cos_customizer.customizer.errors import CustomizerError

Undo = Callable[[], "Counter[str] | None"]


@dataclass(frozen=True, eq=False)
class _Entry:
    what: str
    undo: Undo


class Undoing:
    """Undoes in reverse. Register the undoing *before* the call that creates: the end can come in the middle of it."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self.removed: Counter[str] = Counter()
        self.leftovers: list[str] = []

    def add(self, what: str, undo: Undo) -> Callable[[], None]:
        """Register an undoing.

        Args:
            what: is left if the undoing fails, for people: `VM x in zone z`.
            undo: removes it and may say how many of what were there; must not mind that nothing is.

        Returns:
            A function that takes the registration back: the thing is to stay.
        """
        entry = _Entry(what, undo)
        self._entries.append(entry)
        return lambda: self._take_back(entry)

    def part(self) -> "Undoing":
        """An undoing whose work can be done earlier, by its own `run`; the rest of it is done in this one's turn."""
        part = Undoing()
        part.removed, part.leftovers = self.removed, self.leftovers
        self._entries.append(_Entry("", part.run))
        return part

    def _take_back(self, entry: _Entry) -> None:
        if entry in self._entries:
            self._entries.remove(entry)

    def run(self) -> None:
        """Undo everything that is registered; what fails is noted in `leftovers` and the rest goes on."""
        while self._entries:
            entry = self._entries[-1]
            try:
                self.removed.update(entry.undo() or {})
            except CustomizerError as error:
                self.leftovers.append(f"{entry.what} ({error.message})")
            except Exception as error:  # undoing goes on, whatever happens to one part of it
                self.leftovers.append(f"{entry.what} ({type(error).__name__}: {error})")
            self._take_back(entry)

    def summary(self) -> str:
        """What was removed, for people: `1 VM, 1 disk, 2 objects`."""
        counts = [(kind, count) for kind, count in self.removed.items() if count]
        return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts) or "nothing was left"
