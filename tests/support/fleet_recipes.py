"""A thousand recipes and the images of the night before: some recipes have changed since."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from google.cloud import compute_v1
from support.compute_clients import PROJECT
from support.storage_clients import BUCKET

from cos_customizer.customizer.context import archive_context
from cos_customizer.customizer.families.provenance import Provenance, fingerprint
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import resolve_source

LABEL = "run-script preload.sh"
_CONTEXTS = 10
"""Build contexts that recipes share."""
_EXPIRED = 10
"""Every so many recipes there is an old image that is past its date of deletion."""


@dataclass(frozen=True)
class Fleet:
    """What there is to build.

    Attributes:
        directory: of the recipes and their build contexts.
        recipes: how many.
        changed: how many of them have changed since their images were made.
    """

    directory: Path
    recipes: int
    changed: int

    @property
    def families(self) -> list[str]:
        """One for each recipe."""
        return [f"fleet-{number:04}" for number in range(1, self.recipes + 1)]

    @property
    def expired(self) -> list[str]:
        """Names of images that are past their date of deletion."""
        return [f"{family}-expired" for family in self.families[::_EXPIRED]]

    def is_changed(self, number: int) -> bool:
        """Whether the recipe with this number, from 0, has changed; they are spread evenly."""
        return (number + 1) * self.changed // self.recipes > number * self.changed // self.recipes

    def write(self) -> None:
        """Write all recipes as they were when their images were made."""
        self.directory.mkdir(parents=True)
        for number in range(_CONTEXTS):
            context = self.directory / f"context-{number}"
            context.mkdir()
            (context / "preload.sh").write_text(f"echo {number}\n")
        for number in range(self.recipes):
            self._write(number, "1")

    def change(self) -> None:
        """Change those that have changed."""
        for number in filter(self.is_changed, range(self.recipes)):
            self._write(number, "2")

    def fingerprints(self, clients: Clients) -> dict[str, Provenance]:
        """By family, where an image comes from that is made of its recipe as it is now."""
        spec = read_recipe(self._file(0)).spec()
        source = resolve_source(clients, spec.source)
        digests = {}
        for number in range(_CONTEXTS):
            archive = self.directory / "context.tar.gz"
            digests[number] = archive_context(self.directory / f"context-{number}", archive).sha256
            archive.unlink()
        return {
            family: Provenance(
                f"{number:010}",
                source.id,
                fingerprint(read_recipe(self._file(number)).spec(), source.id, digests[number % _CONTEXTS]),
            )
            for number, family in enumerate(self.families)
        }

    def make_images(self, clients: Clients) -> None:
        """Make the images of the night before, and those that `expire-images` is to delete."""
        source = resolve_source(clients, read_recipe(self._file(0)).spec().source)
        provenance = self.fingerprints(clients)
        past = (datetime.now(UTC) - timedelta(days=1)).isoformat()

        def make(name: str, **fields: Any) -> None:
            family = name.rpartition("-")[0]
            description = provenance[family].description(source.path)
            image = compute_v1.Image(
                name=name, family=family, source_image=source.self_link, description=description, **fields
            )
            operation = clients.images.insert_unary(project=PROJECT, image_resource=image)
            clients.global_operations.wait(project=PROJECT, operation=operation.name)

        def expire(name: str) -> None:
            make(name, deprecated=compute_v1.DeprecationStatus(state="DEPRECATED", deleted=past))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(expire, self.expired))
            list(pool.map(make, [f"{family}-20260101" for family in self.families]))

    def _file(self, number: int) -> Path:
        return self.directory / f"{self.families[number]}.yaml"

    def _write(self, number: int, release: str) -> None:
        family = self.families[number]
        recipe = {
            "source": {"project": "cos-cloud", "family": "cos-125-lts"},
            "context": {"path": f"context-{number % _CONTEXTS}"},
            "scratch": {"bucket": BUCKET, "workdir": f"recipes/{family}"},
            "steps": [{"script": "preload.sh", "env": {"RELEASE": release}}],
            "builder": {"project": PROJECT, "zones": ["us-west1-b", "us-west1-a"]},
            "output": {
                "project": PROJECT,
                "name": family,
                "family": family,
                "deprecate_old_images": True,
                "old_image_ttl": 2_592_000,
            },
            "timeout": "15m",
        }
        self._file(number).write_text(yaml.safe_dump(recipe))
