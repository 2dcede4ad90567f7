"""The order of a build: the one place that has it, for the flow and for a dry run. Prefect is not imported here."""

import time
from dataclasses import dataclass
from functools import partial

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import BuildFailedError, CleanUpError
from cos_customizer.customizer.families.provenance import Provenance, fingerprint
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.events import BuildEnded, Note, publish
from cos_customizer.customizer.reporting.result import BuildResult, Outcome
from cos_customizer.customizer.scratch_directory import ScratchDirectory
from cos_customizer.customizer.spec import gpu_drivers
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows import approval, changes, contents, existing_image
from cos_customizer.flows.guest_vm import GuestVm
from cos_customizer.flows.image_documents import ImageDocuments
from cos_customizer.flows.interrupts import DeadlinePassed, Interrupts, UndoingEnded
from cos_customizer.flows.output_image import OutputImage
from cos_customizer.flows.record import Record
from cos_customizer.flows.time_limit import TimeLimit
from cos_customizer.flows.undoing import SWEEP_TAKES_IT, Undoing
from cos_customizer.gcp import image_bodies, in_flight, request_bodies
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.context import Archive
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks import gpu_drivers as gpu_tasks
from cos_customizer.tasks import images as image_tasks
from cos_customizer.tasks import machine_zones as zone_tasks
from cos_customizer.tasks import scratch as scratch_tasks
from cos_customizer.tasks import vm as vm_tasks
from cos_customizer.tasks.operation import side_by_side


def run_in_time(record: Record) -> BuildResult:
    """Run a build inside its time limit. What it creates on the way is gone when this returns or raises.

    Args:
        record: Notes on the build, which has not begun.

    Returns:
        What it has come to.

    Raises:
        BuildTimeoutError: The build did not complete in time.
        CustomizerError: It failed; the event `BuildEnded` says what became of it.
    """
    limit = TimeLimit.of(record.spec.timeout_seconds)
    try:
        with in_flight.remembered(), Interrupts(limit.work - time.monotonic()) as interrupts:
            outcome = _run_and_undo(record, interrupts, limit)
    except DeadlinePassed:  # before anything was begun
        raise record.timed_out() from None
    result = record.result(outcome)
    publish(BuildEnded(result))
    return result


def _run_and_undo(record: Record, interrupts: Interrupts, limit: TimeLimit) -> Outcome:
    undoing = Undoing()
    try:
        try:
            try:
                with deadline.until(limit.work):
                    output, outcome = _make(record, undoing)
                if outcome == "built":
                    _await_approval(record, undoing, output, interrupts, limit)
                    with deadline.until(limit.work):
                        _release(record, output)
            finally:
                interrupts.shield(limit.end_of_undoing())
        except BaseException as error:
            cause = interrupts.behind(error)
            record.may_keep_builder = isinstance(cause, Exception) or _is_time_up(cause)
            raise
        finally:
            interrupts.shield(limit.end_of_undoing())  # again: an interruption can come just before it is up
            _undo(record, undoing, interrupts, limit)
        if undoing.leftovers:
            raise CleanUpError(
                f"image {record.output_name} is there, but not everything that the build has made is gone",
                "what is left behind is named above.",
            )
        return outcome
    except BaseException as error:
        cause = interrupts.behind(error)
        if _is_time_up(cause):
            raise record.timed_out() from None
        record.close(cause)
        if cause is error:
            raise
        raise cause from None


