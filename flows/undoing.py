"""What a build has to take back when it ends, however it ends."""

from collections import Counter
from collections.abc import Callable, Sequence

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.removal import Removal

Undo = Callable[[], Sequence[Removal] | None]


class Entry:
    """One registered undoing.

    Attributes:
        what: Is left if the undoing fails, for people: `builder VM x in zone z`.
    """

    def __init__(self, undoing: "Undoing", what: str, undo: Undo) -> None:
        self._undoing = undoing
        self.what = what
        self.undo = undo

    def cancel(self) -> None:
        """Take the registration back: the thing is to stay."""
        self._undoing.forget(self)


class Undoing:
    """Undoes in reverse. Register the undoing *before* the call that creates: the end can come in the middle of it.

    Attributes:
        removals: What has become of everything that was to be removed.
        leftovers: What could not be removed, for people.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.removals: list[Removal] = []
        self.leftovers: list[str] = []

    def add(self, what: str, undo: Undo) -> Entry:
        """Register an undoing.

        Args:
            what: Is left if the undoing fails, for people.
            undo: Removes it, and may return what it has removed; must not mind that nothing is there.

        Returns:
            The entry, which can be cancelled.
        """
        entry = Entry(self, what, undo)
        self._entries.append(entry)
        return entry

    def part(self) -> "Undoing":
        """An undoing whose work can be done earlier, by its own `run`; the rest of it is done in this one's turn."""
        part = Undoing()
        part.removals, part.leftovers = self.removals, self.leftovers
        self.add("", part.run)
        return part

    def forget(self, entry: Entry) -> None:
        """Remove an entry, if it is still there."""
        if entry in self._entries:
            self._entries.remove(entry)

    def run(self) -> None:
        """Undo everything that is registered; what fails is noted in `leftovers` and the rest goes on."""
        while self._entries:
            entry = self._entries[-1]
            try:
                self.note(entry.what, entry.undo() or ())
            except CustomizerError as error:
                self.leftovers.append(f"{entry.what} ({error.message})")
            except Exception as error:  # undoing goes on, whatever happens to one part of it
                self.leftovers.append(f"{entry.what} ({type(error).__name__}: {error})")
            self.forget(entry)

    def note(self, what: str, removals: Sequence[Removal]) -> None:
        """Note what an undoing has removed, and what it could not.

        Args:
            what: It was to remove.
            removals: What came of it.
        """
        self.removals += removals
        self.leftovers += [f"{what} ({removal.reason})" for removal in removals if removal.action == "failed"]

    @property
    def removed(self) -> Counter[str]:
        """How many of each kind were removed."""
        return Counter(removal.kind for removal in self.removals if removal.action == "deleted")

    def summary(self) -> str:
        """What was removed, for people: `1 VM, 1 disk, 2 objects`."""
        counts = self.removed.items()
        return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts) or "nothing was left"
