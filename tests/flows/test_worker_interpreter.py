"""What a fork of the worker's warm process takes upon itself, and what must be a new interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

from cos_customizer.flows.worker import interpreter


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ([sys.executable, "-m", "prefect.engine"], ["-m", "prefect.engine"]),
        ([sys.executable, "file.py", "hook"], ["file.py", "hook"]),
        ([sys.executable, "-X", "dev", "-m", "prefect.engine"], None),
        ([sys.executable, "-m"], None),
        ([sys.executable], None),
        (["uv", "run", "file.py"], None),
    ],
)
def test_a_fork_stands_for_this_interpreter_without_options(command: list[str], arguments: list[str] | None) -> None:
    assert interpreter.arguments_of(command) == arguments


@pytest.mark.parametrize(
    ("file", "shadows"), [("yaml.py", True), ("yaml/__init__.py", True), ("yaml/data.txt", False), ("mine.py", False)]
)
def test_a_module_beside_the_flows_of_the_name_of_an_imported_one_is_seen(
    tmp_path: Path, file: str, shadows: bool
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert interpreter._shadows([str(tmp_path / "none"), str(tmp_path)]) is shadows


def test_a_server_which_loads_collections_too_is_spared_the_worker() -> None:
    program = (
        "import sys\n"
        "sys.modules['prefect.server.api.server'] = sys\n"
        "import cos_customizer.flows.worker.prefect_collection\n"
        "assert 'prefect' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