def _make(record: Record, undoing: Undoing) -> tuple[OutputImage, Outcome]:
    """Make the image and judge it, unless it is there already."""
    spec = record.spec
    replaces = spec.output.on_existing == "replace"
    with record.phase("prepare"):
        source = record.source = image_tasks.resolve_source(spec.source)
        output = OutputImage(record, undoing, spec.output.name_for(source.name))
        record.output_name = output.ref.name
        output.look_up()
        if output.image is not None and output.is_released() and not replaces:
            existing_image.accept(record, undoing, output.image)
            return output, _complete(record, output)
        plan = _prepare(record, undoing, source)
        recipe = plan.provenance.recipe
        output.adopt(recipe)
        if output.is_released() and replaces:
            output.succeed(recipe)
            record.output_name = output.ref.name
        if output.image is not None and output.is_released():
            existing_image.accept(record, undoing, output.image, recipe)
            return output, _complete(record, output)
        approval.check(record)
        changes.look_ahead(record)
        _upload_context(record, undoing, plan.archive)
    plan.documents.begin(undoing, output)
    if output.image is None:
        _create_image(record, undoing, source, plan, output)
    if not output.is_released():
        if spec.verify.asked_for:
            output.verify(plan.zones, plan.test_user_data, plan.secret_manager)
        changes.judge(record, output)
        plan.documents.write(output)
    return output, "built"


def _await_approval(
    record: Record, undoing: Undoing, output: OutputImage, interrupts: Interrupts, limit: TimeLimit
) -> None:
    """Wait for a person to approve the image if that is required; one that is in its family was approved."""
    if not record.spec.verify.require_approval or record.rehearsed or output.is_released() or output.seen().family:
        return
    undoing.run_parts()  # no VM is to run, and to be paid for, meanwhile
    with record.phase("approval"), limit.waiting(record.spec.verify.patience + approval.OVERTIME):
        interrupts.postpone(limit.work - time.monotonic())
        try:
            approval.await_approval(record)
        except BuildFailedError as error:
            raise output.refused(error) from error
    interrupts.postpone(limit.work - time.monotonic())
    output.passed("approval")


def _release(record: Record, output: OutputImage) -> None:
    if not output.is_released():
        with record.phase("release"):
            output.release()
    record.output = output.image
    output.deprecate_older()


def _complete(record: Record, output: OutputImage) -> Outcome:
    """Do what the build that has made the image may have left undone."""
    record.output = output.image
    if output.is_ours_and_current():
        output.deprecate_older()
    return "exists"


@dataclass(frozen=True)
class _Plan:
    """What is known before a VM is paid for: that the build can work, and what its requests say.

    Attributes:
        zones: To build in.
        archive: The build context.
        provenance: What the image will say of itself.
        user_data: The builder VM's.
        test_user_data: The test VM's.
        secret_manager: Where the VMs are to be told that Secret Manager is, if they are.
        documents: The image's documents.
    """

    zones: list[str]
    archive: Archive
    provenance: Provenance
    user_data: str
    test_user_data: str
    secret_manager: str | None
    documents: ImageDocuments


def _prepare(record: Record, undoing: Undoing, source: ResolvedImage) -> _Plan:
    spec, build = record.spec, record.build
    if spec.gpu_driver is not None:
        gpu_drivers.check_architecture(source.architecture)
    request_bodies.check_source(spec, source)
    secret_manager = clients().endpoints.secret_manager_of_vms() if spec.has_secrets else None
    image_bodies.labels_of(spec.output, source.labels)  # fails now if there are too many, not after the steps
    directory = ScratchDirectory()
    undoing.add(f"directory {directory.path}", directory.remove)
    with side_by_side():
        zones = _check_zones(spec, source)
        scratch_tasks.check_bucket(spec.scratch.bucket)
        steps = [*spec.steps, *spec.verify.scripts]
        archive = scratch_tasks.archive_context(spec.context, steps, directory.path, spec.output.uefi_keys)
    record.context_sha256 = archive.sha256
    provenance = Provenance(build.id, source.id, fingerprint(spec, source.id, archive.sha256))
    spec = record.spec = contents.spec_with_room(record, source, provenance)
    documents = ImageDocuments(record)
    documents.prepare(archive)
    return _Plan(
        zones,
        archive,
        provenance,
        # Rendered now: what does not fit into instance metadata fails before a VM is paid for.
        request_bodies.user_data(spec, build, archive.sha256, source),
        request_bodies.test_user_data(spec, build, archive.sha256),
        secret_manager,
        documents,
    )


