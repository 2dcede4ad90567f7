"""`-dry-run`: the specification and every request that a build would send, as YAML documents."""

from typing import TYPE_CHECKING, Any

import click
import yaml

from cos_customizer.cli.messages import printable

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec


class _Dumper(yaml.SafeDumper):
    """YAML for people: texts of several lines as blocks, nothing written as a reference to something above."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Whether to write the same object in full every time."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


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
    return head + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
