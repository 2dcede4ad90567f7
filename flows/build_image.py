"""The main flow: a customized image of a source image."""

import tempfile
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from prefect import flow
from prefect.runtime import flow_run

from cos_customizer.customizer import gpu_drivers
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import CustomizerError, StockOutError, UsageError
from cos_customizer.customizer.events import BuildEnded, Note, publish
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.provenance import Provenance, fingerprint
from cos_customizer.customizer.result import BuildResult, Outcome
from cos_customizer.customizer.spec import BuildSpec
from cos_customizer.flows.interrupts import DeadlinePassed, Interrupts, time_left
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import Undoing
from cos_customizer.gcp import images, instances, requests, scratch
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.serial_console import SerialConsole
from cos_customizer.guest.protocol import PORT
from cos_customizer.tasks import builder_vm as vm_tasks
from cos_customizer.tasks import gpu_drivers as gpu_tasks
from cos_customizer.tasks import images as image_tasks
from cos_customizer.tasks import scratch as scratch_tasks
from cos_customizer.tasks import serial_console as console_tasks
from cos_customizer.tasks.operation import clients
from cos_customizer.tasks.reporting import report

_SERIAL_LOG_LIFE = 30 * 24 * 3600


def _run_name() -> str:
    output = BuildSpec.model_validate(flow_run.parameters["spec"]).output
    return f"build {output.name or f'*{output.suffix}'}"


@flow(name="build-image", flow_run_name=_run_name, persist_result=False, log_prints=False)
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
    record = Record(spec, BuildNames.of(str(flow_run.id), int(flow_run.run_count or 1)))
    try:
        with Interrupts(time_left(spec.timeout_seconds)) as interrupts:
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
        name = record.output_name = _output_name(spec, source)
        if (existing := _existing_output(record, name)) is not None:
            record.output = existing
            report(Note("image", f"{existing.path} already exists, nothing to do"))
            return "exists"
        requests.image_labels(spec.output, source.labels)  # known now, not when the steps have run
        zones = _check_gpu(spec, source)
        archive = _upload_context(record, undoing)
    now = time.time()
    with record.phase("builder VM"):
        zone = record.zone = _create_builder_vm(record, undoing, source, zones, archive.sha256, now)
    with record.phase("steps"):
        _follow(record, undoing, zone)
    with record.phase("halt"):
        halted = vm_tasks.await_halt(spec.builder.project, zone, record.build)
        _check_again(record)
        if not halted:
            vm_tasks.stop_builder_vm(spec.builder.project, zone, record.build)
    with record.phase("image"):
        provenance = Provenance(record.build.id, source.id, fingerprint(spec, source.id, archive.sha256))
        body = requests.output_image(spec, provenance, zone, source.path, name, source.labels, time.time())
        record.output = _create_image(record, undoing, body, halted)
    if spec.output.deprecate_old_images and spec.output.family:
        new = f"projects/{spec.output.project}/global/images/{name}"
        body = requests.deprecation(new, spec.output.old_image_ttl, time.time())
        try:
            record.deprecated = image_tasks.deprecate_old_images(
                spec.output.project, spec.output.family, name, body, record.build
            )
        except CustomizerError as error:
            raise CustomizerError(
                f"image {name} is made, but its family's older images are not all deprecated: {error.message}",
                f"`gcloud compute images deprecate OLD --state=DEPRECATED --replacement={name}` does it by hand.",
            ) from error
        report(Note("deprecated", ", ".join(record.deprecated) or f"no other image in family {spec.output.family}"))
    return "built"


def _output_name(spec: BuildSpec, source: ResolvedImage) -> str:
    try:
        return spec.output.name_for(source.name)
    except ValueError as error:
        raise UsageError(f"-image-suffix: {error}") from None


def _existing_output(record: Record, name: str) -> ResolvedImage | None:
    existing = image_tasks.find_output(record.spec.output.project, name)
    if existing is None or existing.status == "READY":
        return existing
    if existing.status == "PENDING":
        report(Note("image", f"{existing.path} is being made by another build; waiting for it"))
    return image_tasks.wait_until_ready(existing)


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


