"""What refers to an image, and so keeps it: disks, instances, instance templates, other images."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.references import Link, may_name
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients


def images_in_use(
    clients: Clients,
    project: str,
    images: Mapping[str, str],
    projects: Sequence[str],
    ignored_disks: Collection[tuple[str, str]] = (),
) -> dict[str, str]:
    """What refers to images: disks in all zones, instances, instance templates (regional ones, too), other images.

    A machine image or a snapshot refers to none: it has the content itself.

    Args:
        clients: Google's clients.
        project: Of the images.
        images: The ids of those that matter, by name.
        projects: In which users are looked for.
        ignored_disks: Zone and name of disks of the first project that do not count: they are to be deleted as well.

    Returns:
        By image id, one of its users: `disk web-1 in us-west1-b`, `instance template web`. In doubt an image is used:
        what names it in a way that cannot be read, or by a project's number that cannot be looked up, may name it.

    Raises:
        CustomizerError: The API does not say, of one project.
    """
    search = _Search(_Projects(clients), project, images)
    for number, where in enumerate(projects):
        of = "" if where == project else f"{where}/"
        for zone, disk in aggregated(
            clients.disks.aggregated_list,
            compute_v1.AggregatedListDisksRequest(project=where, max_results=500),
            "disks",
            where,
        ):
            if number or (zone, disk.name) not in ignored_disks:
                search.made_from(disk.source_image_id, disk.source_image, where, f"disk {disk.name} in {of}{zone}")
        for zone, vm in aggregated(
            clients.instances.aggregated_list,
            compute_v1.AggregatedListInstancesRequest(project=where, max_results=500),
            "instances",
            where,
        ):
            for link in _sources(vm.disks):
                search.names(link, where, f"instance {vm.name} in {of}{zone}")
        for _, template in aggregated(
            clients.instance_templates.aggregated_list,
            compute_v1.AggregatedListInstanceTemplatesRequest(project=where, max_results=500),
            "instance_templates",
            where,
        ):
            for link in _sources(template.properties.disks):
                search.names(link, where, f"instance template {of}{template.name}")
        request = compute_v1.ListImagesRequest(project=where, max_results=500)
        for image in calls.listed(clients.images.list, request, f"list the images of {where}"):
            search.made_from(image.source_image_id, image.source_image, where, f"image {of}{image.name}")
    return search.used


def _sources(disks: Iterable[compute_v1.AttachedDisk]) -> Iterator[str]:
    """What disks are made from: an image or a family."""
    return (disk.initialize_params.source_image for disk in disks)


class _Projects:
    """Which ids and numbers are those of one project: https://cloud.google.com/compute/docs/reference/rest/v1/projects/get."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._ids: dict[str, str] = {}

    def same(self, one: str, other: str) -> bool | None:
        """Whether two ids or numbers are of one project; None if that cannot be looked up."""
        if one == other:
            return True
        ids = self._id(one), self._id(other)
        return ids[0] == ids[1] if all(ids) else None

    def _id(self, project: str) -> str:
        """A project's id; empty if its number cannot be looked up."""
        if not project.isdecimal():
            return project
        if project not in self._ids:
            request = compute_v1.GetProjectRequest(project=project)
            try:
                found = calls.call(self._clients.projects.get, request, f"read project {project}").name
            except CustomizerError:
                found = ""
            self._ids[project] = "" if found.isdecimal() else found
        return self._ids[project]


@dataclass
class _Search:
    """Notes what refers to images.

    Attributes:
        projects: Compares projects.
        project: Of the images.
        ids: Their ids, by name.
        used: By id, the first user that was noted.
    """

    projects: _Projects
    project: str
    ids: Mapping[str, str]
    used: dict[str, str] = field(default_factory=dict)

    def made_from(self, image_id: str | int, link: str, where: str, user: str) -> None:
        """Note something that was made from the image of an id; where that is not told, of a link."""
        if not image_id:
            self.names(link, where, user)
        elif str(image_id) in self.ids.values():
            self.used.setdefault(str(image_id), user)

    def names(self, text: str, where: str, user: str) -> None:
        """Note something that has a link, in a project which the link may be relative to."""
        link = Link.parse(text)
        if link is None:
            for name, image_id in self.ids.items():
                if may_name(text, name, image_id):
                    self.used.setdefault(image_id, f"{user}, as it seems: it names {text!r}")
            return
        found = [image_id for name, image_id in self.ids.items() if link.name in (name, image_id)]
        if link.kind != "images" or not found:  # a family: what it gives is kept in any case
            return
        same = self.projects.same(link.project or where, self.project)
        if same is not False:
            doubt = "" if same else f", as it seems: project {link.project} could not be looked up"
            self.used.setdefault(found[0], user + doubt)


def aggregated(method: Any, request: Any, kind: str, project: str) -> list[tuple[str, Any]]:
    """Everything that an aggregated list gives, page by page, each with its zone.

    Args:
        method: of a Google client.
        request: the method's request message.
        kind: `disks`, `instances` or `instance_templates`.
        project: for error messages.

    Raises:
        CustomizerError: the API does not say.
    """
    doing = f"list the {kind.replace('_', ' ')} of {project}"
    found = calls.listed(method, request, doing)
    return [(scope.rpartition("/")[2], item) for scope, part in found for item in getattr(part, kind)]
