"""The fixture `compute_engine` in other people's test suites, and what it is to those who do not use it."""

import re
import subprocess
import sys

import pytest
from google.cloud import (  # noqa: F401 (loaded here, for a run inside of this process forgets what it has loaded)
    compute_v1,
    logging_v2,
    storage,
)
from support.paths import ROOT

from cos_customizer.emulator import (
    local_project,  # noqa: F401 (as above)
)

pytest_plugins = ["pytester"]

HEAD = """
import os
import pytest
from google.api_core.exceptions import NotFound, ServiceUnavailable
from google.cloud import compute_v1, logging_v2, storage

COS = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
"""
IMAGE = """
def make_image(engine, name):
    images = engine.client(compute_v1.ImagesClient)
    image = compute_v1.Image(name=name, source_image=COS)
    images.insert(project=engine.project, image_resource=image).result(timeout=60)
    return images
"""
INSTANCE = """
def make_vm(engine, name, script=""):
    machine = f"zones/{engine.zone}/machineTypes/n1-standard-1"
    disk = compute_v1.AttachedDisk(boot=True, auto_delete=True)
    disk.initialize_params.source_image = COS
    network = compute_v1.NetworkInterface(network="global/networks/default")
    vm = compute_v1.Instance(name=name, machine_type=machine, disks=[disk], network_interfaces=[network])
    vm.metadata.items = [compute_v1.Items(key="user-data", value="#cloud-config\\nruncmd:\\n- " + script)]
    instances = engine.client(compute_v1.InstancesClient)
    instances.insert(project=engine.project, zone=engine.zone, instance_resource=vm).result(timeout=60)
    return instances
"""


