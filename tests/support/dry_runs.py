"""What a dry run prints, read back."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

INSTANCES = "compute/v1/projects/my-project/zones/us-west1-b/instances"
DISKS = "compute/v1/projects/my-project/zones/us-west1-b/disks"
IMAGES = "compute/v1/projects/my-project/global/images"
UPLOAD = "upload/storage/v1/b/my-project_cloudbuild/o"


@dataclass(frozen=True)
class DryRun:
    """A recipe, and the requests of a build of it: method, path, body."""

    recipe: Any
    requests: list[tuple[str, str, Any]]

    @property
    def calls(self) -> list[str]:
        """`METHOD path` of each request."""
        return [f"{method} {path}" for method, path, _ in self.requests]

    def bodies(self, call: str) -> list[Any]:
        """The bodies of all requests of a method and path, without parameters."""
        return [body for method, path, body in self.requests if f"{method} {path}".partition("?")[0] == call]


def read_dry_run(text: str) -> DryRun:
    """Read the output of a dry run."""
    recipe, *bodies = yaml.safe_load_all(text)
    calls = re.findall(r"^# (POST|PUT|PATCH|DELETE) (\S+)$", text, re.MULTILINE)
    assert len(calls) == len(bodies)
    return DryRun(recipe, [(*call, body) for call, body in zip(calls, bodies, strict=True)])
