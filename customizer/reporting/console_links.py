"""Where Google's Cloud console shows what a build has to do with."""

from urllib.parse import quote

_CONSOLE = "https://console.cloud.google.com"


def image(project: str, name: str) -> str:
    """Address of an image's page.

    Args:
        project: of the image.
        name: of the image.
    """
    return f"{_CONSOLE}/compute/imagesDetail/projects/{quote(project)}/global/images/{name}?project={quote(project)}"


def vm(project: str, zone: str, name: str) -> str:
    """Address of a VM's page.

    Args:
        project: of the VM.
        zone: of the VM.
        name: of the VM.
    """
    return f"{_CONSOLE}/compute/instancesDetail/zones/{zone}/instances/{name}?project={quote(project)}"


def storage_object(url: str, project: str) -> str:
    """Address of an object's page in Cloud Storage.

    Args:
        url: `gs://{bucket}/{object}`.
        project: that the console is to be seen for.
    """
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return f"{_CONSOLE}/storage/browser/_details/{bucket}/{quote(name)}?project={quote(project)}"
