"""The guest's scripts, run by bash on this machine, with a pseudo-terminal for a serial port."""

import os
import subprocess
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.guest_scripts import script_step
from support.waiting import PATIENCE, wait_for

from cos_customizer import guest as guest_package
from cos_customizer.guest.protocol import Event, OutputLine, SerialParser
from cos_customizer.guest.user_data import ContextObject, GuestStep, render_plan

FOLDER = Path(guest_package.__file__).parent
NO_CONTEXT = ContextObject("my-bucket", "context.tar.gz", "0" * 64)


@dataclass
class Cloud:
    """Answers of a metadata server and a Cloud Storage in one: path (without its query) to status and body."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    failures_first: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""


@dataclass
class Guest:
    """Stands for the builder VM: `run` in its folder is /run/cos-customizer, `state` is /var/lib/.cos-customizer."""

    folder: Path
    port: str
    said: bytearray
    context: ContextObject = NO_CONTEXT

    def bash(self, script: str, *steps: GuestStep, cloud: Cloud | None = None) -> list[Event]:
        """Run a piece of bash in place of build.sh's `main`, and read what it said."""
        run, state = self.folder / "run", self.folder / "state"
        run.mkdir(exist_ok=True)
        (run / "plan.sh").write_text(render_plan(steps, self.context, "n0nce"))
        before = len(self.said)
        prelude = f"""
            set -u; shopt -s nullglob dotglob globstar
            directory={run} state={state}
            for part in protocol context secrets steps; do . {FOLDER}/$part.sh; done
            mkdir -p $directory/steps
            cp {FOLDER}/steps/*.sh $directory/steps
            for file in $directory/steps/*.sh; do . $file; done
            . $directory/plan.sh
            metadata_server={cloud.url if cloud else "http://127.0.0.1:9"}/computeMetadata/v1
            exec 3>{self.port} 2>&3
            sleep() {{ # waits for nobody, but for last words as long as a busy machine takes for them
              case $1 in 0.2) command sleep 2 ;; 0.*) command sleep "$1" ;; *) command sleep "$1e-2" ;; esac
            }}
            going_down() {{ [[ -e {self.folder}/going-down ]]; }}
            conclude() {{ send "$1"; exit; }}
            trap 'send "BuildStatus: end of the run"' EXIT
            trap : TERM
        """
        env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        subprocess.run(
            ["bash", "-c", prelude + script], timeout=PATIENCE, check=True, stdin=subprocess.DEVNULL, env=env
        )
        end = b"BuildStatus: end of the run\n"
        wait_for(lambda: end in self.said[before:])
        parser = SerialParser("n0nce")
        return parser.feed(bytes(self.said[before:]).replace(end, b"")) + parser.finish()

    def fetch(self, cloud: Cloud) -> list[Event]:
        return self.bash("fetch_context", cloud=cloud)

    def build(self, *steps: GuestStep, before: str = "", cloud: Cloud | None = None) -> list[Event]:
        """Run the steps, without fetching and cleaning up; what is in `state/context` is the build context."""
        script = "recall_steps; record_plan; plan; yield_to_shutdown; conclude 'BuildSucceeded[n0nce]:'"
        return self.bash(f"{before}\n{script}", *steps, cloud=cloud)

    def write(self, name: str, script: str) -> GuestStep:
        path = self.folder / "state" / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, errors="surrogateescape")
        return script_step(name, {"FROM_ENV": "it's\n$here"})


@contextmanager
def bash_guest(folder: Path) -> Iterator[Guest]:
    """With a pseudo-terminal for a serial port: programs treat a terminal in another way than a file."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    guest = Guest(folder, os.ttyname(theirs), bytearray())

    def read() -> None:
        while True:
            try:
                guest.said.extend(os.read(ours, 65536))
            except OSError:  # nobody has the other side open any more
                return

    reader = threading.Thread(target=read)
    reader.start()
    yield guest
    os.close(theirs)
    reader.join(PATIENCE)
    os.close(ours)
    assert not reader.is_alive(), "a process of this test still has its output open"


def texts(events: list[Event]) -> list[str]:
    """What was printed."""
    return [event.text for event in events if isinstance(event, OutputLine)]