def run(pytester: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(HEAD + IMAGE + INSTANCE + text)
    # Hypothesis would be loaded anew in each run, for its last words.
    return pytester.runpytest_inprocess("-p", "cos_customizer_pytest", "-p", "no:hypothesispytest", *options)


def test_every_test_has_a_project_of_its_own_and_the_emulator_is_one(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
seen = []

@pytest.mark.parametrize("number", [1, 2])
def test_images(compute_engine, number):
    images = make_image(compute_engine, "app")
    assert images.get(project=compute_engine.project, image="app").status == "READY"
    assert os.environ["GOOGLE_CLOUD_PROJECT"] == compute_engine.project
    assert os.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"].startswith(compute_engine.url)
    seen.append((compute_engine.project, compute_engine.url, compute_engine.emulator))

def test_afterwards(compute_engine):
    (first, url, emulator), (second, other, _) = seen
    assert (url, emulator) == (other, compute_engine.emulator)
    assert len({first, second, compute_engine.project}) == 3
    assert [emulator.list(f"projects/{each}/global/images") for each in (first, second)] == [[], []]

def test_the_environment_is_as_before():
    assert "STORAGE_EMULATOR_HOST" not in os.environ
""",
    )
    ran.assert_outcomes(passed=4)


def test_the_example_of_the_documents_works(pytester: pytest.Pytester) -> None:
    page = (ROOT / "docs" / "emulator-in-tests.md").read_text()
    example = next(re.finditer(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))[1]
    pytester.makepyfile(example)
    ran = pytester.runpytest_inprocess("-p", "cos_customizer_pytest", "-p", "no:hypothesispytest")
    ran.assert_outcomes(passed=1)


def test_what_a_test_makes_and_orders_is_gone_in_the_next(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
def test_everything(compute_engine):
    engine = compute_engine
    engine.script({"events": [{"text": "hello", "port": 1}]})
    instances = make_vm(engine, "vm")
    assert engine.serial_output("vm") == "hello"
    instances.set_deletion_protection(project=engine.project, zone=engine.zone, resource="vm").result(timeout=60)
    make_image(engine, "app")
    engine.client(storage.Client).bucket(engine.bucket).blob("a/b").upload_from_string("text")
    logger = engine.client(logging_v2.Client).logger("log")
    logger.log_text("entry")
    assert "entry" in [entry.payload for entry in logger.list_entries()]
    engine.fault("http", path="/global/images", count=0)
    engine.stock_out(engine.zone)
    with pytest.raises(ServiceUnavailable):
        engine.client(compute_v1.ImagesClient).get(project=engine.project, image="app", retry=None)
    assert engine.calls(path="/global/images", method="GET")[-1].status == 503
    before = engine.now()
    engine.advance(3600)
    assert engine.now() >= before + 3600
    everything.append(engine.project)

everything = []

def test_nothing(compute_engine):
    emulator = compute_engine.emulator
    assert emulator.faults.list() == emulator.scripts.list() == emulator.status()["stockedOut"] == []
    (project,) = everything
    assert [each for each, _ in emulator._engine.shared.store.stored() if each.startswith(f"projects/{project}/")] == []
    buckets = compute_engine.client(storage.Client).list_buckets(project=project)
    assert [bucket.name for bucket in buckets] == []
    assert emulator.logs.entries(project) == []
    assert compute_engine.calls(path="/global/images") == []
    assert compute_engine.list("instances") == []
""",
    )
    ran.assert_outcomes(passed=2)


def test_a_seed_is_there_for_all_tests(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ncompute_engine_seed = cloud/seed.yaml\n")
    pytester.mkdir("cloud").joinpath("seed.yaml").write_text("project: shared-images\nimages: [{name: base}]\n")
    text = """
@pytest.mark.parametrize("number", [1, 2])
def test_seed(compute_engine, number):
    images = compute_engine.client(compute_v1.ImagesClient)
    assert images.get(project="shared-images", image="base").status == "READY"
"""
    run(pytester, text).assert_outcomes(passed=2)
    for bad, words in (
        ("images: [{}]\n", "images.0.name: Field required"),
        ("images: [{name: base, description: 2020-13-45}]", "it is no value of !!timestamp"),
    ):
        pytester.path.joinpath("cloud/seed.yaml").write_text(bad)
        ran = run(pytester, text)
        ran.stdout.fnmatch_lines([f"*{words}*"])
        ran.stdout.no_fnmatch_line("*Traceback*")


def test_what_cannot_be_meant_is_told(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
@pytest.mark.compute_engine(machines="docker")
def test_kind(compute_engine):
    pass

@pytest.mark.compute_engine("qemu")
def test_unnamed(compute_engine):
    pass

def test_client(compute_engine):
    with pytest.raises(ValueError, match="no client of google-cloud-compute"):
        compute_engine.client(dict)
""",
        "--strict-markers",
    )
    ran.assert_outcomes(errors=2, passed=1)
    ran.stdout.fnmatch_lines(
        [
            "*the marker compute_engine: there are no machines 'docker'; there are scripted and qemu*",
            "*the marker compute_engine takes machines=?, and nothing else*",
        ]
    )
    ran = run(pytester, "def test(compute_engine): pass", "-o", "compute_engine_machines=lego")
    ran.stdout.fnmatch_lines(["*compute_engine_machines in pytest's configuration: there are no machines 'lego'*"])


def test_without_the_packages_of_the_extra_it_says_what_to_install(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cos_customizer.emulator.background._NEEDED", ("no_such_package",))
    ran = run(pytester, "def test(compute_engine): pass")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*pip install 'cos-customizer[[]emulator[]]'*"])


def test_it_is_found_by_those_who_look_for_it(pytester: pytest.Pytester) -> None:
    ran = run(pytester, "", "--markers")
    ran.stdout.fnmatch_lines(['@pytest.mark.compute_engine(machines="qemu"):*'])
    ran = run(pytester, "", "--fixtures")
    ran.stdout.fnmatch_lines(["compute_engine -- *", "*A project of a local Compute Engine*"])


@pytest.mark.vm
def test_real_machines_boot_where_a_test_asks_for_them(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
from support.waiting import wait_for

@pytest.mark.compute_engine(machines="qemu")
def test_boot(compute_engine):
    make_vm(compute_engine, "vm", "echo up > /dev/ttyS1")
    wait_for(lambda: "up" in compute_engine.serial_output("vm", 2))
    made.append(compute_engine)

made = []

def test_nothing_is_left(compute_engine):
    (real,) = made
    assert real.list("instances") == real.list("disks") == []
    assert real.emulator is not compute_engine.emulator
""",
    )
    ran.assert_outcomes(passed=2)


def test_whoever_does_not_use_it_imports_nothing_of_it() -> None:
    code = "import sys, pytest; old = set(sys.modules); import cos_customizer_pytest; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"cos_customizer_pytest"}
