"""Runs of deployments on a Prefect server: begun, awaited, read."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from support.waiting import wait_for


def start(client: SyncPrefectClient, name: str, **parameters: Any) -> UUID:
    deployment = client.read_deployment_by_name(name)
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def ended(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    """A flow run, once it is over."""

    def over() -> FlowRun | None:
        run = client.read_flow_run(run_id)
        return run if run.state is not None and run.state.is_final() else None

    return wait_for(over)


def state_of(run: FlowRun) -> str:
    assert run.state is not None
    return run.state.type.value


def log_of(client: SyncPrefectClient, run_id: UUID) -> str:
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
    return "\n".join(record.message for record in logs)
