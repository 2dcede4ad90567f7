"""What becomes of a build whose output image is there already: that depends on the recipe which made it."""

from cos_customizer.customizer.errors import AlreadyExistsError, CustomizerError
from cos_customizer.customizer.families.existing import what_is_there, what_to_do
from cos_customizer.customizer.families.provenance import fingerprint
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.reporting.result import MadeBy
from cos_customizer.customizer.scratch_directory import ScratchDirectory
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks import scratch as scratch_tasks


def accept(record: Record, undoing: Undoing, image: ResolvedImage, recipe: str = "") -> None:
    """Take an image that is there for the build's own: say so if another recipe has made it.

    Args:
        record: Notes on the build.
        undoing: Of the build.
        image: It, ready and released.
        recipe: Fingerprint of the build's recipe; empty if it is to be worked out, which costs no more than the archive
            of the build context, and that only where nothing else tells.

    Raises:
        AlreadyExistsError: Another recipe has made it, and the specification says that this is a failure.
        CustomizerError: It does, and there is no telling which recipe has made it.
    """
    output = record.spec.output
    maker, why = _maker(record, undoing, image, recipe)
    record.made_by = maker
    if maker == "this-recipe":
        publish(Note("image", f"{image.path} already exists, nothing to do"))
        return
    hint = what_to_do(image.project, image.name)
    there = what_is_there(image.name, image.created, maker) + (f" ({why})" if why else "")
    if output.on_existing != "fail":
        publish(Note("image", Message("{}: nothing was built; {}", there, hint), "warning"))
        return
    record.output = image
    raise AlreadyExistsError(f"{there}: nothing was built", Message("{}.", hint))


def _maker(record: Record, undoing: Undoing, image: ResolvedImage, recipe: str) -> tuple[MadeBy, str]:
    """Who has made an image; if that cannot be told, why."""
    known = record.maker_of(image, recipe)
    if known != "unknown":
        return known, ""
    try:
        return record.maker_of(image, _fingerprint(record, undoing)), ""
    except CustomizerError as error:
        return known, error.message


def _fingerprint(record: Record, undoing: Undoing) -> str:
    spec, source = record.spec, record.source
    assert source
    digest = spec.context.sha256
    if not digest:
        directory = ScratchDirectory()
        undoing.add(f"directory {directory.path}", directory.remove)
        steps = [*spec.steps, *spec.verify.scripts]
        digest = scratch_tasks.archive_context(spec.context, steps, directory.path).sha256
    return fingerprint(spec, source.id, digest)
