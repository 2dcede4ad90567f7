"""Sweeping away what is left of builds: plan first, then delete VMs, disks, images and objects."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from google.api_core import exceptions
from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.families.sweep import OBJECTS, Leftover, decide, plan_sweep
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import BUILD_LABEL, STATE_LABEL, UNRELEASED
from cos_customizer.customizer.references import ImageRef, VmRef
from cos_customizer.gcp import calls, deletion
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.families import aggregated
from cos_customizer.gcp.images import ResolvedImage, find_image, list_images

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
    return plan_sweep(things, now)


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
    return Leftover("VM", zone, vm.name, str(vm.id), dict(vm.labels))


def _disks(clients: Clients, project: str) -> list[Leftover]:
    request = compute_v1.AggregatedListDisksRequest(project=project, filter=_LABELLED, max_results=500)
    found = aggregated(clients.disks.aggregated_list, request, "disks", project)
    return [_disk(zone, disk) for zone, disk in found if not disk.region]


def _disk(zone: str, disk: compute_v1.Disk) -> Leftover:
    users = tuple(user.rpartition("/")[2] for user in disk.users)
    return Leftover("disk", zone, disk.name, str(disk.id), dict(disk.labels), users=users)


def _images(clients: Clients, project: str) -> list[Leftover]:
    found = list_images(clients, project, f"labels.{STATE_LABEL} = {UNRELEASED}")
    return [_image(image) for image in found]


def _image(image: ResolvedImage) -> Leftover:
    return Leftover("image", image.project, image.name, image.id, image.labels, image.family)


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
    try:
        blobs = list(
            clients.storage.list_blobs(
                bucket,
                match_glob=OBJECTS,
                page_size=1000,
                fields="items(name,generation,metageneration,metadata),nextPageToken",
                timeout=calls.REQUEST_TIMEOUT,
                retry=calls.RETRY,
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
    """Delete what is to be deleted: each is looked at once more, for its labels may have changed.

    Args:
        clients: Google's clients.
        project: of the VMs and disks.
        decided: by `plan`.
        now: Unix time.

    Returns:
        What came of everything, in the same order.
    """
    sweeper = _Sweeper(clients, project, now)
    ended: dict[int, Removal] = {}
    # VMs first: their disks go with them, or can be deleted then.
    for kind in ("VM", "disk", "image", "object"):
        going = {n: thing for n, (thing, removal) in enumerate(decided) if _goes(thing, removal, kind)}
        ended |= dict(zip(going, sweeper.sweep(list(going.values())), strict=True))
    return [ended.get(n, removal) for n, (_, removal) in enumerate(decided)]


def _goes(thing: Leftover, removal: Removal, kind: str) -> bool:
    return removal.action == "delete" and thing.kind == kind


class _Sweeper:
    def __init__(self, clients: Clients, project: str, now: float) -> None:
        self._clients, self._project, self._now = clients, project, now

    def sweep(self, things: Sequence[Leftover]) -> list[Removal]:
        """Delete things of one kind; what came of each."""
        if things and things[0].kind == "object":
            return [self._delete_object(thing) for thing in things]
        checked = [self._check_again(thing) for thing in things]
        going = [look for look in checked if isinstance(look, deletion.Deletion)]
        deleted = iter(deletion.delete_all(self._clients, going))
        return [next(deleted) if isinstance(look, deletion.Deletion) else look for look in checked]

    def _check_again(self, thing: Leftover) -> deletion.Deletion | Removal:
        before = decide(thing, self._now)
        try:
            again = self._read(thing)
        except CustomizerError as error:
            return before.ended("failed", error.message)
        if again is None or again.id != thing.id:  # a disk goes with its VM
            return before.ended("deleted") if thing.users else before.ended("gone", "somebody else has deleted it")
        verdict = decide(again, self._now)
        if verdict.action == "keep":
            return verdict
        if again.users:
            return verdict.ended("keep", f"attached to VM {again.users[0]}")
        return self._deletion(again, verdict)

    def _deletion(self, thing: Leftover, removal: Removal) -> deletion.Deletion:
        if thing.kind == "image":
            return deletion.image(self._clients, ImageRef(thing.where, thing.id), removal)
        make = deletion.vm if thing.kind == "VM" else deletion.disk
        return make(self._clients, VmRef(self._project, thing.where, thing.id), removal)

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
        blob = self._clients.storage.bucket(thing.where).blob(thing.name)
        try:
            blob.delete(
                if_generation_match=int(thing.id),
                if_metageneration_match=int(thing.version),
                timeout=calls.REQUEST_TIMEOUT,
                retry=calls.RETRY,
            )
        except exceptions.NotFound:
            return removal.ended("gone", "somebody else has deleted it")
        except exceptions.PreconditionFailed:
            return removal.ended("keep", "changed since it was looked at")
        except Exception as error:
            known = calls.translated(error, f"delete gs://{thing.where}/{thing.name}")
            return removal.ended("failed", known.message)
        return removal.ended("deleted")
