"""Sweeping away what is left of builds: plan first, then delete VMs, disks, images and objects."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from google.api_core import exceptions
from google.cloud import compute_v1

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.families.sweep import OBJECTS, Leftover, decide, in_use, plan_sweep
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import BUILD_LABEL, STATE_LABEL, UNRELEASED
from cos_customizer.customizer.references import ImageRef, Link, ObjectRef, VmRef
from cos_customizer.gcp import calls, contents_removal, deletion
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.contents import image_named_in, image_told_of
from cos_customizer.gcp.fresh_reading import FreshReading
from cos_customizer.gcp.image_users import aggregated, images_in_use
from cos_customizer.gcp.images import ResolvedImage, find_image, list_images
from cos_customizer.gcp.side_by_side import do_all

Decision = tuple[Leftover, Removal]

_LABELLED = f"labels.{BUILD_LABEL}:*"


@dataclass(frozen=True)
class SweepScope:
    """Where to sweep.

    Attributes:
        project: whose VMs and disks, in all zones.
        image_projects: whose unreleased images; none: `project`.
        buckets: whose objects; none: Cloud Build's bucket of the project, if there is one.
    """

    project: str
    image_projects: Sequence[str] = ()
    buckets: Sequence[str] = ()


def plan(clients: Clients, scope: SweepScope, now: float) -> list[Decision]:
    """Decide on everything that bears our label. Nothing is changed.

    Args:
        clients: Google's clients.
        scope: where to look.
        now: Unix time.

    Returns:
        What was found, and what is to become of it; see `plan_sweep`.

    Raises:
        CustomizerError: the API does not say, or a bucket that was named is not there.
    """
    things = [*_vms(clients, scope.project), *_disks(clients, scope.project)]
    for project in scope.image_projects or [scope.project]:
        things += _images(clients, project)
    if scope.buckets:
        for bucket in scope.buckets:
            things += _objects(clients, bucket)
    else:
        things += _objects_of_project(clients, scope.project)
    decided = _plan_for_images(clients, scope.project, things, now)
    return plan_sweep(_with_images_told_of(clients, decided), now)


def _plan_for_images(clients: Clients, project: str, things: Sequence[Leftover], now: float) -> list[Decision]:
    """Decide on everything, by what uses images too."""
    decided = plan_sweep(things, now)
    if not any(_goes(thing, removal, "image") for thing, removal in decided):  # else its users do not matter
        return decided
    # Disks that are to go as well keep no image: the test VM's, above all.
    disks = {(thing.where, thing.name) for thing, removal in decided if _goes(thing, removal, "disk")}
    used = _users(clients, project, [thing for thing, removal in decided if _goes(thing, removal, "image")], disks)
    return plan_sweep([replace(thing, users=used.get(_key(thing), thing.users)) for thing in things], now)


def _with_images_told_of(clients: Clients, decided: Sequence[Decision]) -> list[Leftover]:
    """The things, with the images that objects tell of as these objects' users, unless those images go too."""
    asked = [thing for thing, removal in decided if _goes(thing, removal, "object") and thing.tells_of_image]
    named = {_key(thing): image_named_in(thing.labels) for thing in asked}
    there = {project: _images_of(clients, project) for project in {ref.project for ref in named.values() if ref}}
    going = {ImageRef(thing.where, thing.name) for thing, removal in decided if _goes(thing, removal, "image")}

    def users(thing: Leftover) -> tuple[str, ...]:
        ref = named.get(_key(thing))
        if ref is None or ref in going:
            return thing.users
        images = there[ref.project]
        if images is None:
            return (f"an image, perhaps: those of {ref.project} cannot be listed",)
        return (f"image {ref.project}/{ref.name}",) if images.get(ref.name) == thing.labels[BUILD_LABEL] else ()

    return [replace(thing, users=users(thing)) for thing, _ in decided]


def _images_of(clients: Clients, project: str) -> dict[str, str] | None:
    """By name, which builds have made the images of a project; None if they cannot be listed."""
    try:
        return {image.name: image.provenance.build for image in list_images(clients, project) if image.provenance}
    except CustomizerError:
        return None


def _key(thing: Leftover) -> tuple[str, str, str]:
    return thing.kind, thing.where, thing.id


def _users(
    clients: Clients, project: str, images: Sequence[Leftover], ignored_disks: Collection[tuple[str, str]] = ()
) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """What refers to images, by their keys; those that nothing refers to are not there."""
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for where in dict.fromkeys(image.where for image in images):
        ids = {image.name: image.id for image in images if image.where == where}
        used = images_in_use(clients, where, ids, list(dict.fromkeys((project, where))), ignored_disks)
        found |= {("image", where, image_id): (user,) for image_id, user in used.items()}
    return found


