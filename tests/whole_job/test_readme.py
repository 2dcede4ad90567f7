"""What the README says to paste, pasted in one go into a shell on a terminal of 80 columns."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT
from terminal import Output, run, screens

pytestmark = pytest.mark.vm

PROGRAM = str(Path(sys.executable).with_name("cos-customizer"))
BLOCKS = re.findall(r"^```shell\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)

PATIENCE_FOR_A_BLOCK = 150.0
"""Seconds on the average, after which the shell is taken to hang; blocks that boot VMs take some thirty."""


@pytest.mark.vital
def test_the_readme_s_commands_work_as_they_are_pasted(tmp_path: Path) -> None:
    """The demo, then an image of a recipe, Cloud Build's workflow, its steps; the shell says how each ended."""
    assert "make demo" in BLOCKS[0]
    assert "emulator stop" in BLOCKS[-1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "COS_CUSTOMIZER_"))}
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())  # of the stand-in
    environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": cache}
    environment |= {"PS1": "$ ", "PROMPT_COMMAND": 'echo "[ended with $?]"'}
    keys = "".join([*BLOCKS, "exit\n"])
    shell = ["bash", "--norc", "-i"]
    limit = PATIENCE_FOR_A_BLOCK * len(BLOCKS)
    try:
        written, code = run(shell, 80, 30, environment, keys=keys, directory=ROOT, limit=limit)
    finally:
        subprocess.run([PROGRAM, "emulator", "stop"], env=environment, check=False, capture_output=True)
    at_once = Output(0, "".join(output.text for output in written))  # to draw every screen on the way takes minutes
    lines = screens([at_once], 80, 400)[-1].lines
    shown = "\n".join("".join(part.text for part in line) for line in lines).rstrip()
    ends = re.findall(r"^\[ended with (\d+)\]$", shown, re.MULTILINE)
    commands = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
    assert (ends, code) == (["0"] * (1 + len(commands)), 0), shown
    assert "Hello, World!" in shown
    assert "-hello built in" in shown
    assert "SUCCESS" in shown
    assert "my-second-image built in" in shown
