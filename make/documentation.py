"""Generates what the documents show of the program: `make docs` writes it, test_docs.py compares.

A generated block stands between `<!-- KIND ARGUMENT -->` and `<!-- end -->`.
"""

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import deployment_variants
from api_methods import api_methods
from google.cloud import compute_v1
from reporting_reference import announcements, causes, events, results
from support.command_line import run
from support.compute_clients import Compute
from support.family_images import DAY, OURS, add_images, built_before
from support.guest_scripts import marker, script, succeeded, succeeding
from support.leftovers import labelled, make_disk, store
from support.storage_clients import anonymous_bucket

import cos_customizer
from cos_customizer.cli.main import program
from cos_customizer.cli.reference import FlagReference, commands
from cos_customizer.customizer.contents import difference_json
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.spec.recipe_schema import recipe_schema, schema_text
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS
from cos_customizer.emulator.server import Emulator

ROOT = Path(__file__).parent.parent
DOCUMENTS = tuple(
    sorted(path for place in (".", "docs", "examples", "examples/*") for path in ROOT.glob(f"{place}/*.md"))
)
PROGRAM = "cos-customizer"
EXAMPLE = ROOT / "examples" / "minimal"
RECIPES = ROOT / "examples" / "recipes"
SCHEMA = RECIPES / "recipe.schema.json"
DIFFERENCE_SCHEMA = ROOT / "docs" / "difference.schema.json"
FINISH = (
    "finish-image-build",
    "-zone=us-west1-b",
    "-project=my-project",
    "-image-name=my-custom-image",
    "-image-project=my-project",
)

_BLOCK = re.compile(
    r"^<!-- (?P<kind>[a-z-]+)(?: (?P<argument>[^>]+?))? -->\n(?P<content>.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL
)
_CHANGING = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"nonce=[0-9a-f]+"), "NONCE"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "TIMESTAMP"),
    (re.compile(r"crc32c: \S+"), "CRC32C"),  # of the compressed archive: zlib's versions differ
    (re.compile(r"cos-customizer-expires: '\d+'"), "EXPIRY"),
    (re.compile(r'"(build_id|image_id|source_image_id)": "\w+"'), "ID"),
    (re.compile(r"cos-customizer/[0-9a-f]{10}/"), "BUILD"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "https://www.googleapis.com"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"cos-customizer-[0-9a-f]{10}\b"), "NAME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b(\d+ min )?\d+(\.\d+)? s\b"), "SECONDS"),
    (re.compile(r"\b\d+\.\d+\b"), "SECONDS"),
    (re.compile(r"… \d+ lines"), "… LINES"),
    (re.compile(r"-20\d{6}\b"), "-DATE"),
)


@dataclass(frozen=True)
class Block:
    """A generated block of a document."""

    document: Path
    kind: str
    argument: str
    content: str


def blocks(document: Path) -> Iterator[Block]:
    """The generated blocks of a document."""
    for match in _BLOCK.finditer(document.read_text()):
        yield Block(document, match["kind"], match["argument"] or "", match["content"])


def normal(text: str) -> str:
    """The text without what differs from run to run: ids, digests, times."""
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    return text


@contextmanager
def example_home(emulator: Emulator, directory: Path) -> Iterator[None]:
    """Where the example's commands run: its own home and working directory, the emulator as its cloud."""
    workspace = directory / "workspace"
    workspace.mkdir()
    (directory / "home").mkdir()
    for name in ("preload.sh", "cloudbuild.yaml"):
        (workspace / name).write_bytes((EXAMPLE / name).read_bytes())
    # The database that Prefect's own server starts from is kept between runs.
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    settings = {**emulator.environment(), "HOME": str(directory / "home"), "XDG_CACHE_HOME": cache, "COLUMNS": "80"}
    with chdir(workspace), mock.patch.dict(os.environ, settings):
        yield


def _console(text: str, language: str = "") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def _flags(command: str) -> str:
    """A command's flags."""
    return _flag_table(next(each for each in commands(program) if each.name == command).flags)


def _flag_table(flags: Iterable[FlagReference]) -> str:
    rows = ["| Flag | Default | Meaning |", "|---|---|---|"]
    for flag in flags:
        example = f" Example: `{flag.example}`." if flag.example else ""
        default = f"`{flag.default}`" if flag.default else ""
        text = flag.text.replace("|", r"\|")
        rows.append(f"| `{flag.written('=')}` | {default} | {text}{example} |")
    return "\n".join(rows) + "\n"


