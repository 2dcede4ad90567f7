"""The output image of a build: looked up, adopted or created, verified, released, and what is undone if that fails."""

import time
from datetime import UTC, datetime
from typing import Any

from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.errors import BuildFailedError, ConflictError, CustomizerError, NotFoundError
from cos_customizer.customizer.families.existing import what_is_there
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import (
    BUILD_LABEL,
    EXPIRY_LABEL,
    FAILED,
    STATE_LABEL,
    TEMPORARY_LABELS,
    UNRELEASED,
    BuildNames,
)
from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.reporting.announcements import ImageReleased, ImageVerified
from cos_customizer.customizer.reporting.events import Note, publish
from cos_customizer.flows.guest_vm import GuestVm
from cos_customizer.flows.record import Record
from cos_customizer.flows.undoing import SWEEP_TAKES_IT, Entry, Undoing
from cos_customizer.gcp import image_bodies, images, request_bodies
from cos_customizer.gcp.clients import clients
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.tasks import images as image_tasks


class OutputImage:
    """The life of one output image.

    Attributes:
        ref: What names it.
        image: It, as it was last seen; None if it is not there.
    """

    def __init__(self, record: Record, undoing: Undoing, name: str) -> None:
        self._record = record
        self._spec = record.spec
        self._undoing = undoing
        self._entry: Entry | None = None
        self._with_it: list[Entry] = []
        self._replaces = ""
        self._passed: tuple[str, ...] = ()
        self.ref = ImageRef(record.spec.output.project, name)
        self.image: ResolvedImage | None = None

    def goes_with(self, entry: Entry) -> None:
        """Let something stay if the image stays, and be undone else."""
        self._with_it.append(entry)

    def _keep_what_goes_with_it(self) -> None:
        for entry in self._with_it:
            entry.cancel()

    def is_released(self) -> bool:
        """Whether it is there for people to use."""
        return self.image is not None and not self._is_unreleased

    @property
    def _is_unreleased(self) -> bool:
        return self.image is not None and self.image.state == UNRELEASED

    def look_up(self) -> None:
        """Find out whether it is there already; one that another build creates is waited for.

        Raises:
            CustomizerError: It is there, and will never be of use.
        """
        found = image_tasks.find_image(self.ref)
        if found is not None and found.status != "READY":
            if found.status == "PENDING":
                publish(Note("image", f"{found.path} is being made by another build; waiting for it"))
            found = image_tasks.wait_until_ready(found)
        if found is not None and found.state == FAILED:
            raise CustomizerError(
                f"image {found.project}/{found.name} exists, has failed its verification and was kept",
                "look at it and delete it, or choose another name.",
            )
        self.image = found

    def adopt(self, fingerprint: str) -> None:
        """Adopt an image that an earlier build has left unreleased, if this one may release it.

        An image that is too old for that is deleted, to be created anew. One of another recipe that is in its family
        was verified, and is released as its own build would have done.

        Args:
            fingerprint: Of this build's recipe.

        Raises:
            ConflictError: It was made by another recipe, and its build may still be at work.
        """
        image = self.image
        if image is None or not self._is_unreleased:
            return
        provenance = image.provenance
        same_recipe = provenance is not None and provenance.recipe == fingerprint
        expires = image.labels.get(EXPIRY_LABEL, "")
        if image.family and not (same_recipe and image.family == self._spec.output.family):
            labels = {key: value for key, value in image.labels.items() if key not in TEMPORARY_LABELS}
            self.image = image_tasks.release_image(image, image.family, labels, self._record.build)
            self._announce_release(self.image, same_recipe)
        elif image.family:
            publish(Note("image", f"{image.path} is in its family by a build that has not ended; releasing it"))
        elif same_recipe:
            doing = "verifying it" if self._spec.verify.asked_for else "releasing it"
            publish(Note("image", f"{image.path} exists and was never released; {doing}"))
            self._renew_expiry(image)
        elif provenance is not None and expires.isdecimal() and int(expires) < time.time():
            publish(Note("image", f"{image.path} exists, was never released and has expired; making it anew"))
            removals = image_tasks.delete_unfinished(self.ref, BuildNames(provenance.build))
            if failed := [removal for removal in removals if removal.action == "failed"]:
                raise CustomizerError(failed[0].reason)
            self.image = None
        else:
            raise ConflictError(
                f"image {image.project}/{image.name} exists, was never released, and was not made by this recipe",
                "another build may be verifying it: wait for that, choose another name, or delete the image.",
            )

    def succeed(self, fingerprint: str) -> None:
        """Become the image that takes the place of the one that has the name, which is there and released.

        It is the newest of those that have done so already, if this recipe has made that; see `gcp.succession`.

        Args:
            fingerprint: Of this build's recipe.
        """
        image, base = self._seen(), self.ref.name
        day = datetime.now(UTC).date()
        name = image_tasks.name_of_successor(self.ref.project, base, fingerprint, day)
        self._replaces = base if name != base else ""
        if not self._replaces:
            return
        found = self._record.maker_of(image, fingerprint)
        publish(Note("image", f"{what_is_there(image.name, image.created, found)}: {name} takes its place"))
        self.ref, self.image = ImageRef(self.ref.project, name), None
        self.look_up()
        self.adopt(fingerprint)

    def _renew_expiry(self, image: ResolvedImage) -> None:
        """Renew its expiry, so that no sweep deletes it while it is verified."""
        later = int(request_bodies.expiry(self._spec.timeout_seconds, time.time()))
        try:
            self.image = image_tasks.label_image(image, {**image.labels, EXPIRY_LABEL: str(later)})
        except (ConflictError, NotFoundError):  # its own build was not dead, and has released or deleted it
            self.look_up()
            if self._is_unreleased:
                raise

    def create(self, body: dict[str, Any], vm_runs: bool) -> None:
        """Make it of the builder VM's disk.

        Args:
            body: Of `images.insert`.
            vm_runs: Whether the VM still counts as running.

        Raises:
            CustomizerError: It could not be created.
        """
        what = f"unfinished image {self.ref.project}/{self.ref.name}"
        self._entry = self._undoing.add(what, self._undo_creation, SWEEP_TAKES_IT)
        began = time.monotonic()
        self.image = image_tasks.create_image(self.ref.project, body, self._record.build, vm_runs)
        publish(Note("image", f"{self.image.path} ({human_duration(time.monotonic() - began)})"))

    def _undo_creation(self) -> list[Removal]:
        """Delete it, unless it is in its family: then it was verified, and somebody may have got it."""
        build = self._record.build
        removals = image_tasks.delete_unfinished(self.ref, build)
        if any(removal.action == "failed" for removal in removals):
            self._keep_what_goes_with_it()  # `sweep` takes both, or the next build releases it
        if not removals:
            left = images.find_image(clients(), self.ref)
            if left is not None and left.made_by(build):
                self._keep_what_goes_with_it()
                family = f", it is in family {left.family}" if left.family else ""
                publish(Note("image", f"{left.path} stays{family}"))
                self._record.output = left
        return removals

    def _keep(self) -> None:
        """Let it stay when the build ends. Who keeps an image: `create`, `release` and `_keep_failed`."""
        if self._entry is not None:
            self._entry.cancel()
        self._keep_what_goes_with_it()

    def is_ours_and_current(self) -> bool:
        """Whether it was made by this tool, for the family that is asked for, and has not been replaced since."""
        image = self._seen()
        ours = image.provenance is not None and image.family == (self._spec.output.family or "")
        return ours and not image.deprecation

    def verify(self, zones: list[str], user_data: str, secret_manager: str | None) -> None:
        """Boot a test VM from it, and run the scripts that verify it; not if it is in its family, and so was verified.

        Args:
            zones: To test in; the builder VM's is tried first.
            user_data: The test VM's.
            secret_manager: Where it is to be told that Secret Manager is, if it is.

        Raises:
            BuildFailedError: It does not boot, or a script has failed. It is left to undoing, or kept and labelled, as
                the specification says.
            CustomizerError: It could not be tried.
        """
        image = self._seen()
        if image.family:
            return
        spec, build = self._spec, self._record.build
        vm = GuestVm(self._record, self._undoing.part(), "verify", [script.label for script in spec.verify.scripts])
        request = request_bodies.VmRequest(spec, build, image.path, image.architecture, user_data, secret_manager)
        zones = sorted(zones, key=lambda zone: zone != self._record.zones.get("build"))
        test_vm = vm.create(zones, lambda zone: request_bodies.test_vm(request, zone, time.time()))
        try:
            vm.follow(test_vm)
        except BuildFailedError as error:
            vm.undoing.run()
            kept = spec.verify.keep_failed_image and self._keep_failed(image)
            if not kept:
                self._discard(image)
            what = f"it is kept in no family, labelled {STATE_LABEL}={FAILED}" if kept else "it is deleted"
            message = f"image {image.name} is not released, {what}: {error.message}"
            raise BuildFailedError(message, error.hint, error.output) from error
        self._passed = ("boot", *vm.labels)
        publish(Note("verified", f"{image.name} boots" + (" and passes" if vm.labels else "")))
        family, scripts = spec.output.family or "", tuple(vm.labels)
        publish(
            ImageVerified(
                project=image.project,
                image=image.name,
                image_id=image.id,
                family=family,
                build_id=build.id,
                scripts=scripts,
            )
        )

    def _keep_failed(self, image: ResolvedImage) -> bool:
        labels = {**self._labels(), STATE_LABEL: FAILED, BUILD_LABEL: self._record.build.id}
        try:
            image_tasks.label_image(image, labels)
        except CustomizerError as error:
            publish(Note("image", error.message, "warning"))
            return False
        self._keep()
        return True

    def _discard(self, image: ResolvedImage) -> None:
        """Let an image that has failed go when the build ends, also one that an earlier build has made."""
        owner = BuildNames(image.provenance.build if image.provenance else "")
        self._undoing.add(
            f"failed image {image.project}/{image.name}", lambda: image_tasks.delete_unfinished(image.ref, owner)
        )

    def release(self) -> None:
        """Put it into its family, with the labels that were asked for and no others; it stays from then on.

        Raises:
            CustomizerError: It could not be released.
        """
        image, family = self._seen(), self._spec.output.family or ""
        try:
            self.image = image_tasks.release_image(image, family, self._labels(), self._record.build)
            self._record.output = self.image  # it stays, whatever else goes wrong
        except CustomizerError as error:
            made = "verified" if self._spec.verify.asked_for else "made"
            raise CustomizerError(
                f"image {image.name} is {made}, but its release is not complete: {error.message}",
                error.hint or "start the build again when the cause is gone.",
            ) from error
        if family or self._spec.verify.asked_for:
            publish(Note("released", f"{image.name} to family {family}" if family else image.name))
        self._keep()
        self._announce_release(self.image, is_of_recipe=True)

    def _announce_release(self, image: ResolvedImage, is_of_recipe: bool) -> None:
        """Tell that an image is there for everybody; what it was made of is known if this recipe has made it."""
        record, source = self._record, self._record.source
        assert source
        made_of: dict[str, Any] = {
            "verified": self._passed,
            "source_image": source.name,
            "source_image_id": source.id,
            "context_sha256": record.context_sha256,
            "upstream": record.upstream(),
        }
        publish(
            ImageReleased(
                project=image.project,
                image=image.name,
                image_id=image.id,
                family=image.family,
                build_id=record.build.id,
                adopted=not image.made_by(record.build),
                disk_size_gb=image.disk_size_gb,
                archive_size_bytes=image.archive_size_bytes,
                **(made_of if is_of_recipe else {}),
            )
        )

    def _labels(self) -> dict[str, str]:
        source = self._record.source
        assert source
        return image_bodies.labels_of(self._spec.output, source.labels)

    def deprecate_older(self) -> None:
        """Deprecate the images that it takes the place of, and the family's older ones if the specification says so.

        Raises:
            CustomizerError: One could not be deprecated.
        """
        output, image = self._spec.output, self._seen()
        if self._replaces:
            self._deprecate_replaced()
        if not output.deprecate_old_images or not output.family:
            return
        body = image_bodies.deprecation(image.path, output.old_image_ttl, time.time())
        try:
            deprecated = image_tasks.deprecate_old_images(output.family, image, body, self._record.build)
        except CustomizerError as error:
            raise CustomizerError(
                f"image {image.name} is made, but its family's older images are not all deprecated: {error.message}",
                f"`gcloud compute images deprecate OLD --state=DEPRECATED --replacement={image.name}` does it by hand.",
            ) from error
        self._record.deprecated += deprecated
        publish(Note("deprecated", ", ".join(deprecated) or f"no older image in family {output.family}"))

    def _deprecate_replaced(self) -> None:
        image = self._seen()
        body = image_bodies.deprecation(image.path, self._spec.output.old_image_ttl, time.time())
        try:
            replaced = image_tasks.replace_older(self._replaces, image, body, self._record.build)
        except CustomizerError as error:
            raise CustomizerError(
                f"image {image.name} is made, but what it replaces is not all deprecated: {error.message}",
                error.hint or "start the build again when the cause is gone.",
            ) from error
        self._record.deprecated += replaced.deprecated
        if replaced.deprecated:
            publish(Note("replaced", f"{', '.join(replaced.deprecated)} by {image.name}"))
        for name in replaced.kept:
            why = f"its family would give no image without it, for {image.name} is not in that"
            publish(Note("replaced", f"{name} is not deprecated: {why}", "warning"))

    def _seen(self) -> ResolvedImage:
        assert self.image, "it was neither found nor created"
        return self.image
