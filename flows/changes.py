"""What has changed in an output image: told before it is released, and judged where the specification asks for that."""

import time

from cos_customizer.customizer.contents import allowed_changes
from cos_customizer.customizer.contents.compared import Compared
from cos_customizer.customizer.contents.difference_text import summary
from cos_customizer.customizer.deadline import TimeUpError
from cos_customizer.customizer.errors import CustomizerError, UnexpectedChangesError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import ContentsCompared, Note, publish
from cos_customizer.customizer.spec.options import RECORD_CONTENTS, VERIFY_CHANGES
from cos_customizer.flows.output_image import OutputImage
from cos_customizer.flows.record import Record
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks import changes as change_tasks

_LIFE = 30 * 24 * 3600
"""Seconds for which the difference is kept in the bucket, as long as the serial log."""


def look_ahead(record: Record) -> None:
    """Find out before anything is made whether there is something to judge by, where that is asked for.

    Args:
        record: Notes on the build.

    Raises:
        CustomizerError: The family's current image does not say what is in it.
    """
    output = record.spec.output
    if record.spec.verify.changes is None or not output.family:
        return
    current = change_tasks.find_current(output.project, output.family)
    if current is not None and not current.recorded_contents:
        raise _nothing_to_judge_by(
            f"{current.project}/{current.name}, the current image of family {output.family}, has no recorded contents"
        )


def judge(record: Record, output: OutputImage) -> None:
    """Tell what has changed in an image that is not released yet, if its contents are recorded; refuse it if need be.

    One that is in its family was judged by the build that put it there.

    Args:
        record: Notes on the build.
        output: The image.

    Raises:
        UnexpectedChangesError: Something has changed that may not, or there is no telling. The image is left to
            undoing, or kept and labelled, as the specification says.
    """
    image, expected = output.seen(), record.spec.verify.changes
    if image.family or (expected is None and record.contents is None and not image.recorded_contents):
        return
    with record.phase("changes"):
        try:
            compared = _compare(record, image)
        except TimeUpError:
            raise
        except CustomizerError as error:
            if expected is not None:
                raise output.refused(_nothing_to_judge_by(error.message)) from error
            publish(Note("changes", f"not compared: {error.message}", "warning"))
            return
        if expected is None or record.rehearsed:  # a rehearsal knows nothing of what there would be
            return
        found = allowed_changes.unexpected(compared.difference, expected.allowed)
        if found:
            raise output.refused(_unexpected(record, compared, found))
        output.passed("changes")
        if compared.difference.left_out:
            publish(Note("changes", f"not judged: {'; '.join(compared.difference.left_out)}", "warning"))


def _compare(record: Record, image: ResolvedImage) -> Compared:
    spec, build = record.spec, record.build
    target = ObjectRef(spec.scratch.bucket, build.difference(spec.scratch.workdir))
    compared, url = change_tasks.compare(
        image, spec.output.family or "", record.contents, target, build, time.time() + _LIFE
    )
    record.compared, record.difference = compared, url
    if not record.rehearsed:
        publish(Note("changes", f"{summary(compared.difference)} against {compared.before.in_words}"))
        publish(ContentsCompared(compared, url))
    return compared


def _unexpected(record: Record, compared: Compared, found: list[allowed_changes.Unexpected]) -> UnexpectedChangesError:
    fields = dict.fromkeys(f"{VERIFY_CHANGES.path}.{each.field}" for each in found)
    where = f" The whole difference is in {record.difference}." if record.difference else ""
    return UnexpectedChangesError(
        f"against {compared.before.in_words}, more has changed than may: {allowed_changes.in_words(found)}",
        Message("patterns in {} let pass what is meant.{}", FieldPath(next(iter(fields))), where),
    )


def _nothing_to_judge_by(why: str) -> UnexpectedChangesError:
    return UnexpectedChangesError(
        f"what has changed cannot be judged: {why}",
        Message(
            "release an image with {} and without {} first; the one after it can be judged.",
            FieldPath(RECORD_CONTENTS.path, True),
            VERIFY_CHANGES,
        ),
    )