def _upload_context(record: Record, undoing: Undoing) -> scratch_tasks.Archive:
    spec, build = record.spec, record.build
    directory = tempfile.TemporaryDirectory(prefix="cos-customizer-")
    undoing.add(f"directory {directory.name}", directory.cleanup)
    archive = scratch_tasks.archive(spec.context, spec.steps, Path(directory.name))
    requests.user_data(spec, build, archive.sha256)  # whether it fits
    bucket, name = spec.scratch.bucket, build.scratch(spec.scratch.workdir) + "context.tar.gz"
    undoing.add(f"gs://{bucket}/{name}", lambda: Counter({"object": scratch.delete(clients(), bucket, name)}))
    expires = requests.expiry(spec.timeout_seconds, time.time())
    scratch_tasks.upload_context(archive, bucket, name, build, expires)
    return archive


def _create_builder_vm(
    record: Record, undoing: Undoing, source: ResolvedImage, zones: list[str], sha256: str, now: float
) -> str:
    spec, build, project = record.spec, record.build, record.spec.builder.project
    user_data = requests.user_data(spec, build, sha256)
    for zone in zones:
        body = requests.builder_vm(spec, build, zone, source.path, source.architecture, user_data, now)
        undo = partial(_delete_builder_vm, project, zone, build)
        undoing.add(f"builder VM {build.builder_vm} in {zone}", undo)
        try:
            vm_tasks.create_builder_vm(project, zone, body, build)
        except StockOutError as error:
            if zone == zones[-1]:
                raise
            report(Note("stock-out", f"{error.message}; trying the next zone", "warning"))
            undo()  # what it may have left, before anything else is made; again at the end, which costs nothing
        else:
            life = human_duration(requests.life_of_builder_vm(spec.timeout_seconds))
            machine = requests.machine_type_of(spec, source.architecture)
            report(Note("builder VM", f"{build.builder_vm} in {zone} ({machine}), at most {life} of life"))
            return zone
    raise AssertionError("a specification has at least one zone")


def _delete_builder_vm(project: str, zone: str, build: BuildNames) -> "Counter[str]":
    vms, disks = instances.delete_builder_vm(clients(), project, zone, build)
    return Counter({"VM": vms, "disk": disks})


def _follow(record: Record, undoing: Undoing, zone: str) -> None:
    spec, build = record.spec, record.build
    project, vm = spec.builder.project, build.builder_vm
    labels = [step.label for step in spec.steps]
    console = record.console = console_tasks.GuestConsole(
        SerialConsole(clients(), project, zone, vm, PORT),
        lambda: instances.builder_vm_status(clients(), project, zone, vm),
        partial(_store_serial_log, record),
        build.nonce,
        labels,
    )
    undoing.add("serial log", partial(_keep_serial_log, console))
    for number, label in enumerate(labels, start=1):
        console_tasks.follow_step(console, number, label)
    console_tasks.follow_end(console)


def _check_again(record: Record) -> None:
    """Hear the guest once more: a VM that has restarted by itself after its last word has begun the build anew."""
    assert record.console
    with suppress(CustomizerError):
        record.console.read()
    record.console.raise_failure()


def _keep_serial_log(console: console_tasks.GuestConsole) -> None:
    try:
        console.store()
    except CustomizerError as error:  # nothing is left behind by that
        report(Note("serial log", error.message, "warning"))


def _store_serial_log(record: Record, log: IO[bytes]) -> None:
    """Keep what the console has said: it dies with the VM."""
    spec, build = record.spec, record.build
    bucket, name = spec.scratch.bucket, build.scratch(spec.scratch.workdir) + "serial.log"
    expires = time.time() + _SERIAL_LOG_LIFE
    scratch.upload(clients(), bucket, name, log, build.labels(expires), expires)
    record.serial_log = f"gs://{bucket}/{name}"


def _create_image(record: Record, undoing: Undoing, body: dict[str, Any], vm_runs: bool) -> ResolvedImage:
    build, name, project = record.build, record.output_name, record.spec.output.project
    keep = undoing.add(
        f"unfinished image {project}/{name}",
        lambda: Counter({"image": int(images.delete_unfinished_image(clients(), project, name, build))}),
    )
    began = time.monotonic()
    image = image_tasks.create_image(project, body, build, vm_runs)
    keep()
    report(Note("image", f"{image.path} ({human_duration(time.monotonic() - began)})"))
    return image


def _undo(record: Record, undoing: Undoing) -> None:
    with record.phase("clean-up"):
        undoing.run()
    record.leftovers = undoing.leftovers
    if undoing.removed:
        report(Note("cleaned up", undoing.summary()))
    if record.serial_log:
        report(Note("serial log", record.serial_log))
    for leftover in undoing.leftovers:
        report(Note("left behind", leftover, "error"))
