"""`verify-provenance`: whether an image is the one that its provenance tells of."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cos_customizer.cli.command import FAMILIES, command
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import ChoiceFlag
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.cli.messages import printable
from cos_customizer.cli.named_images import project_flag, wanted
from cos_customizer.cli.time_limit import timeout_flag, within
from cos_customizer.customizer.errors import UsageError

if TYPE_CHECKING:
    from cos_customizer.customizer.contents.signing import PublicKey
    from cos_customizer.gcp.clients import Clients
    from cos_customizer.gcp.provenance import Verdict

_TIME_LIMIT = "10m0s"

FLAGS = (
    project_flag("of the image, if it names none"),
    Flag(
        "key",
        "The key that must have signed the provenance: a file with a public key in PEM form, or the version of a Cloud "
        "KMS key. By default the key that the provenance itself names is taken, which anybody can have signed with.",
        value="KEY",
        example="-key=image-signing.pem",
    ),
    ChoiceFlag(
        "format",
        "What is printed: text, or json for programs.",
        choices=("text", "json"),
        default="text",
        field="format",
        example="-format=json",
    ),
    timeout_flag(_TIME_LIMIT, "Nothing is changed in any case."),
)


@command(
    "verify-provenance",
    [*FLAGS, click.Argument(["image"], metavar="IMAGE")],
    section=FAMILIES,
    rank=7,
    kind=ArgumentFirst,
)
def verify_provenance(image: str, project: str | None, key: str | None, format: str | None, timeout: str) -> int:  # noqa: A002
    """Check the provenance of an image: who has signed it, and whether the image is the one that it tells of.

    The image's id, its source image, build, recipe and recorded contents are compared, and the digests of the objects
    beside the provenance. An image is written as for `sbom`.

    Exit code 1 if something is not as the provenance says, its signature is not the key's, or there is none to look at.
    """
    asked = wanted(image, project)
    limit = within(timeout, _TIME_LIMIT)
    from importlib.metadata import version

    from cos_customizer.gcp import comparison
    from cos_customizer.gcp.clients import connect
    from cos_customizer.gcp.provenance import verify

    with limit:
        clients = connect()
        expected = _key(clients, key) if key else None
        verdict = verify(clients, comparison.find(clients, asked), version("cos-customizer"), expected)
    if format == "json":
        click.echo(json.dumps(_as_json(verdict), indent=2))
    else:
        _print(verdict)
    return 0 if verdict.holds else 1


def _key(clients: "Clients", text: str) -> "PublicKey":
    """The key that a user has named.

    Raises:
        UsageError: It is neither a file with a public key nor a key of Cloud KMS.
        CustomizerError: Cloud KMS does not give it.
    """
    from cos_customizer.customizer.contents.signing import PublicKey
    from cos_customizer.customizer.spec.values import SIGNING_KEY
    from cos_customizer.gcp import kms

    if SIGNING_KEY.fullmatch(text):
        return kms.public_key(clients, text)
    try:
        content = Path(text).read_bytes()[: 1 << 20]
    except OSError as error:
        raise UsageError(
            f"-key: {text!r} cannot be read: {error.strerror}",
            "write a file, or projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}/"
            "cryptoKeyVersions/{version}.",
        ) from None
    try:
        return PublicKey.from_pem(content.decode("ascii", "replace"), text)
    except UsageError as error:
        raise UsageError(f"-key: {error.message}", error.hint) from None


def _signature(verdict: "Verdict") -> str:
    if verdict.signature == "none":
        return "nobody has signed it"
    if verdict.signature == "bad":
        return f"not by {verdict.key}, or changed since"
    whose = "" if verdict.key_is_given else ", which the provenance itself names: -key names the one that you trust"
    return f"by {verdict.key}{whose}"


def _print(verdict: "Verdict") -> None:
    image = f"{verdict.image.project}/{verdict.image.name}"
    is_signed = verdict.signature == "good" or (verdict.signature == "none" and not verdict.key_is_given)
    lines = [(is_signed, "signature", _signature(verdict))]
    lines += [(fact.holds, fact.name, fact.detail) for fact in verdict.facts]
    click.echo(f"provenance of {image}: {verdict.document}")
    for holds, name, detail in lines:
        click.echo(printable(f"{'ok' if holds else 'WRONG':<7}{name}: {detail}"))
    click.echo(f"{image} is {'' if verdict.holds else 'NOT '}what its provenance says")


def _as_json(verdict: "Verdict") -> dict[str, object]:
    return {
        "image": verdict.image.path,
        "imageId": verdict.image.id,
        "provenance": verdict.document,
        "holds": verdict.holds,
        "signature": verdict.signature,
        "key": verdict.key,
        "keyIsGiven": verdict.key_is_given,
        "facts": [{"name": fact.name, "holds": fact.holds, "detail": fact.detail} for fact in verdict.facts],
    }
