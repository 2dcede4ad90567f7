"""Secrets of steps: the reference travels to the VMs that read it, and nothing here ever asks for the value."""

import json
from typing import Any

import pytest
from support.builds import failing
from support.guest_scripts import NONCE, marker, succeeded
from support.leftovers import leftovers
from support.specifications import SECRET, SpecMaker

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.scripted import Transcript
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.dry_run import dry_run
from cos_customizer.gcp.endpoints import SECRETS_OVERRIDE

pytestmark = pytest.mark.usefixtures("prefect_server")

OTHER = SECRET.replace("latest", "7")


def with_secrets(make_spec: SpecMaker) -> BuildSpec:
    """A step and a verification script with a secret each."""
    spec = make_spec(verify={"scripts": [{"script": "second.sh", "env_secrets": {"TEST_TOKEN": OTHER}}]})
    steps = [{"script": "first.sh", "env": {"RELEASE": "1"}, "env_secrets": {"TOKEN": SECRET}}]
    return parse_spec({**spec.model_dump(mode="json"), "steps": steps})


def test_each_vm_gets_the_references_of_its_own_scripts_and_where_to_read_them(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    seen: dict[str, MachineSpec] = {}

    def play(spec: MachineSpec) -> list[Any]:
        seen["test" if spec.name.endswith("-test") else "builder"] = spec
        script = "second.sh" if spec.name.endswith("-test") else "first.sh"
        step = (marker(f"BuildStep: 1 started run-script {script}"), marker("BuildStep: 1 succeeded 0.1"))
        return list(Transcript([*step, *succeeded()], variables=NONCE).play(spec))

    emulator.scripts.add(play)
    build_image(with_secrets(make_spec))
    assert leftovers(emulator) == []
    plans = {name: spec.attributes["user-data"] for name, spec in seen.items()}
    assert f"secret:TOKEN={SECRET}" in plans["builder"]
    assert "TEST_TOKEN" not in plans["builder"]
    assert f"secret:TEST_TOKEN={OTHER}" in plans["test"]
    assert " secret:TOKEN=" not in plans["test"]
    for spec in seen.values():
        port = emulator.guest_port
        assert spec.attributes["secretmanager-endpoint"] == f"http://169.254.169.1:{port}"
        assert port in spec.host_ports
        assert "https://www.googleapis.com/auth/cloud-platform" in spec.scopes
        assert spec.service_account
    assert emulator.calls.count("secretmanager") == 0, "who builds need not be allowed to read them"


def test_a_dry_run_shows_references(emulator: Emulator, make_spec: SpecMaker) -> None:
    planned = dry_run(with_secrets(make_spec))
    assert planned.spec.steps[0].secrets == [("TOKEN", SECRET)]
    sent = json.dumps([request.body for request in planned.requests if request.path.endswith("/instances")])
    assert f"secret:TOKEN={SECRET}" in sent
    assert f"secret:TEST_TOKEN={OTHER}" in sent
    assert "RELEASE=***" in sent


def test_secrets_of_another_cloud_are_refused_before_anything_is_made(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRETS_OVERRIDE, "https://secretmanager-psc.p.googleapis.com/")
    failing(with_secrets(make_spec), UsageError, f"on this machine, and {SECRETS_OVERRIDE} leads to https://secretm")
    assert emulator.calls.count("compute", "POST") == 0
    assert dry_run(make_spec()).result.outcome == "built", "a build without secrets does not mind"
