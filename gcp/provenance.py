"""Whether an image is the one that its provenance tells of, and who says so."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from cos_customizer.customizer.contents import places
from cos_customizer.customizer.contents.signing import PublicKey, Sealed
from cos_customizer.customizer.contents.statement import Fact, Known, facts
from cos_customizer.customizer.errors import CustomizerError, NotFoundError
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.spec.values import SIGNING_KEY
from cos_customizer.gcp import image_documents, kms, objects
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage

_MOST_BYTES = 32 << 20
"""Of a provenance."""


@dataclass(frozen=True)
class Verdict:
    """What was found out about an image's provenance.

    Attributes:
        image: The image.
        document: `gs://bucket/object`, the provenance.
        signature: `good`: the key has signed it; `bad`: it has not; `none`: nobody has signed it.
        key: The key that the signature was held against; empty if there was none.
        key_is_given: Whether the user has named that key: if not, the envelope has.
        facts: What the provenance says, held against what is there.
    """

    image: ResolvedImage
    document: str
    signature: Literal["good", "bad", "none"]
    key: str
    key_is_given: bool
    facts: list[Fact]

    @property
    def holds(self) -> bool:
        """Whether all of it is as it should be. Nobody's signature is enough if no key was named."""
        signed = self.signature == "good" or (self.signature == "none" and not self.key_is_given)
        return signed and all(fact.holds for fact in self.facts)


def verify(clients: Clients, image: ResolvedImage, version: str, key: PublicKey | None) -> Verdict:
    """Fetch an image's provenance, check its signature, and hold what it says against the image.

    Args:
        clients: Google's clients.
        image: It.
        version: This program's.
        key: That must have signed it. None: whichever key of Cloud KMS the envelope names, if it is signed.

    Raises:
        NotFoundError: The image has no provenance.
        CustomizerError: It could not be fetched, or is none; or the key that it names is not to be had.
    """
    made = image.provenance
    recorded = made.recorded_contents if made else None
    if made is None or recorded is None:
        why = "was not made by cos-customizer" if made is None else "was made without recording its contents"
        raise NotFoundError(f"image {image.project}/{image.name} has no provenance: it {why}")
    target = places.beside(recorded, places.PROVENANCE)
    content = objects.content(clients, target, _MOST_BYTES)
    try:
        sealed = Sealed.parse(content)
    except ValueError as error:
        raise CustomizerError(f"{target.url} {error}") from None
    given = key is not None
    if key is None and sealed.envelope is not None:
        key = _named_key(clients, sealed, target)
    beside = [recorded, *(places.beside(recorded, name) for name in (places.SPDX, places.CYCLONEDX))]
    known = Known(
        image_documents.subject_of(image, version),
        made.build,
        made.recipe,
        recorded.url,
        made.contents_sha256,
        {each.url: _digest(clients, each) for each in beside},
    )
    signature: Literal["good", "bad", "none"] = "none"
    if key is not None and sealed.envelope is not None:
        signature = "good" if sealed.is_signed_by(key) else "bad"
    return Verdict(image, target.url, signature, key.name if key else "", given, facts(sealed.payload, known))


def _named_key(clients: Clients, sealed: Sealed, target: ObjectRef) -> PublicKey:
    """The key of Cloud KMS that an envelope names."""
    name = next(filter(SIGNING_KEY.fullmatch, sealed.key_names), None)
    if name is None:
        raise CustomizerError(
            f"{target.url} is signed, and names no key of Cloud KMS",
            "name the key that has signed it, or give its public key.",
        )
    return kms.public_key(clients, name)


def _digest(clients: Clients, source: ObjectRef) -> str | None:
    """SHA-256 of an object; None if there is none."""
    digest = hashlib.sha256()
    try:
        objects.fetch(clients, source, digest.update)
    except NotFoundError:
        return None
    return digest.hexdigest()