def _check_zones(spec: BuildSpec, source: ResolvedImage) -> list[str]:
    """Find out before a VM is paid for where driver, GPU and machine can be had; the zones to build in."""
    driver = spec.gpu_driver
    if driver is not None and gpu_drivers.is_looked_up(driver.version):
        gpu_tasks.check_driver(driver.version, driver.md5sum, gpu_tasks.look_up_drivers())
    project, zones = spec.builder.project, spec.builder.zones
    if spec.gpu_type is not None:
        zones = _told(zones, gpu_tasks.zones_with_gpu(project, spec.gpu_type, zones), spec.gpu_type)
    machine_type = request_bodies.machine_type_of(spec, source.architecture)
    return _told(zones, zone_tasks.zones_with_machine_type(project, machine_type, zones), machine_type)


def _told(asked: list[str], having: list[str], what: str) -> list[str]:
    """The zones that have something; those that have not are told of."""
    if without := [zone for zone in asked if zone not in having]:
        publish(Note("zones", f"{', '.join(without)} left out: no {what} there", "warning"))
    return having


def _upload_context(record: Record, undoing: Undoing, archive: Archive) -> None:
    spec, build = record.spec, record.build
    target = ObjectRef(spec.scratch.bucket, build.context_archive(spec.scratch.workdir))
    undoing.add(target.url, partial(scratch_tasks.delete_context, target), SWEEP_TAKES_IT)
    expires = request_bodies.expiry(spec.timeout_seconds, time.time())
    scratch_tasks.upload_context(archive, target, build, expires)


def _create_image(record: Record, undoing: Undoing, source: ResolvedImage, plan: _Plan, output: OutputImage) -> None:
    """Run the steps on a builder VM and make the output image of its disk."""
    spec, build = record.spec, record.build
    recorded = contents.RecordedContents(record)
    contents_address = recorded.begin(undoing, output)
    builder = GuestVm(record, undoing.part(), "build", [step.label for step in spec.steps])
    layout = request_bodies.layout_of(spec, source)
    grows = layout is not None and layout.disk_size is not None
    request = request_bodies.VmRequest(
        spec,
        build,
        source.path,
        source.architecture,
        plan.user_data,
        plan.secret_manager,
        grows,
        spec.builder.keep_on_failure,
        contents_address,
    )
    now = time.time()
    vm = builder.create(plan.zones, lambda zone: request_bodies.builder_vm(request, zone, now))
    console = builder.follow(vm, layout)
    with record.phase("halt"):
        halted = vm_tasks.await_halt(builder.what, vm)
        console.check_for_restart()
        if not halted:
            vm_tasks.stop_vm(builder.what, vm, build)
    provenance = recorded.collect(console, plan.provenance)
    with record.phase("image"):
        state = plan.archive.initial_state
        body = image_bodies.image(spec, provenance, vm, source, output.ref.name, time.time(), state)
        output.create(body, vm_runs=halted)
    if spec.verify.asked_for:
        builder.undoing.run()  # its quota, of GPUs above all, may be what the test VM needs


def _is_time_up(error: BaseException | None) -> bool:
    """Whether an error, or what is behind it, says that the time was up."""
    while error is not None:
        if isinstance(error, DeadlinePassed | deadline.TimeUpError):
            return True
        error = error.__cause__
    return False


def _undo(record: Record, undoing: Undoing, interrupts: Interrupts, limit: TimeLimit) -> None:
    if interrupts.by_signal:
        publish(Note("cleaning up", "a third signal ends that too, and leaves what there is then"))
    with record.phase("clean-up"):
        try:
            with deadline.until(limit.end_of_undoing()):
                undoing.run()
        except UndoingEnded:
            interrupts.stand_down()
            undoing.give_up()
        interrupts.stand_down()
    record.leftovers = undoing.leftovers
    record.is_undone = True  # as far as its time went
    if record.kept:
        publish(Note("kept", record.kept.in_words, "warning"))
        publish(Note("to get in", record.kept.get_in))
        publish(Note("to delete it", record.kept.delete))
    if undoing.removed:
        publish(Note("cleaned up", undoing.summary()))
    for log in record.serial_logs.values():
        publish(Note("serial log", log))
    for leftover in undoing.leftovers:
        publish(Note("left behind", leftover, "error"))