def _commands_reference(_argument: str) -> str:
    """All commands: a list of them, then each with its description and its flags."""
    found = [(command.name or PROGRAM, command) for command in commands(program)]
    listed = [f"| [`{name}`](#{name.replace(' ', '-')}) | {command.summary} |" for name, command in found]
    parts = ["\n".join(["| Command | |", "|---|---|", *listed]) + "\n"]
    for name, command in found:
        parts += [f"### {name}\n", f"{command.text}\n"]
        parts += [_flag_table(command.flags)] if command.flags else []
    return "\n".join(parts)


def _fields(path: str) -> str:
    """The fields of a part of a recipe: `source`, `verify.changes`, or a kind of step."""
    schema = part = recipe_schema()
    kind = STEP_KINDS.get(path)
    if kind:
        part = schema["$defs"][kind.__name__]
    for field in [] if kind else path.split("."):
        about = part["properties"][field]
        (reference,) = (each["$ref"] for each in (about, *about.get("anyOf", [])) if "$ref" in each)
        part = schema["$defs"][reference.rpartition("/")[2]]
    rows = ["| Field | Value | Default | Meaning |", "|---|---|---|---|"]
    for field, about in part["properties"].items():
        default = about.get("default")
        shown = f"`{json.dumps(default)}`" if default not in (None, "", [], {}) else ""
        shown = "required" if field in part.get("required", []) else shown
        rows.append(f"| `{field}` | {_value_of(about)} | {shown} | {about.get('description', 'Kind of step.')} |")
    return "\n".join(rows) + "\n"


def _value_of(about: dict[str, Any]) -> str:
    """What a field takes, for people."""
    kinds = [kind for kind in about.get("anyOf", []) if kind.get("type") != "null"] or [about]
    if len(kinds) > 1:
        return ", or ".join(map(_value_of, kinds))
    (about,) = kinds
    if "enum" in about or "const" in about:
        return ", ".join(f"`{word}`" for word in about.get("enum", [about.get("const")]))
    if "$ref" in about:
        return "mapping"
    kind = about.get("type")
    simple = {"boolean": "`true` or `false`", "integer": "whole number", "array": "list", "object": "mapping of texts"}
    return simple.get(kind, "text") if isinstance(kind, str) else "text"


def _python_api(_argument: str) -> str:
    """The public names of the package: what they are called with, and what they are."""
    rows = ["| Name | |", "|---|---|"]
    for name in cos_customizer.__all__:
        if name != "__version__":
            about = inspect.getdoc(getattr(cos_customizer, name)) or ""
            signature = python_signature(name).replace("|", r"\|")
            rows.append(f"| `{signature}` | {about.partition(chr(10))[0]} |")
    return "\n".join(rows) + "\n"


def python_signature(name: str) -> str:
    """A public name of the package, with its parameters where it is a function: `read_recipe(path: str | Path)`."""
    found = getattr(cos_customizer, name)
    if inspect.isclass(found):
        return name
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", f"{name}{inspect.signature(found)}")


def _help(command: str) -> str:
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}):
        ran = run("help", *command.split())
    assert ran.code == 0, ran.err
    return _console(f"$ cos-customizer help {command}\n{ran.out}", "console")


def _file(argument: str) -> str:
    path, language = argument.split()
    return _console((ROOT / path).read_text(), language)


def _begin() -> None:
    start = ("-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud", "-gcs-bucket=my-project_cloudbuild")
    for command in (("start-image-build", *start, "-gcs-workdir=image-build-42"), ("run-script", "-script=preload.sh")):
        ran = run(*command)
        assert ran.code == 0, ran.err


def _dry_run() -> str:
    """Its output."""
    _begin()
    ran = run(*FINISH, "-dry-run")
    assert ran.code == 0, ran.err
    shown = ran.out.replace(str(Path.cwd()), "/workspace").splitlines()
    return _console("\n".join([f"$ cos-customizer {' '.join(FINISH)} -dry-run", *shown]), "yaml")


def _output_file(emulator: Emulator) -> str:
    """The file that a build writes."""
    emulator.scripts.add(succeeding("run-script preload.sh"))
    _begin()
    code = "import sys; from cos_customizer.cli.main import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *FINISH, "-output-file=build.json"], check=True, capture_output=True)
    return _console(Path("build.json").read_text(), "json")


def _commands(*commands: str) -> str:
    """Commands, and what they print."""
    shown = []
    for command in commands:
        ran = run(*command.split())
        assert ran.code == 0, ran.err
        shown.append(f"$ cos-customizer {shlex.join(command.split())}\n{ran.out}")
    return _console("".join(shown), "console")


def _init() -> str:
    """A repository from nothing."""
    Path("images").mkdir()
    with chdir("images"):
        shown = _commands("init -name=web")
    return shown.replace("$ cos", "$ mkdir images && cd images\n$ cos", 1)


