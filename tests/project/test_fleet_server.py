"""deploy/compose.yaml says to Prefect what Prefect knows; `make fleet-server` runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import prefect
import pytest
from prefect.settings.models.root import Settings
from pydantic import BaseModel
from support.fleet_place import has_run, of_workers
from support.fleet_server import DEPLOY, REPLICAS, composition

SERVICES: dict[str, Any] = composition()["services"]
OF_PREFECT = {name: service for name, service in SERVICES.items() if service["image"].startswith("prefecthq/")}


def variables(model: type[BaseModel] = Settings, prefix: str = "PREFECT") -> set[str]:
    """The environment variables of Prefect's settings."""
    found = set()
    for name, field in model.model_fields.items():
        inner, path = field.annotation, f"{prefix}_{name.upper()}"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= variables(inner, path)
        else:
            found.add(path)
    return found


def test_prefect_knows_every_variable() -> None:
    said = set().union(of_workers(), *(service["environment"] for service in OF_PREFECT.values()))
    of_redis = {name for name in said if name.startswith("PREFECT_REDIS_")}  # settings of prefect-redis
    assert said - of_redis <= variables()


def test_no_part_of_the_server_keeps_in_its_own_memory_what_all_must_share() -> None:
    said = SERVICES["services"]["environment"]
    kept = {name: value for name, value in said.items() if str(value).startswith(("prefect_redis.", "redis://"))}
    in_memory = {
        path
        for path in variables()
        if re.search(
            r"_(MESSAGING_BROKER|MESSAGING_CACHE|CAUSAL_ORDERING|LEASE_STORAGE|QUEUE_STORAGE|DOCKET_URL)$", path
        )
    }
    assert in_memory <= set(kept)


def test_one_replica_registers_blocks_and_nobody_migrates_at_its_start() -> None:
    registering = [
        name
        for name, service in OF_PREFECT.items()
        if service["environment"]["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] == "true"
    ]
    assert registering == [REPLICAS[0]]
    assert {service["environment"]["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] for service in OF_PREFECT.values()} == {
        "false"
    }


@pytest.mark.parametrize("name", REPLICAS)
def test_the_proxy_leads_to_every_replica(name: str) -> None:
    port = OF_PREFECT[name]["environment"]["PREFECT_SERVER_API_PORT"]
    assert f"server {name} {name}:{port} check\n" in (DEPLOY / "haproxy.cfg").read_text()
    assert name in SERVICES["proxy"]["depends_on"]


def test_every_part_is_of_the_version_of_the_lock() -> None:
    (image,) = {service["image"] for service in OF_PREFECT.values()}
    assert image.startswith(f"prefecthq/prefect:{prefect.__version__}-")


_FORK = """
import sys
from cos_customizer.flows.worker import interpreter
interpreter.run([sys.argv[1]], {"PREFECT__FLOW_RUN_ID": sys.stdin.readline().strip()}, ".")
"""


@pytest.mark.parametrize("is_fork", [False, True])
def test_the_process_of_a_flow_run_is_found(is_fork: bool, tmp_path: Path) -> None:
    run_id, script = uuid4(), tmp_path / "run.py"
    script.write_text("import sys; print(flush=True); sys.stdin.read()")
    command = ["-c", _FORK, str(script)] if is_fork else [str(script)]
    environment = os.environ if is_fork else {**os.environ, "PREFECT__FLOW_RUN_ID": str(run_id)}
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        if is_fork:  # which nobody sees in the variables that it was started with
            process.stdin.write(f"{run_id}\n")
            process.stdin.flush()
        assert process.stdout.readline() == "\n"
        started_with = Path(f"/proc/{process.pid}/environ").read_bytes()
        found = {each: has_run(process.pid, started_with, each) for each in (run_id, uuid4())}
        process.stdin.close()
    assert list(found.values()) == [True, False]
