"""The documents of an output image: what they need is seen to before a VM is paid for; its release comes after them."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

from cos_customizer.customizer.contents import places, spdx
from cos_customizer.customizer.contents.bill import Subject
from cos_customizer.customizer.contents.inventory import Contents
from cos_customizer.customizer.contents.sbom_input import SbomInput
from cos_customizer.customizer.contents.signing import PublicKey
from cos_customizer.customizer.contents.statement import CONTENTS, SERIAL_LOG, Making, Stored, statement
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.names import IMAGE_KEY
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.spec.options import ATTESTATION_KEY, SBOM_OUTPUT
from cos_customizer.flows.output_image import OutputImage
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import SWEEP_TAKES_IT, Undoing
from cos_customizer.gcp import image_documents, objects, request_bodies
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.context import Archive, script_digests
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.scratch import check_bucket
from cos_customizer.tasks import image_documents as document_tasks

_CONTENTS_TYPE = "application/gzip"


class ImageDocuments:
    """The documents of one output image.

    Args:
        record: Notes on the build.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._output = record.spec.output
        self._archive: Archive | None = None
        self._input: SbomInput | None = None
        self._key: PublicKey | None = None
        self._begun: set[ObjectRef] = set()

    def prepare(self, archive: Archive) -> None:
        """See whether they can be written.

        Args:
            archive: The build context.

        Raises:
            UsageError: What a document is to be made of is not there, or cannot be right; there is no such bucket, or
                the key is not enabled.
            CustomizerError: There is no such key, or it may not be used.
        """
        output, self._archive = self._output, archive
        if output.attestation_key is not None:
            self._key = document_tasks.check_key(output.attestation_key)
        if output.sbom_input_path is not None:
            self._input = document_tasks.read_sbom_input(archive, output.sbom_input_path)
            check_bucket(clients(), self._asked_for("").bucket, SBOM_OUTPUT)

    def begin(self, undoing: Undoing, output: OutputImage) -> None:
        """Let them go if the image does not stay. The image is not made yet: so they go after it.

        Args:
            undoing: Of the build.
            output: The image.
        """
        wanted = []
        if self._input is not None:
            target = self._asked_for(self._input.document_name(output.ref.name))
            if not objects.exists(clients(), target):  # else another build's would be lost
                wanted.append(target)
        if self._output.records_contents:
            build, scratch = self._record.build, self._record.spec.scratch
            recorded = ObjectRef(scratch.bucket, build.contents(scratch.workdir))
            wanted += [places.beside(recorded, document) for document in places.DOCUMENTS]
        for target in wanted:
            output.goes_with(undoing.add(target.url, partial(self._undo, target), SWEEP_TAKES_IT))

    def _undo(self, target: ObjectRef) -> list[Removal]:
        return document_tasks.delete(target) if target in self._begun else []

    def write(self, output: OutputImage) -> None:
        """Write those that are wanted.

        Args:
            output: The image, which is there and not released yet.

        Raises:
            CustomizerError: One that was asked for could not be written.
        """
        image = output.image
        assert image
        made = image.provenance
        recorded = made.recorded_contents if made else None
        if self._input is None and self._key is None and recorded is None:
            return
        with self._record.phase("documents"):
            if self._input is not None:
                self._write_asked_for(self._input, image)
            if made is not None and recorded is not None:
                try:
                    self._write_recorded(image, made, recorded)
                except CustomizerError as error:
                    if self._output.must_record_contents:
                        raise
                    publish(Note("documents", f"not all are written: {error.message}", "warning"))  # nobody has asked
            elif self._key is not None:
                raise CustomizerError(
                    Message("{}: nothing can be signed, because the image's contents are not recorded", ATTESTATION_KEY)
                )

    def _write_asked_for(self, given: SbomInput, image: ResolvedImage) -> None:
        """Write the bill of materials that the user has given the input of."""
        source = self._record.source
        assert source
        document = given.document(image.name, document_tasks.bill_of_source(source.ref), _rfc3339(time.time()))
        target = self._asked_for(given.document_name(image.name))
        self._begun.add(target)
        document_tasks.store(target, document, spdx.MEDIA_TYPE)
        publish(Note("document", target.url))

    def _asked_for(self, name: str) -> ObjectRef:
        """An object where the user wants the bill of materials."""
        bucket, _, directory = (self._output.sbom_output_path or "").removeprefix("gs://").partition("/")
        return ObjectRef(bucket, f"{directory}/{name}".lstrip("/"))

    def _write_recorded(self, image: ResolvedImage, made: Provenance, recorded: ObjectRef) -> None:
        """Write what follows from the image's recorded contents."""
        target, build = places.beside(recorded, places.PROVENANCE), self._record.build
        if not image.made_by(build):
            self._see_to_earlier(image, target)
            return
        contents = self._record.contents
        assert contents is not None, "the description of an image that this build has made names them"
        self._begun |= {places.beside(recorded, document) for document in places.DOCUMENTS}
        expires = request_bodies.expiry(self._record.spec.timeout_seconds, time.time())
        metadata = {**build.labels(expires), IMAGE_KEY: f"{image.project}/{image.name}"}
        subject = image_documents.subject_of(image, version("cos-customizer"))
        bills = document_tasks.write_bills(contents, subject, recorded, metadata)
        making = self._making(subject, made, contents, recorded, bills)
        document_tasks.write_provenance(statement(making), self._key, target, metadata)
        signed = f"signed by {self._key.name}" if self._key else "not signed"
        publish(Note("documents", f"{', '.join(each.url for each in bills)}, {target.url} ({signed})"))

    def _see_to_earlier(self, image: ResolvedImage, target: ObjectRef) -> None:
        """See whether the build that has made the image has written of it: this one does not know how it was made."""
        if objects.exists(clients(), target):
            return
        what = f"image {image.name} was made by a build that has not ended, and nothing says how"
        if self._key is not None:
            raise CustomizerError(what, "delete the image, and start the build again: it is made anew then.")
        publish(Note("documents", what, "warning"))

    def _making(
        self, subject: Subject, made: Provenance, contents: Contents, recorded: ObjectRef, bills: list[Stored]
    ) -> Making:
        record, now = self._record, time.time()
        assert self._archive
        return Making(
            subject=subject,
            spec=record.spec,
            build=record.build.id,
            recipe=made.recipe,
            zone=record.zones.get("build", ""),
            context_sha256=record.context_sha256,
            scripts=script_digests(self._archive, [*record.spec.steps, *record.spec.verify.scripts]),
            contents=contents,
            recorded=Stored(CONTENTS, recorded.url, made.contents_sha256, _CONTENTS_TYPE),
            byproducts=[*bills, *self._serial_log()],
            started=_rfc3339(now - (time.monotonic() - record.started)),
            finished=_rfc3339(now),
            versions={"cos-customizer": version("cos-customizer"), "prefect": version("prefect")},
        )

    def _serial_log(self) -> list[Stored]:
        """What the builder VM has said, as it is stored when the build ends: the VM has halted, and says no more."""
        console = self._record.consoles.get("build")
        if console is None:
            return []
        with suppress(CustomizerError):  # the VM may be gone already: then all was read
            console.read()
        workdir = self._record.spec.scratch.workdir
        target = ObjectRef(self._record.spec.scratch.bucket, self._record.build.serial_log(workdir))
        return [Stored(SERIAL_LOG, target.url, console.digest(), "text/plain")]


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
