"""Prints the commands of a Cloud Build workflow, one a line, quoted for a shell."""

import argparse
import shlex
from pathlib import Path
from string import Template

import yaml


def commands(workflow: Path, substitutions: dict[str, str]) -> list[list[str]]:
    """The commands that Cloud Build would run.

    Args:
        workflow: a `cloudbuild.yaml`. A step without an entry point is taken for one of ours.
        substitutions: `PROJECT_ID` and the like; they win over the workflow's own.

    Raises:
        KeyError: it uses a substitution that was not given.
    """
    content = yaml.safe_load(workflow.read_text())
    values = {**content.get("substitutions", {}), **substitutions}
    return [
        [step.get("entrypoint", "cos-customizer"), *(Template(word).substitute(values) for word in step["args"])]
        for step in content["steps"]
    ]


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("substitutions", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    for command in commands(arguments.workflow, dict(text.split("=", 1) for text in arguments.substitutions)):
        print(shlex.join(command))


if __name__ == "__main__":
    main()