def plan_machines(clients: Clients, project: str, zones: Collection[str], now: float) -> list[Decision]:
    """Decide on the VMs and disks of some zones alone, as `plan` does it.

    Args:
        clients: Google's clients.
        project: whose.
        zones: their zones.
        now: Unix time.

    Raises:
        CustomizerError: the API does not say.
    """
    things = [*_vms(clients, project), *_disks(clients, project)]
    return plan_sweep([thing for thing in things if thing.where in zones], now)


def _vms(clients: Clients, project: str) -> list[Leftover]:
    request = compute_v1.AggregatedListInstancesRequest(project=project, filter=_LABELLED, max_results=500)
    found = aggregated(clients.instances.aggregated_list, request, "instances", project)
    return [_vm(zone, vm) for zone, vm in found]


def _vm(zone: str, vm: compute_v1.Instance) -> Leftover:
    going = [Link.parse(disk.source) for disk in vm.disks if disk.auto_delete and disk.source]
    takes = tuple(link.name if link else "of an unknown name" for link in going)
    return Leftover("VM", zone, vm.name, str(vm.id), dict(vm.labels), takes=takes)


def _disks(clients: Clients, project: str) -> list[Leftover]:
    request = compute_v1.AggregatedListDisksRequest(project=project, filter=_LABELLED, max_results=500)
    found = aggregated(clients.disks.aggregated_list, request, "disks", project)
    return [_disk(zone, disk) for zone, disk in found if not disk.region]


def _disk(zone: str, disk: compute_v1.Disk) -> Leftover:
    users = tuple(link.name if (link := Link.parse(user)) else user for user in disk.users)
    return Leftover("disk", zone, disk.name, str(disk.id), dict(disk.labels), users=users)


def _images(clients: Clients, project: str) -> list[Leftover]:
    found = list_images(clients, project, f"labels.{STATE_LABEL} = {UNRELEASED}")
    return [_image(image) for image in found]


def _image(image: ResolvedImage) -> Leftover:
    made_by = image.provenance
    return Leftover(
        kind="image",
        where=image.project,
        name=image.name,
        id=image.id,
        labels=image.labels,
        family=image.family,
        ours=made_by is not None,
        contents=made_by.recorded_contents if made_by else None,
    )


def _objects_of_project(clients: Clients, project: str) -> list[Leftover]:
    # A project of a domain has a bucket of another name, which then must be named.
    try:
        return _objects(clients, f"{project}_cloudbuild") if ":" not in project else []
    except NotFoundError:
        return []


def _objects(clients: Clients, bucket: str) -> list[Leftover]:
    """The objects of a bucket that may be ours, by their names; what they are for, their metadata says.

    Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob.
    """
    doing = f"list the objects of gs://{bucket}"
    deadline.check(doing)
    try:
        blobs = list(
            clients.storage.list_blobs(
                bucket,
                match_glob=OBJECTS,
                page_size=1000,
                fields="items(name,generation,metageneration,metadata),nextPageToken",
                **calls.patience(),
            )
        )
    except exceptions.NotFound as error:
        raise NotFoundError(
            f"could not {doing}: there is no such bucket", Message("{} names it.", FieldPath("gcs_buckets"))
        ) from error
    except Exception as error:
        raise calls.translated(error, doing) from error
    return [
        Leftover(
            kind="object",
            where=bucket,
            name=blob.name,
            id=str(blob.generation),
            labels=blob.metadata,
            version=str(blob.metageneration),
        )
        for blob in blobs
        if BUILD_LABEL in (blob.metadata or {})
    ]


def apply(clients: Clients, project: str, decided: Sequence[Decision], now: float) -> list[Removal]:
    """Delete what is to be deleted: each is judged again right before, for its labels may have changed.

    Args:
        clients: Google's clients.
        project: of the VMs and disks.
        decided: by `plan`.
        now: Unix time.

    Returns:
        What came of everything, in the same order; then of what is recorded of images that are gone, elsewhere than
        where objects were looked for.
    """
    sweeper = _Sweeper(clients, project, now)
    ended: dict[int, Removal] = {}
    # VMs first: their disks go with them, or can be deleted then.
    for kind in ("VM", "disk", "image", "object"):
        going = {n: thing for n, (thing, removal) in enumerate(decided) if _goes(thing, removal, kind)}
        ended |= dict(zip(going, sweeper.sweep(list(going.values())), strict=True))
    done = [ended.get(n, removal) for n, (_, removal) in enumerate(decided)]
    seen = {ObjectRef(thing.where, thing.name) for thing, _ in decided if thing.kind == "object"}
    for (thing, _), removal in zip(decided, done[:], strict=True):
        if thing.contents and thing.contents not in seen and removal.action == "deleted":
            done += contents_removal.discard(clients, thing.contents, thing.labels[BUILD_LABEL])
    return done


