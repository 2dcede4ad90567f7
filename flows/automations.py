"""Applying automations from files: what Prefect's own command does with a file, by names instead of ids, and again.

The ids of deployments, blocks and work pools differ from server to server, and `prefect automation create` makes a
second automation each time that it is called. Here an action names its deployment as `FLOW/NAME`, its block as
`TYPE/NAME` and its work pool; everything else is Prefect's own form
(https://docs.prefect.io/v3/how-to-guides/automations/creating-automations), and an automation is known by its name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import ValidationError

from cos_customizer.customizer.bounded_yaml import BoundedLoader, problem_of
from cos_customizer.customizer.errors import CustomizerError, NotFoundError, UsageError

_ACTIONS = ("actions", "actions_on_trigger", "actions_on_resolve")


@dataclass(frozen=True)
class Applied:
    """What has become of one automation, or would.

    Attributes:
        outcome: that.
        automation: its name.
        file: that describes it.
        why: it has failed.
    """

    outcome: Literal["created", "updated", "unchanged", "to-create", "to-update", "failed"]
    automation: str
    file: str
    why: str = ""


def apply_automations(patterns: Sequence[str], dry_run: bool = False) -> list[Applied]:
    """Make the configured server's automations what files say. One that cannot be applied fails alone.

    Args:
        patterns: files, or patterns such as `automations/*.yaml`; a file has one automation, a list of them, or a list
            called `automations`.
        dry_run: Change nothing.

    Returns:
        Each automation, and what has become of it.

    Raises:
        UsageError: there is no file, or one cannot be read; nothing was changed then.
    """
    wanted = [(file, each) for pattern in patterns for file in _matching(pattern) for each in _read(file)]
    with get_client(sync_client=True) as client:
        return [_apply(client, file, each, dry_run) for file, each in wanted]


def raise_failures(applied: Sequence[Applied]) -> None:
    """Raise an error that names what could not be applied, if there is any.

    Raises:
        CustomizerError: see there.
    """
    failed = [each for each in applied if each.outcome == "failed"]
    if failed:
        which = "; ".join(f"{each.file}: {each.why}" for each in failed)
        raise CustomizerError(f"{len(failed)} of {len(applied)} automations could not be applied: {which}")


def _matching(pattern: str) -> list[str]:
    files = sorted(glob(pattern)) if has_magic(pattern) else [pattern]  # noqa: PTH207 - pathlib's are never absolute
    if not files:
        raise UsageError(f"no file matches {pattern!r} in {str(Path.cwd())!r}")
    return files


def _read(file: str) -> Iterator[dict[str, Any]]:
    try:
        content = yaml.load(Path(file).read_text(encoding="utf-8"), BoundedLoader)  # noqa: S506 - it is a safe one
    except yaml.YAMLError as error:
        raise UsageError(f"cannot read {file!r}: {problem_of(error)}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file!r}: {error}") from error
    if isinstance(content, dict) and "automations" in content:
        content = content["automations"]
    found = content if isinstance(content, list) else [content]
    for each in found:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise UsageError(f"{file!r} holds something else than automations", "each is a mapping with a name.")
        yield each


def _apply(client: SyncPrefectClient, file: str, described: dict[str, Any], dry_run: bool) -> Applied:
    name = described["name"]
    try:
        automation = AutomationCore.model_validate(_with_ids(client, described))
        there = client.read_automations_by_name(name)
        if len(there) > 1:
            raise CustomizerError(f"the server has {len(there)} automations of this name: delete all but one")
        if there and _same(there[0], automation):
            return Applied("unchanged", name, file)
        if dry_run:
            return Applied("to-update" if there else "to-create", name, file)
        if there:
            # All fields: what is not sent stays as it was. An owner cannot be sent.
            whole = AutomationCore.model_validate(automation.model_dump(mode="json", exclude={"owner_resource"}))
            client.update_automation(there[0].id, whole)
        else:
            client.create_automation(automation)
    except CustomizerError as error:
        return Applied("failed", name, file, f"{error.message}{f' ({error.hint})' if error.hint else ''}")
    except ValidationError as error:
        return Applied("failed", name, file, _problem_of(error))
    except PrefectHTTPStatusError as error:  # what only the server knows
        return Applied("failed", name, file, f"the server refuses it: {error.response.text}")
    return Applied("updated" if there else "created", name, file)


def _problem_of(error: ValidationError) -> str:
    """What is wrong with an automation. Pydantic tells of all kinds of actions and triggers that it is not."""
    errors = error.errors()
    told = next((each for each in errors if each["type"] not in ("literal_error", "extra_forbidden")), errors[0])
    return f"{'.'.join(str(part) for part in told['loc'])}: {told['msg']}"


def _same(there: Automation, wanted: AutomationCore) -> bool:
    fields = set(AutomationCore.model_fields) - {"owner_resource"}
    return there.model_dump(include=fields) == wanted.model_dump(include=fields)


def _with_ids(client: SyncPrefectClient, described: dict[str, Any]) -> dict[str, Any]:
    """The automation with ids in the place of names."""
    lists = {key: described[key] for key in _ACTIONS if isinstance(described.get(key), list)}
    resolved = {key: [_action_with_ids(client, action) for action in actions] for key, actions in lists.items()}
    return described | resolved


def _action_with_ids(client: SyncPrefectClient, action: Any) -> Any:
    if not isinstance(action, dict):
        return action
    named = {key: action[key] for key in _LOOK_UP if key in action}
    rest = {key: value for key, value in action.items() if key not in named}
    for key, name in named.items():
        field, look_up, hint = _LOOK_UP[key]
        try:
            found = look_up(client, str(name))
        except ObjectNotFound:
            raise NotFoundError(f"there is no {key} {name!r}", hint) from None
        rest[field] = str(found.id)
        if key == "deployment" and rest.get("type") == "run-deployment":
            _check_parameters(name, found, rest.get("parameters"))
    return rest


def _check_parameters(name: str, deployment: DeploymentResponse, given: Any) -> None:
    """Find out now what would fail each time that the automation acts, which nobody sees but in the event feed."""
    needed = (deployment.parameter_openapi_schema or {}).get("required", [])
    if missing := [each for each in needed if each not in {**deployment.parameters, **(given or {})}]:
        hint = "parameters of the deployment, or of this action, give it."
        raise UsageError(f"the deployment {name!r} needs {', '.join(missing)}", hint)


def _deployment(client: SyncPrefectClient, name: str) -> Any:
    if not all(name.partition("/")):
        raise UsageError(f"{name!r} is no deployment's name", "write it as FLOW/NAME.")
    return client.read_deployment_by_name(name)


def _block(client: SyncPrefectClient, name: str) -> Any:
    kind, _, block = name.partition("/")
    if not (kind and block):
        raise UsageError(f"{name!r} is no block's name", "write it as TYPE/NAME: slack-webhook/image-builds.")
    return client.read_block_document_by_name(block, kind, include_secrets=False)


def _work_pool(client: SyncPrefectClient, name: str) -> Any:
    return client.read_work_pool(name)


_LookUp = tuple[str, Callable[[SyncPrefectClient, str], Any], str]
_LOOK_UP: dict[str, _LookUp] = {
    "deployment": ("deployment_id", _deployment, "`prefect --no-prompt deploy --all` makes those of prefect.yaml."),
    "block": ("block_document_id", _block, "`prefect block create` leads to the form that makes one."),
    "work_pool": ("work_pool_id", _work_pool, "`prefect work-pool create` makes one."),
}
"""Keys of an action that name something: the field that has the id, how that is found, what to do if it is not."""
