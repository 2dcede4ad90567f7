"""`-dry-run`: the specification and every request that a build would send, as YAML documents."""

from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.messages import printable
from cos_customizer.customizer.yaml_text import to_yaml

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec


def dry_run(spec: "BuildSpec", context: str) -> int:
    """Print what a build would be. Reads from Google Cloud, and changes nothing.

    Args:
        spec: of the build.
        context: path of the build context, for people: what was archived.

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
        comments.append(f"The image {planned.result.image} is there already: the build would do nothing.")
    documents = [_document(comments, recipe)]
    documents += [_document([f"{request.method} {request.path}"], request.body) for request in planned.requests]
    click.echo("---\n".join(documents), nl=False)
    return 0


def _document(comments: list[str], content: dict[str, Any]) -> str:
    head = "".join(f"# {printable(comment)}\n" for comment in comments)
    return head + to_yaml(content)
