"""Where a disk takes no discard its free space is overwritten, within a bound, and the log says so."""

import subprocess
from pathlib import Path

import pytest
from support.waiting import PATIENCE

from cos_customizer import guest

FOLDER = Path(guest.__file__).parent
# A file system of its own, which nothing else sees; memory takes no discard.
IN_MEMORY = """
set -u; shopt -s nullglob dotglob globstar
directory=$1 place=$1/place
mkdir $place && mount -t tmpfs -o size=16m tmpfs $place || exit
. $0/blocks.sh
say() { printf '%s\\n' "$*"; }
find_file_systems() { points=($place) devices=(tmpfs) writable=(1); }
"""


def run(script: str, folder: Path) -> list[str]:
    command: list[str | Path] = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "bash",
        "-c",
        IN_MEMORY + script,
        FOLDER,
        folder,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert ran.stderr == ""
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", ": its free space was overwritten with zeros"),
        ("longest_filling=0.0001;", " MiB of its free space could not be overwritten with zeros in 0.0001 s"),
    ],
    ids=["all of it", "not in time"],
)
def test_free_space_is_overwritten_where_a_disk_takes_no_discard(setting: str, said: str, tmp_path: Path) -> None:
    script = (
        "echo kept >$place/kept; discard_free_space; ls -A $place; (($(stat -f -c '%a' $place) > 4000)) && echo free"
    )
    warning, *rest = run(setting + script, tmp_path)
    assert warning.startswith(f"warning: {tmp_path}/place takes no discard (")
    assert said in warning
    assert rest == ["kept", "free"]


def test_it_is_overwritten_once(tmp_path: Path) -> None:
    assert run("discard_free_space again", tmp_path) == []


def test_the_file_systems_are_those_on_a_disk_each_once(tmp_path: Path) -> None:
    script = """
        unset -f find_file_systems; . $0/blocks.sh; find_file_systems
        for at in "${!points[@]}"; do
          [[ -e ${points[at]} && ${devices[at]} == /dev/* ]] || echo "${points[at]} ${devices[at]}"
        done
        (IFS=$'\\n'; for point in "${points[@]}"; do stat -c %d "$point"; done | sort | uniq -d)
        [[ " ${points[*]} " != *" / "* && " ${points[*]} " != *" $place "* ]] || echo "${points[*]}"
    """
    assert run(script, tmp_path) == []
