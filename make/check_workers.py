"""Compares the variants of prefect.yaml with base job templates of workers, by their type, in a file of JSON."""

import json
import sys
from pathlib import Path

import yaml
from deployment_variants import ROOT, VARIANTS
from support.job_variables import problems


def main() -> int:
    """Print what workers do not know of what they would be given; the exit code."""
    templates = json.loads(Path(sys.argv[1]).read_text())
    count = 0
    for name, (_, _, kind, _) in VARIANTS.items():
        deployments = yaml.safe_load((ROOT / "deploy" / name).read_text())["deployments"]
        for deployment in deployments:
            for problem in problems(deployment["work_pool"]["job_variables"], templates[kind]["variables"]):
                print(f"deploy/{name}: {deployment['name']}: {problem}")
                count += 1
        print(f"deploy/{name}: {len(deployments)} deployments, {kind}")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
