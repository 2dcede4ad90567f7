"""The main flow: a customized image of a source image."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.families.provenance import Provenance, fingerprint
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.events import BuildEnded, Note, publish
from cos_customizer.customizer.reporting.result import BuildResult, Outcome
from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows import artifacts, hooks, release
from cos_customizer.flows.cloud_logging import logged
from cos_customizer.flows.guest_vm import GuestVm
from cos_customizer.flows.interrupts import DeadlinePassed, Interrupts, time_left
from cos_customizer.flows.output_limit import one_at_a_time
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp import images, request_bodies, scratch
from cos_customizer.gcp.context import Archive
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks import builder_vm as vm_tasks
from cos_customizer.tasks import gpu_drivers as gpu_tasks
from cos_customizer.tasks import images as image_tasks
from cos_customizer.tasks import scratch as scratch_tasks
from cos_customizer.tasks.operation import clients
from cos_customizer.tasks.reporting import report


def _run_name() -> str:
    output = BuildSpec.model_validate(flow_run.parameters["spec"]).output
    return f"build {output.name or f'*{output.suffix}'}"


@flow(
    name="build-image",
    flow_run_name=_run_name,
    persist_result=False,
    log_prints=False,
    on_cancellation=[hooks.undo_build],
    on_crashed=[hooks.undo_build],
    on_failure=[hooks.undo_build],
)
def build_image(spec: BuildSpec) -> BuildResult:
    """Boot a builder VM from the source image, run the steps on it, make an image of its disk.

    Whatever the build creates on the way is gone when this returns or raises: on success, failure, timeout and signals.

    Args:
        spec: everything about the build.

    Returns:
        What was built, or that the output image was there already.

    Raises:
        UsageError: the specification cannot work (a script is missing from the context, say).
        BuildTimeoutError: the build did not complete in time.
        CustomizerError: it failed; the error says how, and the event `BuildEnded` what became of the build.
    """
    artifacts.tag_run(spec)
    with one_at_a_time(spec):
        record = Record(spec, BuildNames.of(str(flow_run.id), int(flow_run.run_count or 1)))
        with logged(record), artifacts.shown(record):
            return _build_in_time(record)


def _build_in_time(record: Record) -> BuildResult:
    try:
        with Interrupts(time_left(record.spec.timeout_seconds)) as interrupts:
            outcome = _build_and_undo(record, interrupts)
    except DeadlinePassed:  # before anything was begun
        raise record.timed_out() from None
    result = record.result(outcome)
    publish(BuildEnded(result))
    return result


def _build_and_undo(record: Record, interrupts: Interrupts) -> Outcome:
    undoing = Undoing()
    try:
        try:
            try:
                return _build(record, undoing)
            finally:
                interrupts.shield()
        finally:
            interrupts.shield()  # again: an interruption can come just before it is up
            _undo(record, undoing)
    except DeadlinePassed:
        raise record.timed_out() from None
    except BaseException as error:
        record.close(error)
        raise


def _build(record: Record, undoing: Undoing) -> Outcome:
    spec = record.spec
    with record.phase("prepare"):
        source = record.source = image_tasks.resolve_source(spec.source)
        name = record.output_name = spec.output.name_for(source.name)
        image = release.look_for_output(record, name)
        if image is not None and not release.is_unreleased(image):
            return _exists(record, image)
        request_bodies.image_labels(spec.output, source.labels)  # known now, not when the steps have run
        zones = _check_gpu(spec, source)
        archive = _archive_context(record, undoing)
        plan = request_bodies.user_data(
            spec, record.build, archive.sha256
        )  # now, not when a VM is paid for: whether they fit
        test_plan = request_bodies.test_user_data(spec, record.build, archive.sha256)
        provenance = Provenance(record.build.id, source.id, fingerprint(spec, source.id, archive.sha256))
        if image is not None:
            image = release.take_up(record, image, provenance.recipe)
            if image is not None and not release.is_unreleased(image):
                return _exists(record, image)
        _upload_context(record, undoing, archive)
    keep = _nothing
    if image is None:
        image, keep = _make_image(record, undoing, source, zones, provenance, plan)
    if release.is_unreleased(image):
        with record.phase("verify"):
            if not image.family:
                release.verify(record, undoing, image, zones, test_plan, keep)
        with record.phase("release"):
            image = release.release(record, image)
    keep()
    record.output = image
    release.deprecate_old_images(record, image)
    return "built"


def _exists(record: Record, image: ResolvedImage) -> Outcome:
    record.output = image
    report(Note("image", f"{image.path} already exists, nothing to do"))
    return "exists"


def _nothing() -> None:
    pass


def _make_image(
    record: Record,
    undoing: Undoing,
    source: ResolvedImage,
    zones: list[str],
    provenance: Provenance,
    plan: str,
) -> tuple[ResolvedImage, Callable[[], None]]:
    """Run the steps on a builder VM and make an image of its disk; what says that it is to stay comes with it."""
    spec, build, project = record.spec, record.build, record.spec.builder.project
    vm = GuestVm(record, undoing.part(), "build", [step.label for step in spec.steps])
    now = time.time()
    with record.phase("builder VM"):
        zone = record.zone = vm.create(
            zones,
            lambda zone: request_bodies.builder_vm(spec, build, zone, source.path, source.architecture, plan, now),
        )
    with record.phase("steps"):
        vm.follow(zone)
    with record.phase("halt"):
        halted = vm_tasks.await_halt(project, zone, build)
        vm.hear_again()
        if not halted:
            vm_tasks.stop_builder_vm(project, zone, build)
    with record.phase("image"):
        body = request_bodies.output_image(
            spec, provenance, zone, source.path, record.output_name, source.labels, time.time()
        )
        image, keep = _create_image(record, undoing, body, halted)
    if spec.verify.asked_for:
        vm.undoing.run()  # its quota, of GPUs above all, may be what the test VM needs
    return image, keep


def _check_gpu(spec: BuildSpec, source: ResolvedImage) -> list[str]:
    """Find out before a VM is paid for whether driver and GPU can be had; the zones to build in."""
    driver = spec.gpu_driver
    if driver is not None:
        gpu_drivers.check_architecture(source.architecture)
        if gpu_drivers.is_looked_up(driver.version):
            gpu_tasks.check_driver(driver.version, driver.md5sum, gpu_tasks.look_up_drivers())
    if spec.gpu_type is None:
        return spec.builder.zones
    zones = gpu_tasks.zones_with_gpu(spec.builder.project, spec.gpu_type, spec.builder.zones)
    if without := [zone for zone in spec.builder.zones if zone not in zones]:
        report(Note("zones", f"{', '.join(without)} left out: no {spec.gpu_type} there", "warning"))
    return zones


def _archive_context(record: Record, undoing: Undoing) -> Archive:
    spec = record.spec
    directory = tempfile.TemporaryDirectory(prefix="cos-customizer-")
    undoing.add(f"directory {directory.name}", directory.cleanup)
    return scratch_tasks.archive(spec.context, [*spec.steps, *spec.verify.scripts], Path(directory.name))


def _upload_context(record: Record, undoing: Undoing, archive: Archive) -> None:
    spec, build = record.spec, record.build
    bucket, name = spec.scratch.bucket, build.context_archive(spec.scratch.workdir)
    undoing.add(f"gs://{bucket}/{name}", lambda: Counter({"object": scratch.delete(clients(), bucket, name)}))
    expires = request_bodies.expiry(spec.timeout_seconds, time.time())
    scratch_tasks.upload_context(archive, bucket, name, build, expires)


def _create_image(
    record: Record, undoing: Undoing, body: dict[str, Any], vm_runs: bool
) -> tuple[ResolvedImage, Callable[[], None]]:
    build, name, project = record.build, record.output_name, record.spec.output.project
    verifies = record.spec.verify.asked_for

    def undo() -> "Counter[str]":
        # An image that is to be verified tells by its family and labels how far it has come.
        deleted = images.delete_unfinished_image(clients(), project, name, build, even_ready=not verifies)
        if verifies and not deleted:
            _tell_what_stays(images.find_image(clients(), project, name), build)
        return Counter(image=int(deleted))

    keep = undoing.add(f"unfinished image {project}/{name}", undo)
    began = time.monotonic()
    image = image_tasks.create_image(project, body, build, vm_runs)
    if not verifies:
        keep()
    report(Note("image", f"{image.path} ({human_duration(time.monotonic() - began)})"))
    return image, keep


def _tell_what_stays(image: ResolvedImage | None, build: BuildNames) -> None:
    if image is not None and image.made_by(build):
        report(Note("image", f"{image.path} stays{f', it is in family {image.family}' if image.family else ''}"))


def _undo(record: Record, undoing: Undoing) -> None:
    with record.phase("clean-up"):
        undoing.run()
    record.leftovers = undoing.leftovers
    if not undoing.leftovers:
        hooks.note_undone(record.build)
    if undoing.removed:
        report(Note("cleaned up", undoing.summary()))
    for log in record.serial_logs.values():
        report(Note("serial log", log))
    for leftover in undoing.leftovers:
        report(Note("left behind", leftover, "error"))
