"""What becomes of images, for a feed of events that others act on: its names, resources and payloads.

Identifiers are URIs that serve as keys of Prefect's assets, too
(https://docs.prefect.io/v3/concepts/assets): `gce://PROJECT/FAMILY`, `gce://PROJECT/global/images/IMAGE`.
"""

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from cos_customizer.customizer.reporting.failure import Failure
    from cos_customizer.customizer.spec.model import BuildSpec, SourceImage

LONGEST_TEXT = 4000
"""Characters of a cause or a hint that go into a payload: whoever gets it is notified, and reads the log then."""
_ID, _NAME, _ROLE = "prefect.resource.id", "prefect.resource.name", "prefect.resource.role"

Resource = dict[str, str]
"""A resource of the feed: its id, its name, its role if it is a related one, and labels that triggers match."""


def image_key(project: str, name: str) -> str:
    """What identifies an image.

    Args:
        project: of the image.
        name: of the image.
    """
    return f"gce://{project}/global/images/{name}"


def family_key(project: str, family: str) -> str:
    """What identifies an image family.

    Args:
        project: of the family.
        family: its name.
    """
    return f"gce://{project}/{family}"


def source_key(source: "SourceImage") -> str:
    """What identifies where source images come from: a family, a milestone, or an image that never changes.

    Args:
        source: of a specification.
    """
    if source.family is not None:
        return family_key(source.project, source.family)
    if source.milestone is not None:
        return f"gce://{source.project}/milestones/{source.milestone}/{source.architecture.lower()}"
    return image_key(source.project, source.name or "")