def _rebuild_images() -> str:
    """Two recipes, one of whose images is as it would be made now."""
    for name in ("agent", "web"):
        shutil.copytree(RECIPES / name, Path("recipes", name))
        shutil.copy(RECIPES / f"{name}.yaml", "recipes")
    built_before(Path("recipes/agent.yaml"))
    return _commands("rebuild-images -recipe=recipes/*.yaml -dry-run")


def _run_cloudbuild(emulator: Emulator) -> str:
    """The example's workflow; its script prints nothing."""
    begins, ends = marker("BuildStep: 1 started run-script preload.sh"), marker("BuildStep: 1 succeeded 0.2")
    emulator.scripts.add(script(begins, ends, *succeeded()))
    return _commands("emulator run-cloudbuild cloudbuild.yaml")


def _family(emulator: Emulator) -> None:
    """A family as nightly builds leave it, with some images that are kept for one reason or another."""
    compute, past, later = Compute(emulator), 1_780_000_000.0, 4_100_000_000.0
    web = "projects/my-project/global/images/web-20260502"
    add_images(
        compute,
        {
            "web-20260501": {"deleted": past},
            "web-20260502": {"deleted": past + DAY},
            "web-by-hand": {"deleted": past, "description": "made by hand"},
            "web-20260503": {"deleted": past + 2 * DAY},
            "web-20260601": {"deleted": later},
            "web-20260602": {"deleted": later + DAY},
            "web-20260603": {},
        },
        "web",
    )
    disk = compute_v1.Disk(name="web-1", source_image=web)
    compute.ok(compute.disks.insert_unary(project="my-project", zone="us-west1-b", disk_resource=disk))


def _expire_images(emulator: Emulator) -> str:
    _family(emulator)
    command = "expire-images -project=my-project -image-family=web"
    return _commands(command, f"{command} -dry-run=false")


def _rollback(emulator: Emulator) -> str:
    _family(emulator)
    command = "rollback -project=my-project -image-family=web"
    return _commands(command, f"{command} -to=web-20260603")


def _sweep(emulator: Emulator) -> str:
    compute, bucket = Compute(emulator), anonymous_bucket()
    killed, running = BuildNames("3f1c9a07be").labels(1_780_000_000), BuildNames("b07d24e5a1").labels(4_100_000_000)
    make_disk(compute, "cos-customizer-3f1c9a07be", killed)
    store(bucket, "image-build-42/cos-customizer/3f1c9a07be/context.tar.gz", killed)
    compute.create("cos-customizer-b07d24e5a1", **labelled(running))
    compute.image("web-20260604", labels={**killed, "cos-customizer-state": "unreleased"}, description=OURS)
    return _commands("sweep -project=my-project")


def produce(block: Block, emulator: Emulator, directory: Path) -> str:
    """Generate the content of a block.

    Args:
        block: as the document has it.
        emulator: with scripted machines.
        directory: an empty one.
    """
    simple: dict[str, Callable[[str], str]] = {
        "causes": causes,
        "commands": _commands_reference,
        "events": events,
        "announcements": announcements,
        "fields": _fields,
        "file": _file,
        "flags": _flags,
        "help": _help,
        "python-api": _python_api,
        "results": results,
    }
    if block.kind in simple:
        return simple[block.kind](block.argument)
    examples: dict[str, Callable[[], Any]] = {
        "api-methods": lambda: api_methods(emulator),
        "dry-run": _dry_run,
        "init": _init,
        "output-file": lambda: _output_file(emulator),
        "expire-images": lambda: _expire_images(emulator),
        "rebuild-images": _rebuild_images,
        "run-cloudbuild": lambda: _run_cloudbuild(emulator),
        "rollback": lambda: _rollback(emulator),
        "sweep": lambda: _sweep(emulator),
    }
    with example_home(emulator, directory):
        return str(examples[block.kind]())


def main() -> None:
    """Bring all documents, the schema of recipes and the variants of prefect.yaml up to date.

    What differs only in ids and times stays.
    """
    SCHEMA.write_text(schema_text())
    DIFFERENCE_SCHEMA.write_text(difference_json.schema_text())
    deployment_variants.write()
    for document in DOCUMENTS:
        text = document.read_text()
        for block in blocks(document):
            with tempfile.TemporaryDirectory() as directory, Emulator(Path(directory, "state")) as emulator:
                content = produce(block, emulator, Path(directory))
            if normal(content) != normal(block.content):
                head = f"<!-- {block.kind} {block.argument}".rstrip() + " -->\n"
                text = text.replace(f"{head}{block.content}<!-- end -->", f"{head}{content}<!-- end -->")
                print(f"{document.relative_to(ROOT)}: {block.kind} {block.argument}")
        document.write_text(text)


if __name__ == "__main__":
    main()
