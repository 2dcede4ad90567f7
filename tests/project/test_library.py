"""`from cos_customizer import …`: light to import, quiet, the same tomorrow, and as docs/library.md shows it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from documentation import python_signature
from pydantic import BaseModel
from support.guest_scripts import NONCE, marker, script, succeeded, succeeding
from support.paths import ROOT
from support.specifications import SpecMaker
from support.waiting import PATIENCE

import cos_customizer
from cos_customizer import BuildFailedError, BuildResult, CustomizerError, UsageError, build_image, parse_spec
from cos_customizer.emulator.server import Emulator

PUBLIC = {
    "BuildFailedError": "BuildFailedError",
    "BuildResult": "BuildResult",
    "BuildSpec": "BuildSpec",
    "BuildTimeoutError": "BuildTimeoutError",
    "CustomizerError": "CustomizerError",
    "Rebuild": "Rebuild",
    "RebuildFailedError": "RebuildFailedError",
    "Recipe": "Recipe",
    "StepResult": "StepResult",
    "UsageError": "UsageError",
    "build_image": "build_image(spec: BuildSpec | Recipe | Mapping[str, Any]) -> BuildResult",
    "parse_spec": "parse_spec(data: Any) -> BuildSpec",
    "read_recipe": "read_recipe(path: str | Path) -> Recipe",
    "rebuild_images": (
        "rebuild_images(recipes: Iterable[str | Path], *, force: bool = False, deployment: str = '') -> list[Rebuild]"
    ),
}
"""Whoever changes a line of this breaks somebody's script; what is added breaks none."""
FIELDS = {
    "BuildResult": {
        *("outcome", "build_id", "project", "image", "image_self_link", "image_id", "source_image", "source_image_id"),
        *("zone", "steps", "verification", "durations", "deprecated", "serial_log", "verification_log", "leftovers"),
        "error",
    },
    "BuildSpec": {"source", "context", "scratch", "steps", "builder", "output", "verify", "timeout"},
    "Rebuild": {"recipe", "family", "outcome", "image", "why", "cause", "seconds", "waited"},
    "StepResult": {"number", "label", "state", "seconds"},
}
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/library.md").read_text(), re.MULTILINE | re.DOTALL)
CHECKED = (marker("BuildStep: 1 started run-script check.sh"), marker("BuildStep: 1 succeeded 0.1"), *succeeded())
FAILS = (
    marker("BuildStep: 1 started run-script first.sh"),
    marker("BuildStep: 1 failed exit 3"),
    marker("BuildFailed: step 1 exit 3"),
)


def test_what_is_public_is_what_it_was() -> None:
    assert set(cos_customizer.__all__) == {*PUBLIC, "__version__"}
    assert {name: python_signature(name) for name in PUBLIC} == PUBLIC
    assert dir(cos_customizer) == sorted(cos_customizer.__all__)
    assert re.fullmatch(r"\d{8}(\.\w+)?", cos_customizer.__version__)
    assert issubclass(UsageError, CustomizerError)
    assert issubclass(BuildFailedError, CustomizerError)
    for name, fields in FIELDS.items():
        model: type[BaseModel] = getattr(cos_customizer, name)
        assert fields <= set(model.model_fields), name


def test_help_says_how_to_begin_and_every_public_name_what_it_is() -> None:
    assert "from cos_customizer import build_image" in str(cos_customizer.__doc__)
    assert [name for name in PUBLIC if not getattr(cos_customizer, name).__doc__] == []


def test_a_name_that_is_not_there_is_missed_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'cos_customizer' has no attribute 'build_images'"):
        cos_customizer.build_images  # noqa: B018


def test_importing_a_name_imports_what_it_needs_and_prefect_never() -> None:
    program = """
import json, sys
heavy = lambda: sorted({"prefect", "google", "pydantic", "yaml", "click"} & set(sys.modules))
import cos_customizer
found = [heavy()]
from cos_customizer import *
found.append(heavy())
try:
    build_image({})
except CustomizerError as error:
    found.append(heavy())
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [[], ["pydantic", "yaml"], ["pydantic", "yaml"]]


@pytest.fixture
def in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("prefect_server", "in_checkout")
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_the_page_runs_as_it_stands(
    example: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.scripts.add({"match": {"name": ".*-test"}, "variables": NONCE, "events": list(CHECKED)})
    emulator.scripts.add({**succeeding("run-script preload.sh"), "match": {"name": ".*-[0-9a-f]{10}"}})
    capsys.readouterr()
    exec(compile(example, "docs/library.md", "exec"), {"__name__": "example"})
    (image,) = emulator.list("projects/my-project/global/images")
    printed = capsys.readouterr().out
    assert image["name"] in printed or "except" in example


@pytest.mark.usefixtures("prefect_server")
def test_a_dictionary_that_is_no_specification_and_a_script_that_fails_are_errors_of_ours(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    spec = make_spec()
    with pytest.raises(UsageError, match="output must be set"):
        build_image(spec.model_dump(exclude={"output"}))
    emulator.scripts.add(script(*FAILS))
    with pytest.raises(BuildFailedError, match=r"first\.sh"):
        build_image(spec.model_dump())


def quietly(program: str, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**kept, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


ANALYTICS = "PREFECT_SERVER_ANALYTICS_ENABLED"
SCRIPT = """
import json, logging, sys
from cos_customizer import CustomizerError, build_image
try:
    print(build_image(json.load(open(sys.argv[1]))).image)
except CustomizerError as error:
    print(error.message)
logging.getLogger("prefect.client").warning("worth knowing")
"""


@pytest.mark.slow
def test_a_script_sees_of_a_build_what_it_prints_itself_and_warnings_and_a_server_of_its_own_would_report_to_nobody(
    emulator: Emulator, make_spec: SpecMaker, session_server: dict[str, str], tmp_path: Path
) -> None:
    emulator.scripts.add(succeeding("run-script first.sh", "run-script second.sh"))
    server = {name: value for name, value in session_server.items() if "LOGGING" not in name}
    (tmp_path / "spec.json").write_text(make_spec().model_dump_json())
    program = f"import os; os.environ.pop({ANALYTICS!r}, None)\n{SCRIPT}\nprint(os.environ[{ANALYTICS!r}])"
    ran = quietly(program, server, str(tmp_path / "spec.json"))
    assert ran.stdout == "my-image\nfalse\n", ran.stderr
    assert [line for line in ran.stderr.splitlines() if "worth knowing" not in line] == []
    assert ran.stderr.count("worth knowing") == 1

    emulator.scripts.clear()
    emulator.scripts.add(script(*FAILS))
    (tmp_path / "spec.json").write_text(make_spec(output={"name": "other"}).model_dump_json())
    ran = quietly(SCRIPT, server, str(tmp_path / "spec.json"))
    assert "first.sh" in ran.stdout
    assert ran.stdout.count("\n") == 1
    assert [line for line in ran.stderr.splitlines() if "worth knowing" not in line] == []

    ran = quietly(SCRIPT, {**server, "PREFECT_LOGGING_LEVEL": "INFO"}, str(tmp_path / "spec.json"))
    assert "Beginning flow run" in ran.stderr


def test_the_page_names_what_is_public() -> None:
    page = (ROOT / "docs/library.md").read_text()
    assert [name for name in PUBLIC if f"`{name}" not in page] == []


def typed(result: BuildResult, data: Any) -> str:
    """For the type checker: what a script does with the names is known to it."""
    spec = parse_spec(data)
    return f"{result.outcome} {result.steps[0].label} {spec.output.name}"
