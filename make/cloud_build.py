"""Prints the commands of a Cloud Build workflow, one a line, quoted for a shell: for where no emulator runs them."""

import argparse
import shlex
import sys
from pathlib import Path

from cos_customizer.emulator.cloud_build.workflow import WorkflowError, parse_workflow

BUILT_IN = ("PROJECT_ID", "BUILD_ID")


def main() -> None:
    """Print them. A step without an entry point is taken for one of ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("substitutions", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    given = dict(text.split("=", 1) for text in arguments.substitutions)
    built_in = {name: given.pop(name) for name in BUILT_IN if name in given}
    try:
        workflow = parse_workflow(arguments.workflow.read_text(), str(arguments.workflow), given, built_in)
    except WorkflowError as error:
        sys.exit(f"{error} ({error.hint})")
    for step in workflow.steps:
        print(shlex.join([step.entrypoint or "cos-customizer", *step.args]))


if __name__ == "__main__":
    main()