def _goes(thing: Leftover, removal: Removal, kind: str) -> bool:
    return removal.action == "delete" and thing.kind == kind


@dataclass(frozen=True)
class _Images:
    """What was read of images.

    Attributes:
        users: What refers to them, by their keys.
        unreleased: Those in the state `unreleased`, by their keys.
    """

    users: dict[tuple[str, str, str], tuple[str, ...]]
    unreleased: dict[tuple[str, str, str], Leftover]


class _Sweeper:
    def __init__(self, clients: Clients, project: str, now: float) -> None:
        self._clients, self._project, self._now = clients, project, now

    def sweep(self, things: Sequence[Leftover]) -> list[Removal]:
        """Delete things of one kind, side by side; what came of each."""
        if things and things[0].kind == "object":
            return do_all(self._delete_object, things)
        readings = FreshReading(things, self._read_images)
        deletions = [self._deletion(number, thing, readings) for number, thing in enumerate(things)]
        return deletion.delete_all(self._clients, deletions)

    def _deletion(self, number: int, thing: Leftover, readings: FreshReading[Leftover, "_Images"]) -> deletion.Deletion:
        removal = decide(thing, self._now)

        def judge() -> Removal:
            images = readings.about(number) if thing.kind == "image" else _Images({}, {})
            return self._judge_again(thing, removal, images)

        if thing.kind == "image":
            return deletion.image(self._clients, ImageRef(thing.where, thing.id), removal, judge)
        make = deletion.vm if thing.kind == "VM" else deletion.disk
        return make(self._clients, VmRef(self._project, thing.where, thing.id), removal, judge)

    def _read_images(self, images: Sequence[Leftover]) -> "_Images":
        """What uses images, and what they are now; the former first: it costs most."""
        users = _users(self._clients, self._project, images)
        projects = dict.fromkeys(image.where for image in images)
        now = [image for project in projects for image in _images(self._clients, project)]
        return _Images(users, {_key(image): image for image in now})

    def _judge_again(self, thing: Leftover, before: Removal, images: "_Images") -> Removal:
        """What is to become of a thing as it is now."""
        again = images.unreleased.get(_key(thing)) or self._read(thing)
        if again is None or again.id != thing.id:  # a disk goes with its VM
            return before.ended("deleted") if thing.users else before.ended("gone", "somebody else has deleted it")
        verdict = decide(again, self._now)
        users = images.users.get(_key(thing)) or again.users
        return in_use(again, verdict, users) if verdict.action == "delete" and users else verdict

    def _read(self, thing: Leftover) -> Leftover | None:
        """The thing as it is now, or what has its name now; None if there is none."""
        doing, where = f"read {thing.kind} {thing.name}", {"project": self._project, "zone": thing.where}
        try:
            if thing.kind == "VM":
                vm = compute_v1.GetInstanceRequest(**where, instance=thing.name)
                return _vm(thing.where, calls.call(self._clients.instances.get, vm, doing))
            if thing.kind == "disk":
                disk = compute_v1.GetDiskRequest(**where, disk=thing.name)
                return _disk(thing.where, calls.call(self._clients.disks.get, disk, doing))
        except NotFoundError:
            return None
        image = find_image(self._clients, ImageRef(thing.where, thing.name))
        return _image(image) if image else None

    def _delete_object(self, thing: Leftover) -> Removal:
        """Delete an object if neither it nor its metadata has changed since it was looked at."""
        removal = decide(thing, self._now)
        if thing.tells_of_image:
            try:
                image = image_told_of(self._clients, thing.labels)
            except CustomizerError as error:
                return removal.ended("failed", error.message, error.hint)
            if image is not None:
                return in_use(thing, removal, [f"image {image.project}/{image.name}"])
        blob = self._clients.storage.bucket(thing.where).blob(thing.name)
        doing = f"delete gs://{thing.where}/{thing.name}"
        try:
            deadline.check(doing)
            blob.delete(
                if_generation_match=int(thing.id),
                if_metageneration_match=int(thing.version),
                **calls.patience(),
            )
        except exceptions.NotFound:
            return removal.ended("gone", "somebody else has deleted it")
        except exceptions.PreconditionFailed:
            return removal.ended("keep", "changed since it was looked at")
        except Exception as error:
            known = calls.translated(error, doing)
            return removal.ended("failed", known.message, known.hint)
        return removal.ended("deleted")
