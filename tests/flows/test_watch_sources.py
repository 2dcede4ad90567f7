"""New source images are told of, each once, by one look at each family or milestone."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.variables import Variable
from support.compute_clients import Compute
from support.event_feed import Feed, fed, related
from support.family_images import add_images

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import local_server
from cos_customizer.flows import watch_sources as module
from cos_customizer.flows.watch_sources import watch_sources

pytestmark = pytest.mark.usefixtures("prefect_server")

BASE = {"project": "my-project", "family": "base"}
MILESTONE = {"project": "cos-cloud", "milestone": 125}


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """What is sent to the session's server, as if others could see that."""
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
    with fed() as feed:
        yield feed


@pytest.fixture
def memory() -> str:
    """A variable of this test alone."""
    return f"sources-{uuid4()}"


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recipes of one family, one of a milestone, one of a named image; the working directory is theirs."""
    monkeypatch.chdir(tmp_path)
    named = {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0"}
    for name, source in {"a": BASE, "b": BASE, "lts": MILESTONE, "pinned": named}.items():
        recipe = {
            "source": source,
            "scratch": {"bucket": "my-project_cloudbuild", "workdir": name},
            "builder": {"project": "my-project", "zones": ["us-west1-b"]},
            "output": {"project": "my-project", "suffix": f"-{name}", "family": name},
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


@pytest.mark.usefixtures("recipes")
def test_a_new_image_of_a_source_is_told_once_with_the_recipes_that_start_from_it(
    emulator: Emulator, feed: Feed, memory: str
) -> None:
    compute = Compute(emulator)
    add_images(compute, {"base-1": {}}, family="base")
    emulator.calls.clear()
    looks = watch_sources(["*.yaml"], memory)
    assert {(look.source, look.outcome, look.image, look.recipes) for look in looks} == {
        ("my-project family base", "seen-first", "base-1", ("a.yaml", "b.yaml")),
        ("cos-cloud milestone 125", "seen-first", "cos-125-19216-532-62", ("lts.yaml",)),
    }
    assert emulator.calls.count() == 2  # one look for each distinct source
    assert feed.read() == []

    add_images(compute, {"base-2": {}}, family="base")
    looks = watch_sources(["*.yaml"], memory)
    assert {(look.source, look.outcome) for look in looks} == {
        ("my-project family base", "renewed"),
        ("cos-cloud milestone 125", "unchanged"),
    }
    (event,) = feed.read()
    assert event.event == "cos-customizer.source.renewed"
    assert event.resource.id == "gce://my-project/base"
    assert related(event)["source-image"] == "gce://my-project/global/images/base-2"
    ids = {image["name"]: image["id"] for image in emulator.list("projects/my-project/global/images")}
    assert event.payload == {
        "project": "my-project",
        "source": "family base",
        "key": "gce://my-project/base",
        "image": "base-2",
        "image_id": ids["base-2"],
        "replaces_id": ids["base-1"],
        "recipes": ["a.yaml", "b.yaml"],
    }
    assert {look.outcome for look in watch_sources(["*.yaml"], memory)} == {"unchanged"}
    assert len(feed.read()) == 1


def test_what_cannot_be_looked_at_fails_alone_and_is_not_forgotten(
    emulator: Emulator, feed: Feed, memory: str, recipes: Path
) -> None:
    compute = Compute(emulator)
    add_images(compute, {"base-1": {}}, family="base")
    watch_sources(["a.yaml", "lts.yaml"], memory)
    before = Variable.get(memory)
    (recipes / "broken.yaml").write_text("source: [")
    emulator.faults.add("http", path="/images/family/base", status=403, reason="forbidden", message="not you")
    with pytest.raises(CustomizerError, match=r"2 could not be looked at: broken.yaml: .*; my-project family base: "):
        watch_sources(["a.yaml", "broken.yaml", "lts.yaml"], memory)
    assert Variable.get(memory) == before
    assert feed.read() == []
    add_images(compute, {"base-2": {}}, family="base")
    watch_sources(["a.yaml"], memory)
    assert [event.payload["image"] for event in feed.read()] == ["base-2"]
    seen = Variable.get(memory)
    assert isinstance(seen, dict)
    assert [*seen] == ["gce://my-project/base"]  # what no recipe names any more is forgotten


@pytest.mark.usefixtures("recipes")
def test_a_memory_that_somebody_has_changed_is_begun_anew_and_one_that_is_full_says_so(
    emulator: Emulator, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Variable.set(memory, "nonsense")
    (look,) = watch_sources(["lts.yaml"], memory)
    assert look.outcome == "seen-first"
    monkeypatch.setattr(module, "MAX_VARIABLE_VALUE_LENGTH", 20)
    with pytest.raises(CustomizerError, match="1 sources are more than a Prefect variable remembers"):
        watch_sources(["lts.yaml"], memory)


def test_a_recipe_that_is_not_there_is_no_recipe(emulator: Emulator, memory: str) -> None:
    with pytest.raises(UsageError, match="no recipe matches"):
        watch_sources(["nowhere/*.yaml"], memory)
    assert emulator.calls.count() == 0
