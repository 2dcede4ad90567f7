"""The variants of prefect.yaml are made from it, and give their jobs what the workers' own schemas know."""

import json
from importlib.resources import files
from typing import Any

import deployment_variants
import pytest
import yaml
from deployment_variants import VARIANTS
from support.job_variables import problems
from support.paths import ROOT


def deployments(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / name).read_text())["deployments"]
    return found


def schema(package: str, kind: str) -> dict[str, Any]:
    """Of the workers' job variables, as Prefect's server brings it along: `make check-workers` asks the workers."""
    metadata = files("prefect.server.api.collections_data") / "views" / "aggregate-worker-metadata.json"
    variables: dict[str, Any] = json.loads(metadata.read_text())[package][kind]["default_base_job_configuration"][
        "variables"
    ]
    return variables


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_made_from_prefect_yaml(name: str) -> None:
    assert (ROOT / "deploy" / name).read_text() == deployment_variants.variant(name), "`make docs` brings it up to date"


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_deploys_the_same_flows_to_the_same_queues(name: str) -> None:
    ours = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in deployments(name)] == [each["name"] for each in ours]
    for deployment, other in zip(deployments(name), ours, strict=True):
        function = deployment["name"].replace("-", "_")
        assert deployment["entrypoint"] == f"cos_customizer.flows.{function}.{function}"
        assert deployment["work_pool"]["work_queue_name"] == other["work_pool"]["work_queue_name"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_gives_its_jobs_variables_that_workers_know(name: str) -> None:
    _, package, kind, _ = VARIANTS[name]
    for deployment in deployments(name):
        variables = deployment["work_pool"]["job_variables"]
        assert variables
        assert list(problems(variables, schema(package, kind))) == [], deployment["name"]


def test_what_workers_do_not_know_is_found() -> None:
    known = schema("prefect-gcp", "cloud-run-v2")
    assert list(problems({"memroy": "1Gi", "timeout": 60}, known)) == ["memroy: the worker knows no such variable"]
    (wrong,) = problems({"timeout": "an hour"}, known)
    assert wrong.startswith("$.timeout: 'an hour' is not of type 'integer'")
