"""`-dry-run`: the specification and every request that a build would send, as YAML documents."""

from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.flag_kinds import SwitchFlag
from cos_customizer.cli.messages import printable

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec


FULL_FLAG = SwitchFlag(
    "dry-run-full",
    "As -dry-run, with all that the VMs are given to run: a thousand lines, most of them the program's own.",
)


def dry_run(spec: "BuildSpec", context: str, full: bool = False) -> int:
    """Print what a build would be. Reads from Google Cloud, and changes nothing.

    Args:
        spec: of the build.
        context: path of the build context, for people: what was archived.
        full: print user-data of VMs; otherwise only how long it is.

    Returns:
        The exit code.

    Raises:
        CustomizerError: the source image cannot be found, or the build could not work.
    """
    from cos_customizer.flows import dry_run as flow

    planned = flow.dry_run(spec)
    recipe = planned.spec.model_dump(mode="json", exclude_none=True)
    recipe["context"]["path"] = context
    comments = ["A recipe of this build. Its context is what was archived; the digest says which content."]
    if spec.masked() != spec:
        comments.append("Values of environment variables are not shown (***): fill them in to use this.")
    if planned.result.outcome == "exists":
        from cos_customizer.customizer.families import existing

        maker = planned.result.made_by
        other = "" if maker in (None, "this-recipe") else f", {existing.in_words(maker)}"
        comments.append(f"The image {planned.result.image} is there already{other}: the build would do nothing.")
    documents = [_document(comments, recipe)]
    documents += [
        _document([f"{request.method} {request.path}"], _shown(request.body, full)) for request in planned.requests
    ]
    click.echo("---\n".join(documents), nl=False)
    return 0


def _document(comments: list[str], content: dict[str, Any]) -> str:
    from cos_customizer.customizer.yaml_text import to_yaml

    head = "".join(f"# {printable(comment)}\n" for comment in comments)
    return head + to_yaml(content)


def _shown(body: dict[str, Any], full: bool) -> dict[str, Any]:
    """A request's body as it is printed."""
    metadata = body.get("metadata")
    if full or not isinstance(metadata, dict) or "items" not in metadata:
        return body
    items = [
        {**item, "value": _in_short(item["value"])} if item["key"] == "user-data" else item
        for item in metadata["items"]
    ]
    return {**body, "metadata": {**metadata, "items": items}}


def _in_short(user_data: str) -> str:
    lines = user_data.count("\n")
    return f"… {lines} lines: cloud-config, the guest's scripts and the plan; -{FULL_FLAG.flag} shows them\n"
