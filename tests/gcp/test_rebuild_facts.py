"""Planning asks for each thing once, however many recipes need it; what is broken is so for its own recipes."""

import threading
from collections import Counter
from pathlib import Path

import pytest
from support.compute_clients import Compute
from support.family_images import add_images
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import CustomizerError, NotFoundError, UsageError
from cos_customizer.customizer.reporting.events import Event, Note, listening, publish
from cos_customizer.customizer.spec.model import SourceImage
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.failure_counts import FailureCount, clear, place_of, read, write
from cos_customizer.gcp.rebuild_facts import ProjectImages, digest_contexts, find_sources, list_output_images
from cos_customizer.gcp.side_by_side import side_by_side

STABLE = SourceImage(project="cos-cloud", family="cos-125-lts")
GONE = SourceImage(project="cos-cloud", family="no-such-family")


def test_each_source_is_looked_up_once_and_a_missing_one_is_an_error_of_its_own(emulator: Emulator) -> None:
    found = find_sources(connect(), [STABLE, GONE, STABLE])
    assert not isinstance(found[STABLE], CustomizerError)
    assert isinstance(found[GONE], NotFoundError)
    assert emulator.calls.count("compute", "GET", "family/cos-125-lts") == 1


def test_a_project_is_listed_page_by_page_and_gives_what_its_families_would(emulator: Emulator) -> None:
    compute = Compute(emulator)
    old, rolled_back = {"family": "web"}, {"family": "web", "deleted": None}
    add_images(compute, {"web-1": old, "web-2": rolled_back, "other": {"family": "db"}})
    emulator.calls.clear()
    images = list_output_images(connect(), ["my-project"])["my-project"]
    assert isinstance(images, ProjectImages)
    newest, current = images.newest_of_family("web"), images.current_of_family("web")
    assert newest is not None
    assert current is not None
    assert (newest.name, current.name) == ("web-2", "web-1")
    assert images.newest_of_family("none") is None
    assert images.find("other") is not None
    assert emulator.calls.count("compute") == 1


def test_a_context_that_many_share_is_archived_once_and_each_recipe_is_judged_by_its_own_steps(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    """The archive is an object in Cloud Storage, whose downloads can be counted."""
    from cos_customizer.customizer.context import archive_context

    good = make_spec()
    archive = tmp_path / "context.tgz"
    digest = archive_context(Path(good.context.path), archive).sha256
    connect().storage.bucket("my-project_cloudbuild").blob("context.tgz").upload_from_filename(str(archive))
    emulator.calls.clear()
    shared = {"path": "gs://my-project_cloudbuild/context.tgz"}
    builds = {f"{number}.yaml": make_spec(context=shared) for number in range(9)}
    builds["broken.yaml"] = make_spec(scripts=("first.sh", "third.sh"), context=shared)
    builds["gone.yaml"] = make_spec(context={"path": str(tmp_path / "nowhere")})
    found = digest_contexts(connect(), builds)
    broken, gone = found.pop("broken.yaml"), found.pop("gone.yaml")
    assert set(found.values()) == {digest}
    assert isinstance(broken, UsageError)
    assert "third.sh" in broken.message
    assert isinstance(gone, UsageError)
    assert emulator.calls.count("storage", "GET", "context.tgz") == 2, "what it is, and its content"


def test_one_thread_hears_what_others_do_and_gets_the_errors_that_are_not_ours() -> None:
    heard: Counter[int] = Counter()

    def hear(_event: Event) -> None:
        heard[threading.get_ident()] += 1

    def work(number: int) -> int:
        publish(Note("number", str(number)))
        if number == 3:
            raise NotFoundError("three")
        if number == 99:
            raise KeyError(number)
        return number

    with listening(hear):
        done = side_by_side(work, range(1, 9), 3)
        assert list(done) == list(range(1, 9))
        assert [number for number, outcome in done.items() if isinstance(outcome, NotFoundError)] == [3]
        assert heard == {threading.get_ident(): 8}
        with pytest.raises(KeyError):
            side_by_side(work, [1, 99], 1)


def test_who_interrupts_the_waiting_waits_for_nothing() -> None:
    begun, ended = threading.Event(), threading.Event()

    def stuck(_number: int) -> None:
        begun.set()
        publish(Note("stuck", ""))
        ended.wait()

    def at_once(number: int) -> None:
        if number:
            begun.wait()
            raise SystemExit(3)
        stuck(number)

    with pytest.raises(SystemExit):
        side_by_side(at_once, [0, 1], 2)
    ended.set()


def test_failures_are_counted_where_every_machine_finds_them(emulator: Emulator, make_spec: SpecMaker) -> None:
    clients = connect()
    web, db = make_spec(output={"family": "web"}), make_spec(output={"family": "db"})
    write(clients, web, FailureCount("abc", 2), "step 1 failed")
    write(clients, db, FailureCount("def", 1), "no time")
    write(clients, web, FailureCount("abc", 3), "step 1 failed")
    clear(clients, db)
    clear(clients, db)
    emulator.calls.clear()
    found = read(clients, ["my-project_cloudbuild", "no-such-bucket"])
    assert found["my-project_cloudbuild"] == {place_of(web).name: FailureCount("abc", 3)}
    assert isinstance(found["no-such-bucket"], CustomizerError)
    assert emulator.calls.count("storage") == 2
