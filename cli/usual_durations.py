"""How long the parts of a build usually take: remembered on this machine, so that a wait can say what is normal.

A convenience. Where nothing can be kept, as in a container with a home that is read-only, nothing is remembered, and
nothing said of it.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cos_customizer.customizer.reporting.events import BuildEnded, Event, PhaseChange
from cos_customizer.gcp.endpoints import COMPUTE_OVERRIDE

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

_MOST = 100
"""Kinds of build that are remembered."""
_LARGEST = 1 << 20


class UsualDurations:
    """What the phases of builds like one have taken last, in seconds.

    Alike are builds of one project's source images on one type of machine, here or in Google Cloud: image families of
    one maker boot and halt alike, and a recipe that is rebuilt names no family any more.

    Args:
        spec: of the build.
    """

    def __init__(self, spec: "BuildSpec") -> None:
        place = "here" if os.environ.get(COMPUTE_OVERRIDE) else "in Google Cloud"
        self._kind = " ".join(filter(None, (spec.source.project, spec.builder.machine_type, spec.gpu_type, place)))
        self._seen: dict[str, float] = {}
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self.last: Mapping[str, float] = _read(_file()).get(self._kind, {})
            return
        self.last = {}

    def on_event(self, event: Event) -> None:
        """Note how long a phase took; of a build that has succeeded it is remembered."""
        if isinstance(event, PhaseChange) and event.seconds is not None:
            self._seen[event.phase] = event.seconds
        elif isinstance(event, BuildEnded) and event.result.outcome == "built":
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                self._keep(_file())

    def _keep(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known: dict[str, Mapping[str, float]] = {}
        with contextlib.suppress(OSError, ValueError):  # the first one, or of no use
            known = _read(file)
        known.pop(self._kind, None)
        known[self._kind] = self._seen
        text = json.dumps(dict(list(known.items())[-_MOST:]), indent=1)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "cos-customizer", "durations.json").expanduser()


def _read(file: Path) -> dict[str, Mapping[str, float]]:
    """What is remembered, by kind of build; what is not of that shape is left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    with file.open(encoding="utf-8") as stream:
        data = json.loads(stream.read(_LARGEST))
    if not isinstance(data, dict):
        return {}
    return {
        kind: {name: float(seconds) for name, seconds in phases.items() if isinstance(seconds, int | float)}
        for kind, phases in data.items()
        if isinstance(phases, dict)
    }
