"""What is in the image of a build: recorded by the builder VM, read by the flow, kept as long as the image."""

import time
from dataclasses import replace

from cos_customizer.customizer.errors import BuildFailedError, CustomizerError, UsageError
from cos_customizer.customizer.families.provenance import LONGEST_DESCRIPTION, Provenance, contents_url
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import IMAGE_KEY
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.customizer.spec.options import RECORD_CONTENTS
from cos_customizer.flows.output_image import OutputImage
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import SWEEP_TAKES_IT, Undoing
from cos_customizer.gcp import request_bodies
from cos_customizer.gcp.guest_console import GuestConsole
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.guest.protocol import ContentsSent
from cos_customizer.tasks import contents as contents_tasks


class RecordedContents:
    """The recorded contents of the image that a build makes.

    A build that was told to record them fails if it cannot. One that does so by default says so and goes on: its steps
    have succeeded, and nobody has asked for more.

    Args:
        record: Notes on the build.
    """

    def __init__(self, record: Record) -> None:
        spec, build = record.spec, record.build
        self._record = record
        self._address = ""
        self._target = ObjectRef(spec.scratch.bucket, build.contents(spec.scratch.workdir))

    def begin(self, undoing: Undoing, output: OutputImage) -> str | None:
        """Begin the upload that the builder VM is to complete. What it sends goes if the image does not stay.

        Args:
            undoing: Of the build.
            output: The image that is to be made.

        Returns:
            The address that the VM is to be told; None if nothing is recorded.

        Raises:
            CustomizerError: The upload could not be begun.
        """
        record, build = self._record, self._record.build
        if not record.spec.output.records_contents:
            return None
        output.goes_with(undoing.add(self._target.url, self._undo, SWEEP_TAKES_IT))
        expires = request_bodies.expiry(record.spec.longest_seconds, time.time())
        metadata = {**build.labels(expires), IMAGE_KEY: f"{output.ref.project}/{output.ref.name}"}
        self._address = contents_tasks.begin_upload(self._target, metadata)
        return self._address

    def _undo(self) -> list[Removal]:
        return contents_tasks.delete_contents(self._target, self._record.build, self._address)

    def collect(self, console: GuestConsole, provenance: Provenance) -> Provenance:
        """Read what the VM has sent into the build's record.

        Args:
            console: Where the VM has reported; it has halted.
            provenance: What the image will say of itself.

        Returns:
            That, with where its contents are recorded.

        Raises:
            BuildFailedError: They are not, and the build was told to record them.
        """
        if not self._address:
            return provenance
        said = console.progress.contents
        try:
            if not isinstance(said, ContentsSent):
                raise CustomizerError(said.reason if said else "the builder VM has not reported that it has sent them")
            with self._record.phase("contents"):
                self._record.contents = contents_tasks.fetch_contents(self._target, said.sha256)
        except CustomizerError as error:
            self._fail(error)
            return provenance
        for side, inventory in (("source", self._record.contents.before), ("image", self._record.contents.after)):
            for what in inventory.left_out:
                publish(Note("contents", f"not recorded of the {side}: {what}", "warning"))
        files = f"{len(self._record.contents.after.files):,} files, {said.size:,} bytes"
        publish(Note("contents", f"{self._target.url} ({files})"))
        return replace(provenance, contents=contents_url(self._target), contents_sha256=said.sha256)

    def _fail(self, error: CustomizerError) -> None:
        why = f"what is in the image could not be recorded: {error.message}"
        if self._record.spec.output.must_record_contents:
            hint = Message("without {}, the image is made all the same.", FieldPath(RECORD_CONTENTS.path, True))
            raise BuildFailedError(why, error.hint or hint) from error
        publish(Note("contents", f"{why}; the image is made without", "warning"))
        if failed := [removal for removal in self._undo() if removal.action == "failed"]:
            publish(Note("contents", f"{self._target.url} is left behind: {failed[0].reason}", "warning"))


def spec_with_room(record: Record, source: ResolvedImage, provenance: Provenance) -> BuildSpec:
    """Find out before a VM is paid for whether the image's description has room for where its contents are.

    Args:
        record: Notes on the build.
        source: The source image.
        provenance: What the image will say of itself, without its contents.

    Returns:
        The build's specification: if there is no room, one that records nothing.

    Raises:
        UsageError: There is none, and the build was told to record.
    """
    spec = record.spec
    if not spec.output.records_contents:
        return spec
    target = ObjectRef(spec.scratch.bucket, record.build.contents(spec.scratch.workdir))
    longest = replace(provenance, contents=contents_url(target), contents_sha256="0" * 64)
    size = len(longest.description(source.path, spec.output.description))
    if size <= LONGEST_DESCRIPTION:
        return spec
    why = Message(
        "{} and {}: the image's description, which says where its contents are recorded, would have {} characters; it "
        "can have {}",
        FieldPath("output.description"),
        FieldPath("scratch.workdir"),
        size,
        LONGEST_DESCRIPTION,
    )
    if spec.output.must_record_contents:
        raise UsageError(why, Message("shorten them, or do without {}.", FieldPath(RECORD_CONTENTS.path, True)))
    publish(Note("contents", Message("{}: what is in the image is not recorded", why), "warning"))
    return spec.model_copy(update={"output": spec.output.model_copy(update={"record_contents": False})})
