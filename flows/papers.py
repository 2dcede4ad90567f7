"""The documents of an output image: what they need is seen to before a VM is paid for; its release comes after them."""

from datetime import UTC, datetime
from functools import partial

from cos_customizer.customizer.contents import spdx
from cos_customizer.customizer.contents.sbom_input import SbomInput
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.spec.options import SBOM_OUTPUT
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Entry, Undoing
from cos_customizer.gcp import images, papers
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.context import Archive
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.scratch import check_bucket
from cos_customizer.tasks import papers as paper_tasks


class Papers:
    """The documents of one output image.

    Args:
        record: Notes on the build.
        undoing: Takes them back if the image does not stay.
    """

    def __init__(self, record: Record, undoing: Undoing) -> None:
        self._record = record
        self._output = record.spec.output
        self._undoing = undoing
        self._entries: list[Entry] = []
        self._input: SbomInput | None = None

    def prepare(self, archive: Archive) -> None:
        """See whether they can be written.

        Args:
            archive: The build context.

        Raises:
            UsageError: What a document is to be made of is not there, or cannot be right; or there is no such bucket.
        """
        output = self._output
        if output.sbom_input_path is not None:
            self._input = paper_tasks.read_sbom_input(archive, output.sbom_input_path)
            check_bucket(clients(), self._target("").bucket, SBOM_OUTPUT)

    def write(self, image: ResolvedImage) -> None:
        """Write those that are wanted.

        Args:
            image: It, which is not released yet.

        Raises:
            CustomizerError: One could not be written.
        """
        if self._input is None:
            return
        with self._record.phase("papers"):
            self._write_asked_for(self._input, image)

    def keep(self) -> None:
        """Let them stay: their image does."""
        for entry in self._entries:
            entry.cancel()

    def _write_asked_for(self, given: SbomInput, image: ResolvedImage) -> None:
        """Write the bill of materials that the user has given the input of."""
        source = self._record.source
        assert source
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = given.document(image.name, paper_tasks.bill_of_source(source.ref), now)
        self._store(self._target(given.document_name(image.name)), document, spdx.MEDIA_TYPE, image)

    def _target(self, name: str) -> ObjectRef:
        """An object where the user wants the bill of materials."""
        bucket, _, directory = (self._output.sbom_output_path or "").removeprefix("gs://").partition("/")
        return ObjectRef(bucket, f"{directory}/{name}".lstrip("/"))

    def _store(self, target: ObjectRef, content: bytes, kind: str, image: ResolvedImage) -> None:
        if not papers.is_there(clients(), target):  # else there is nothing to go back to: another build's is lost
            self._entries.append(self._undoing.add(target.url, partial(self._delete, target, image)))
        paper_tasks.store(target, content, kind)
        publish(Note("document", target.url))

    def _delete(self, target: ObjectRef, image: ResolvedImage) -> list[Removal]:
        """Delete a document, unless its image stays."""
        there = images.find_image(clients(), image.ref)
        if there is not None and there.id == image.id and not images.is_unfinished(there):
            return []
        return paper_tasks.delete(target)
