"""What one can do after a build, where it is not for every user to know: on the local cloud."""

import os

from cos_customizer.customizer.errors import UsageError
from cos_customizer.gcp.endpoints import Endpoints


def to_look_at(image: str) -> str | None:
    """How to look into an image that was built.

    Args:
        image: its name.

    Returns:
        A line to paste; None unless the cloud is the one on this machine.
    """
    return f"cos-customizer emulator boot {image} -- cat /etc/os-release" if _is_local() else None


def to_read(url: str) -> str | None:
    """How to read an object, as `to_look_at`.

    Args:
        url: `gs://BUCKET/OBJECT`.
    """
    return f"cos-customizer emulator cat {url}" if _is_local() else None


def _is_local() -> bool:
    try:
        return Endpoints.from_environment(os.environ).anonymous
    except UsageError:
        return False
