"""A dry run is the build: it names the calls that the build then makes, all of them, in their order, and makes none."""

import random
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import pytest
from support.builds import images, make_image
from support.guest_scripts import succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.dry_run import dry_run

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
GPU = {"type": "install-gpu", "version": "535.104.05", "gpu_type": "nvidia-tesla-t4"}
RELEASED: dict[str, Any] = {
    "output": {"family": "my-family", "deprecate_old_images": True, "labels": {"team": "web"}},
    "verify": {"scripts": ["first.sh"]},
}
FIRST: dict[str, Any] = {"output": {"family": "my-family"}}
GROWS: dict[str, Any] = {"builder": {"disk_size_gb": 12, "oem_size": "1G"}}
REPLACES: dict[str, Any] = {"output": {"family": "my-family", "on_existing": "replace"}}


def changes(emulator: Emulator) -> list[str]:
    """The calls that the emulator has seen which change something."""
    calls = [call for call in emulator.calls.list() if call.method != "GET"]
    return [f"{call.method} {plain(call.path)}" for call in calls if not re.search(r"/wait\b", call.path)]


def plain(path: str) -> str:
    """A path as a dry run shows it, with a build's id that is always the same."""
    address = urlsplit(path)
    telling = [(name, value) for name, value in parse_qsl(address.query) if name in ("forceCreate", "uploadType")]
    words = "" if "upload_id" in address.query else "?" * bool(telling) + urlencode(telling)
    return re.sub(r"\b[0-9a-f]{10}\b", "0000000000", unquote(address.path.lstrip("/")) + words)


def by_name(emulator: Emulator, calls: list[str]) -> list[str]:
    """Calls with names for the ids of images, which only a build knows of what it makes."""
    names = {image["id"]: name for name, image in images(emulator).items()}
    return [re.sub("|".join(names), lambda found: names[found[0]], call) for call in calls]


def planned(spec: BuildSpec) -> list[str]:
    return [f"{request.method} {request.path}" for request in dry_run(spec).requests]


@pytest.mark.parametrize("kind", ["plain", "gpu", "grows", "first", "released", "replaces"])
def test_it_names_the_calls_of_the_build_in_their_order(emulator: Emulator, make_spec: SpecMaker, kind: str) -> None:
    spec = make_spec(**{"first": FIRST, "released": RELEASED, "replaces": REPLACES, "grows": GROWS}.get(kind, {}))
    labels: tuple[str, ...] = LABELS
    if kind == "gpu":
        spec = parse_spec({**spec.model_dump(mode="json"), "steps": [GPU, {"script": "first.sh"}]})
        labels = ("install-gpu 535.104.05", "run-script first.sh")
    emulator.scripts.add({**succeeding(LABELS[0]), "match": {"name": "cos-customizer-[0-9a-f]{10}-test"}})
    disk_gb = 12 if kind == "grows" else 0
    emulator.scripts.add({**succeeding(*labels, disk_gb=disk_gb), "match": {"name": "cos-customizer-[0-9a-f]{10}"}})
    others = () if kind == "first" else ("old", "older")
    for name in (*others, *(["my-image"] if kind == "replaces" else [])):
        make_image(name, family="my-family")
    emulator.calls.clear()

    before = planned(spec)
    assert changes(emulator) == []
    assert build_image(spec).outcome == "built"
    before = by_name(emulator, before)
    assert any(call.endswith("/resize") for call in before) == (kind == "grows")
    assert by_name(emulator, changes(emulator)) == before
    assert len(before) >= (14 if kind == "released" else 8)
    deprecations = [call for call in before if call.endswith("/deprecate")]
    assert len(deprecations) == {"released": 2, "replaces": 1}.get(kind, 0)


def test_it_leaves_nothing_and_changes_nothing(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("old", family="my-family")
    there = images(emulator)
    dry_run(make_spec(**RELEASED))
    assert images(emulator) == there
    assert leftovers(emulator) == []


def test_a_large_build_context_is_sent_in_pieces_and_so_it_says(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    (tmp_path / "context" / "noise").write_bytes(random.Random(0).randbytes(9 << 20))
    spec = make_spec()
    emulator.scripts.add(succeeding(*LABELS))
    before = planned(spec)
    assert before[:3] == [
        "POST upload/storage/v1/b/my-project_cloudbuild/o?uploadType=resumable",
        *["PUT upload/storage/v1/b/my-project_cloudbuild/o"] * 2,
    ]
    emulator.calls.clear()
    build_image(spec)
    assert by_name(emulator, changes(emulator)) == before


def test_an_image_that_is_there_is_nothing_to_do(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("my-image")
    planned = dry_run(make_spec())
    assert (planned.result.outcome, planned.requests) == ("exists", [])


def test_values_of_variables_are_masked_and_the_rest_is_shown(emulator: Emulator, make_spec: SpecMaker) -> None:
    steps = [{"script": "first.sh", "env": {"TOKEN": "hunter2", "TEXT": "two\nlines'"}}]
    spec = parse_spec({**make_spec().model_dump(mode="json"), "steps": steps})
    run = dry_run(spec)
    assert "hunter2" not in repr(run)
    (vm,) = [request.body for request in run.requests if request.path.endswith("/instances")]
    user_data = next(item["value"] for item in vm["metadata"]["items"] if item["key"] == "user-data")
    assert "'TOKEN=***' 'TEXT=***'" in user_data
    assert run.spec.context.sha256 in user_data


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"source": {"name": "no-such-image"}}, CustomizerError, "could not find source image no-such-image"),
        ({"scripts": ("third.sh",)}, UsageError, "could not find script third.sh"),
        ({"cloud_logging": True}, UsageError, "its log entries would go to Google Cloud"),
    ],
)
def test_what_the_build_would_refuse_is_refused(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    parts: dict[str, Any],
    error: type[CustomizerError],
    message: str,
) -> None:
    monkeypatch.delenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", raising=False)
    with pytest.raises(error, match=message):
        dry_run(make_spec(**parts))
