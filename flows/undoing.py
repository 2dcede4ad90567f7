"""What a build has to take back when it ends, however it ends."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.removal import Removal

Undo = Callable[[], Sequence[Removal] | None]

SWEEP_TAKES_IT = "`cos-customizer sweep` takes it when it has expired"
"""What is said of things that bear the build's labels and stay until somebody removes them."""
_SHARE = 0.6
"""Of the time that is left, for one thing as long as there are others: none of them is given up because of it."""


class Entry:
    """One registered undoing.

    Attributes:
        what: Is left if the undoing fails, for people: `builder VM x in zone z`.
        taker: What takes it in the end, if nobody does before.
    """

    def __init__(self, undoing: "Undoing", what: str, undo: Undo, taker: str) -> None:
        self._undoing = undoing
        self.what = what
        self.undo = undo
        self.taker = taker

    def cancel(self) -> None:
        """Take the registration back: the thing is to stay."""
        self._undoing.forget(self)


class Undoing:
    """Undoes in reverse. Register the undoing *before* the call that creates: the end can come in the middle of it.

    Attributes:
        removals: What has become of everything that was to be removed.
        leftovers: What could not be removed, for people.
    """

    def __init__(self, root: "Undoing | None" = None) -> None:
        self._root = root or self
        self._entries: list[Entry] = []
        self._parts: list[Undoing] = []
        self.removals: list[Removal] = []
        self.leftovers: list[str] = []

    def add(self, what: str, undo: Undo, taker: str = "") -> Entry:
        """Register an undoing.

        Args:
            what: Is left if the undoing fails, for people.
            undo: Removes it, and may return what it has removed; must not mind that nothing is there.
            taker: What takes it in the end if it is left, for people: `Compute Engine deletes it within 1 h`.

        Returns:
            The entry, which can be cancelled.
        """
        entry = Entry(self, what, undo, taker)
        self._entries.append(entry)
        return entry

    def add_last(self, do: Callable[[], None]) -> None:
        """Register what only informs: it comes after everything that is to be removed, parts included."""
        self._root._entries.insert(0, Entry(self._root, "", do, ""))  # noqa: SLF001 - one of ours

    def part(self) -> "Undoing":
        """An undoing whose work can be done earlier, by its own `run`; the rest of it is done in this one's turn."""
        part = Undoing(self._root)
        self._parts.append(part)
        self.add("", part._run_entries)
        return part

    def run_parts(self) -> None:
        """Do the work of all parts now; what is registered beside them stays for the end."""
        for part in reversed(self._parts):
            part.run()

    def forget(self, entry: Entry) -> None:
        """Remove an entry, if it is still there."""
        if entry in self._entries:
            self._entries.remove(entry)

    def run(self) -> None:
        """Undo everything that is registered; what fails is noted in `leftovers` and the rest goes on."""
        self._run_entries()

    def _run_entries(self) -> None:
        while self._entries:
            entry = self._entries[-1]
            more = len(self._root._entries) > 1 or len(self._entries) > 1  # noqa: SLF001 - one of ours
            share = deadline.until(time.monotonic() + _SHARE * deadline.left()) if more else nullcontext()
            try:
                with share:
                    removals = entry.undo() or ()
                    self.note(entry.what, removals, entry.taker)
            except CustomizerError as error:
                self._leave(entry, error.message)
            except Exception as error:  # undoing goes on, whatever happens to one part of it
                self._leave(entry, f"{type(error).__name__}: {error}")
            self.forget(entry)

    def give_up(self) -> None:
        """Leave everything that is still registered, since there is no more time for it."""
        for part in self._parts:
            part.give_up()
        while self._entries:
            entry = self._entries.pop()
            if entry.what:
                self._leave(entry, "there was no time to see it go")

    def note(self, what: str, removals: Sequence[Removal], taker: str = "") -> None:
        """Note what an undoing has removed, and what it could not.

        Args:
            what: It was to remove.
            removals: What came of it.
            taker: As for `add`.
        """
        self._root.removals += removals
        for removal in removals:
            if removal.action == "failed":
                self._leave(Entry(self, what, list, taker), removal.reason)

    def _leave(self, entry: Entry, reason: str) -> None:
        taken = f"; {entry.taker}" if entry.taker else ""
        self._root.leftovers.append(f"{entry.what} ({reason}){taken}")

    @property
    def removed(self) -> Counter[str]:
        """How many of each kind were removed."""
        return Counter(removal.kind for removal in self.removals if removal.action == "deleted")

    def summary(self) -> str:
        """What was removed, for people: `1 VM, 1 disk, 2 objects`."""
        counts = self.removed.items()
        return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts) or "nothing was left"
