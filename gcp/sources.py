"""Looking for new source images: one look at each family or milestone, however many recipes start from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.sources import SourceLook, compare, in_words
from cos_customizer.customizer.reporting.announcements import SourceRenewed, source_key
from cos_customizer.customizer.spec.model import SourceImage
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.rebuild_facts import find_sources


@dataclass
class Looks:
    """What was seen.

    Attributes:
        rows: For people.
        renewed: To be announced.
        ids: Of the images that the sources give now, by `source_key`; of one that could not be looked at the id from
            before.
    """

    rows: list[SourceLook] = field(default_factory=list)
    renewed: list[SourceRenewed] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)


def look_at_sources(clients: Clients, files: Sequence[str], before: Mapping[str, str]) -> Looks:
    """Look at what the families and milestones give that recipes start from. Nothing is changed.

    A recipe that names its source image is left out: that never changes. One that cannot be read fails alone.

    Args:
        clients: Google's clients.
        files: of the recipes.
        before: what `Looks.ids` was the last time.
    """
    looks = Looks()
    sources: dict[str, tuple[SourceImage, list[str]]] = {}
    for file in files:
        try:
            source = read_recipe(Path(file)).spec().source
        except CustomizerError as error:
            looks.rows.append(SourceLook(outcome="failed", recipes=(file,), why=error.message))
            continue
        if source.name is None:
            sources.setdefault(source_key(source), (source, []))[1].append(file)
    images = find_sources(clients, [source for source, _ in sources.values()])
    for key, (source, recipes) in sources.items():
        image = images[source]
        if isinstance(image, CustomizerError):
            told = f"{source.project} {in_words(source)}"
            looks.rows.append(SourceLook(outcome="failed", source=told, recipes=tuple(recipes), why=image.message))
            looks.ids |= {key: before[key]} if key in before else {}
            continue
        row, renewed = compare(source, recipes, image.name, image.id, before)
        looks.rows.append(row)
        looks.renewed += [renewed] if renewed is not None else []
        looks.ids[key] = image.id
    return looks
