"""What to say of a source image that is not there: what may have been meant, and how to see what there is."""

from collections.abc import Collection

from cos_customizer.customizer.errors import NotFoundError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.names import COS_PROJECT
from cos_customizer.customizer.spelling import did_you_mean


def listing_hint(project: str) -> str:
    """How to list a project's images."""
    return f"`gcloud compute images list --project={project} --no-standard-images --show-deprecated` lists what is."


def no_such_family(project: str, family: str, families: Collection[str]) -> NotFoundError:
    """The error for a family that gives no image.

    Args:
        project: The family's.
        family: Its name.
        families: Those that images of the project are in, deprecated ones too.
    """
    if family in families:
        return NotFoundError(
            f"all images of family {family} of project {project} are deprecated",
            Message("{} takes one all the same. {}", FieldPath("source.name"), listing_hint(project)),
        )
    meant = did_you_mean(family, sorted(families))
    return NotFoundError(
        f"there is no family {family} in project {project}", f"{meant} {listing_hint(project)}".strip()
    )


def no_such_image(project: str, name: str, there: Collection[str]) -> NotFoundError:
    """The error for an image that is not there.

    Args:
        project: Its project.
        name: Its name.
        there: The names of the project's images.
    """
    meant = did_you_mean(name, sorted(there))
    what = f"could not find source image {name} in project {project}"
    return NotFoundError(what, f"{meant} {listing_hint(project)}".strip())


def no_image_at_all(project: str, why: str = "") -> NotFoundError:
    """The error for a project that offers no image: another one may be meant, or this one is not there.

    Args:
        project: Its id.
        why: What the API says; empty if it gives an empty list.
    """
    meant = did_you_mean(project, [COS_PROJECT])
    return NotFoundError(
        f"project {project} offers no image, or is not there" + (f": {why}" if why else ""),
        Message(f"{meant} {{}} names it.".lstrip(), FieldPath("source.project")),
    )
