"""`sbom`: the bill of materials of an image."""

import sys

import click

from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag_kinds import ChoiceFlag
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.cli.named_images import project_flag, wanted
from cos_customizer.cli.time_limit import timeout_flag, within

_FORMATS = ("spdx", "cyclonedx")
_TIME_LIMIT = "10m0s"

FLAGS = (
    project_flag("of the image, if it names none"),
    ChoiceFlag(
        "format",
        "What is printed: spdx, SPDX 2.3; cyclonedx, CycloneDX 1.7. Both are JSON.",
        choices=_FORMATS,
        default="spdx",
        field="format",
        example="-format=cyclonedx",
    ),
    timeout_flag(_TIME_LIMIT, "Nothing is changed in any case."),
)


@command(
    "sbom",
    [*FLAGS, click.Argument(["image"], metavar="IMAGE")],
    section=FAMILIES,
    rank=6,
    kind=ArgumentFirst,
)
def sbom(image: str, project: str | None, format: str | None, timeout: str) -> None:  # noqa: A002
    """Print the bill of materials of an image: packages, container images, drivers, files that its build has brought.

    It is made of the contents that the image's build has recorded: the same bytes as in the object that the build has
    stored beside them. An image is written as NAME, or family/NAME for the image that a family gives now; either may
    stand behind its project, as in my-project/family/web.
    """
    asked = wanted(image, project)
    limit = within(timeout, _TIME_LIMIT)
    from importlib.metadata import version

    from cos_customizer.customizer.contents.bill import bill_of
    from cos_customizer.customizer.contents.cyclone import cyclonedx_document
    from cos_customizer.customizer.contents.spdx import spdx_document
    from cos_customizer.gcp import comparison, image_documents
    from cos_customizer.gcp.clients import connect
    from cos_customizer.gcp.contents import contents_of

    with limit:
        clients = connect()
        found = comparison.find(clients, asked)
        bill = bill_of(contents_of(clients, found))
    document = cyclonedx_document if format == "cyclonedx" else spdx_document
    click.echo(
        document(bill, image_documents.subject_of(found, version("cos-customizer"))).decode(), nl=False, file=sys.stdout
    )
