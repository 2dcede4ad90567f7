"""Commands below `cos-customizer emulator`, each a process of its own, as users run them."""

import subprocess
import sys

_PROGRAM = "import sys; from cos_customizer.cli.main import main; sys.exit(main())"


def emulator_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, whatever its exit code."""
    command = [sys.executable, "-c", _PROGRAM, "emulator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