def upstream_keys(spec: "BuildSpec", source_name: str = "") -> tuple[str, ...]:
    """What an image is made of: where its source comes from, the source image, the build context.

    Args:
        spec: of the build.
        source_name: of the source image; empty if it is not known yet.
    """
    context = spec.context.path
    image = [image_key(spec.source.project, source_name)] if source_name else []
    where = context if context.startswith("gs://") else f"file://{os.path.abspath(context)}"  # noqa: PTH100 - pathlib leaves `..`
    return tuple(dict.fromkeys([source_key(spec.source), *image, where]))


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """Something that has become of an image or a family, for others to act on. Its attributes are the payload.

    Attributes:
        project: its project.
    """

    event: ClassVar[str]
    """Its name in the feed."""

    project: str

    @property
    def resource(self) -> Resource:
        """What it is about."""
        raise NotImplementedError

    @property
    def related(self) -> list[Resource]:
        """What else has to do with it."""
        return []

    @property
    def once(self) -> str:
        """What is the same whenever this very thing is announced again, which counts once then; empty: it is new."""
        return ""

    @property
    def payload(self) -> dict[str, Any]:
        """All attributes, as JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class _OfImage(Announcement):
    """Something that has become of one image.

    Attributes:
        image: its name.
        family: its family; empty if it has none.
    """

    image: str
    family: str = ""

    @property
    def resource(self) -> Resource:
        """The image."""
        return {_ID: image_key(self.project, self.image), _NAME: self.image, "cos-customizer.project": self.project}

    @property
    def related(self) -> list[Resource]:
        """Its family, if it has one."""
        family = {_ID: family_key(self.project, self.family), _NAME: self.family, _ROLE: "image-family"}
        return [family] if self.family else []


@dataclass(frozen=True, kw_only=True)
class ImageVerified(_OfImage):
    """A test VM has booted from the image, and the scripts that verify it have succeeded. It is not released yet.

    Attributes:
        image_id: its numeric id.
        build_id: of the build that has tried it.
        scripts: labels of the scripts, in order.
    """

    event: ClassVar = "cos-customizer.image.verified"

    image_id: str
    build_id: str
    scripts: tuple[str, ...] = ()

    @property
    def once(self) -> str:
        """Each build that verifies an image does so once."""
        return f"{self.image_id}/{self.build_id}"


@dataclass(frozen=True, kw_only=True)
class ImageReleased(_OfImage):
    """The image is there for everybody: in its family, if it has one, with its labels. This comes once for each image.

    Attributes:
        image_id: its numeric id.
        build_id: of the build that has released it.
        adopted: an earlier build has made the image, and could not release it.
        verified: what it has passed in this build: `boot`, labels of scripts, `changes`, `approval`; empty if nothing
            was asked for, or an earlier build has seen to that.
        changes: what has changed against the image that its family gave before, or its source image, in one line; empty
            where contents are not recorded.
        source_image: name of the image that it was made from; empty if another recipe has made it.
        source_image_id: the numeric id of that.
        context_sha256: digest of the build context's uncompressed tar stream; as `source_image`.
        upstream: keys of what it is made of: where its source image comes from, that image, the build context; as
            `source_image`.
        disk_size_gb: size of a disk made from it, in GB.
        archive_size_bytes: size of what is stored, in bytes.
    """

    event: ClassVar = "cos-customizer.image.released"

    image_id: str
    build_id: str
    adopted: bool = False
    verified: tuple[str, ...] = ()
    changes: str = ""
    source_image: str = ""
    source_image_id: str = ""
    context_sha256: str = ""
    upstream: tuple[str, ...] = ()
    disk_size_gb: int = 0
    archive_size_bytes: int = 0

    @property
    def related(self) -> list[Resource]:
        """The family and what it is made of."""
        return [*super().related, *_upstream(self.upstream)]

    @property
    def once(self) -> str:
        """Two builds can see one image through; it is released once."""
        return self.image_id


@dataclass(frozen=True, kw_only=True)
class ImageFailed(_OfImage):
    """A build has not succeeded, and has undone what it could. The name of its image may have parts that are not known.

    Attributes:
        build_id: of the build; empty if it has not begun.
        outcome: `failed`, `timed-out` or `interrupted`. It is a label of the resource, too:
            `cos-customizer.outcome`.
        stage: the part of the build in which it has failed, as in the result's `durations`, or `waiting` for another
            build of the family; empty if in none of them.
        cause: why, in words.
        hint: what to do about it; may be empty.
        failure: the same in parts, as the result's `failure`: the kind of cause in one word, phase, step, exit code.
            The word is a label of the resource, too: `cos-customizer.cause`.
        image_id: numeric id of an image of that name that is there all the same; empty if there is none.
        upstream: keys of what it would be made of, as far as that is known.
        serial_log: where the VM's serial log is, as a gs:// URL, if it was stored.
    """

    event: ClassVar = "cos-customizer.image.failed"

    outcome: str
    cause: str
    failure: dict[str, Any]
    build_id: str = ""
    stage: str = ""
    hint: str = ""
    image_id: str = ""
    upstream: tuple[str, ...] = ()
    serial_log: str = ""

    @classmethod
    def of(cls, spec: "BuildSpec", failure: "Failure", **known: Any) -> "ImageFailed":
        """The failure of a build.

        Args:
            spec: of the build.
            failure: why it has not succeeded.
            known: the other attributes.
        """
        output, parts = spec.output, failure.model_dump(mode="json")
        parts |= {name: parts[name][:LONGEST_TEXT] for name in ("message", "hint")}
        facts = {
            "image": output.name or f"*{output.suffix}",
            "outcome": "failed",
            "upstream": upstream_keys(spec),
            "stage": parts["phase"],
            "cause": parts["message"],
            "hint": parts["hint"],
            "failure": parts,
        }
        known = facts | {name: value for name, value in known.items() if value}
        return cls(project=output.project, family=output.family or "", **known)

    @property
    def resource(self) -> Resource:
        """The image, and how and why its build has ended."""
        ending = {"cos-customizer.outcome": self.outcome, "cos-customizer.cause": self.failure["cause"]}
        return {**super().resource, **ending}

    @property
    def related(self) -> list[Resource]:
        """The family and what it would be made of."""
        return [*super().related, *_upstream(self.upstream)]

    @property
    def once(self) -> str:
        """A build fails once."""
        return self.build_id


@dataclass(frozen=True, kw_only=True)
class ImageExpired(_OfImage):
    """The image was past the date of deletion of its deprecation, and is deleted.

    Attributes:
        image_id: its numeric id.
        reason: why it was deleted.
    """

    event: ClassVar = "cos-customizer.image.expired"

    image_id: str
    reason: str = ""

    @property
    def once(self) -> str:
        """An image is deleted once."""
        return self.image_id


@dataclass(frozen=True, kw_only=True)
class ImageRolledBack(Announcement):
    """The family gives another image than before, one that it had: the resource is the family, related are its images.

    Attributes:
        family: its name.
        image: name of the image that it gives now.
        image_id: the numeric id of that.
        deprecated: names of the images that were deprecated for it, the one that the family gave before as the last.
    """

    event: ClassVar = "cos-customizer.image.rolled-back"

    family: str
    image: str
    image_id: str
    deprecated: tuple[str, ...] = ()

    @property
    def resource(self) -> Resource:
        """The family."""
        key = family_key(self.project, self.family)
        return {_ID: key, _NAME: self.family, "cos-customizer.project": self.project}

    @property
    def related(self) -> list[Resource]:
        """The image that it gives, and those that it gave."""
        roles = [(self.image, "image"), *((name, "deprecated-image") for name in self.deprecated)]
        return [{_ID: image_key(self.project, name), _NAME: name, _ROLE: role} for name, role in roles]


@dataclass(frozen=True, kw_only=True)
class SourceRenewed(Announcement):
    """A family or milestone that recipes name as their source gives another image than when it was looked at before.

    Attributes:
        source: what the recipes name: `family cos-stable`, `milestone 125`.
        key: what identifies that; the resource's id.
        image: name of the image that it gives now.
        image_id: the numeric id of that.
        replaces_id: numeric id of the image that it gave before.
        recipes: files of the recipes that name it.
    """

    event: ClassVar = "cos-customizer.source.renewed"

    source: str
    key: str
    image: str
    image_id: str
    replaces_id: str
    recipes: tuple[str, ...]

    @property
    def resource(self) -> Resource:
        """The family or milestone."""
        return {_ID: self.key, _NAME: self.source, "cos-customizer.project": self.project}

    @property
    def related(self) -> list[Resource]:
        """The image that it gives now."""
        return [{_ID: image_key(self.project, self.image), _NAME: self.image, _ROLE: "source-image"}]


VOCABULARY = (ImageVerified, ImageReleased, ImageFailed, ImageExpired, ImageRolledBack, SourceRenewed)
"""Every kind of announcement."""


def _upstream(keys: tuple[str, ...]) -> list[Resource]:
    return [{_ID: key, _ROLE: "upstream"} for key in keys]
