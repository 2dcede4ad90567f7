"""An image's provenance: an in-toto Statement v1 with SLSA's provenance v1.

Sources: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.2/provenance.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cos_customizer.customizer.contents import package_urls
from cos_customizer.customizer.contents.bill import Subject
from cos_customizer.customizer.contents.inventory import Container, Contents
from cos_customizer.customizer.spec.model import BuildSpec

MEDIA_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:cos-customizer:build:v1"
"""How externalParameters and the rest are to be read; docs/contents.md describes it."""
BUILDER = "urn:cos-customizer:builder:v1"
IMAGE_ID = "gceImageId"
"""Name of the digest that an image has: its numeric id, which Compute Engine gives to one image only."""
SERIAL_LOG, CONTENTS = "serial log", "recorded contents"
_API = "https://www.googleapis.com/compute/v1/"


@dataclass(frozen=True)
class Stored:
    """An object in Cloud Storage.

    Attributes:
        name: What it is.
        url: `gs://bucket/object`.
        sha256: Digest of its bytes, in hexadecimal digits.
        kind: Its media type.
    """

    name: str
    url: str
    sha256: str
    kind: str

    def described(self) -> dict[str, Any]:
        """As a resource of in-toto."""
        return {"name": self.name, "uri": self.url, "digest": {"sha256": self.sha256}, "mediaType": self.kind}


@dataclass(frozen=True)
class Making:
    """How an image was made.

    Attributes:
        subject: The image.
        spec: Of its build.
        build: Id of the build.
        recipe: Fingerprint of the recipe; see `families.provenance.fingerprint`.
        zone: Of the builder VM.
        context_sha256: Digest of the build context's uncompressed tar stream.
        scripts: Digests of the scripts that were run, by their names.
        contents: What was in the source image, and is in the image.
        recorded: The object that has that.
        byproducts: Other objects.
        started: RFC 3339 time.
        finished: RFC 3339 time.
        versions: Of this program and what it runs by.
    """

    subject: Subject
    spec: BuildSpec
    build: str
    recipe: str
    zone: str
    context_sha256: str
    scripts: Mapping[str, str]
    contents: Contents
    recorded: Stored
    byproducts: Sequence[Stored]
    started: str
    finished: str
    versions: Mapping[str, str]


def statement(making: Making) -> bytes:
    """The statement; values of environment variables are masked, and secrets are names alone.

    Args:
        making: How the image was made.
    """
    subject, spec = making.subject, making.spec
    value = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": subject.self_link, "digest": {IMAGE_ID: subject.id}},
            {"name": making.recorded.url, "digest": {"sha256": making.recorded.sha256}},
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"recipe": spec.masked().model_dump(mode="json", exclude_none=True)},
                "internalParameters": {
                    "recipeFingerprint": making.recipe,
                    "project": spec.builder.project,
                    "zone": making.zone,
                },
                "resolvedDependencies": [
                    {"name": "source image", "uri": _API + subject.source, "digest": {IMAGE_ID: subject.source_id}},
                    {
                        "name": "build context",
                        "digest": {"sha256": making.context_sha256},
                        "annotations": {"digestOf": "the uncompressed tar stream"},
                    },
                    *(
                        {"name": f"script {name}", "digest": {"sha256": sha256}}
                        for name, sha256 in sorted(making.scripts.items())
                    ),
                    *_containers(making.contents),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": dict(making.versions)},
                "metadata": {
                    "invocationId": making.build,
                    "startedOn": making.started,
                    "finishedOn": making.finished,
                },
                "byproducts": [each.described() for each in (making.recorded, *making.byproducts)],
            },
        },
    }
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _containers(contents: Contents) -> list[dict[str, Any]]:
    """The container images that the build has brought, by digest."""
    old = {container.id for container in contents.before.containers}
    found = [_described(each) for each in sorted(contents.after.containers) if each.id not in old]
    return [*{each["name"]: each for each in found}.values()]


def _described(container: Container) -> dict[str, Any]:
    manifest = package_urls.manifest_digest(container)
    digest = (manifest or container.id).removeprefix("sha256:")
    name = next(iter([*container.names, *container.digests]), container.id)
    purl = package_urls.of_container(container)
    return {
        "name": f"container image {name}",
        **({"uri": purl} if purl else {}),
        "digest": {"sha256": digest},
        "annotations": {"digestOf": "the manifest" if manifest else "the configuration"},
    }


@dataclass(frozen=True)
class Fact:
    """Something that a statement says, held against what is there.

    Attributes:
        name: What was looked at.
        holds: Whether both agree.
        detail: What they say, for people.
    """

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Known:
    """What is known of an image without its statement.

    Attributes:
        subject: The image, by the API.
        build: Id of the build, by the image's description.
        recipe: Fingerprint, likewise.
        contents_url: Where its contents are recorded, likewise.
        contents_sha256: Their digest, likewise.
        digests: Digests of the objects beside the statement, by URL; None of one that is not there.
    """

    subject: Subject
    build: str
    recipe: str
    contents_url: str
    contents_sha256: str
    digests: Mapping[str, str | None]


def facts(payload: bytes, known: Known) -> list[Fact]:
    """Hold what a statement says against what is known of the image.

    Args:
        payload: The statement's bytes.
        known: Of the image.
    """
    value, subject = _read(payload), known.subject
    definition, run = _at(value, "predicate", "buildDefinition"), _at(value, "predicate", "runDetails")
    kinds = (_at(value, "_type"), _at(value, "predicateType"), _at(definition, "buildType"))
    found = [
        Fact("kind", kinds == (STATEMENT_TYPE, PREDICATE_TYPE, BUILD_TYPE), f"{kinds[1]} of {kinds[2]}"),
        _same("image", _digest_of(_at(value, "subject"), "name", subject.self_link, IMAGE_ID), subject.id),
        _same(
            "source image",
            _digest_of(_at(definition, "resolvedDependencies"), "uri", _API + subject.source, IMAGE_ID),
            subject.source_id,
        ),
        _same("build", _at(run, "metadata", "invocationId"), known.build),
        _same("recipe", _at(definition, "internalParameters", "recipeFingerprint"), known.recipe),
        _same(
            CONTENTS,
            _digest_of(_at(value, "subject"), "name", known.contents_url, "sha256"),
            known.contents_sha256,
        ),
    ]
    byproducts = _at(run, "byproducts")
    for url, digest in known.digests.items():
        said = _digest_of(byproducts, "uri", url, "sha256")
        found.append(Fact(url, said == digest, "is gone" if digest is None else _told(said, digest)))
    return found


def _same(name: str, said: object, there: str) -> Fact:
    return Fact(name, bool(there) and said == there, _told(said, there))


def _told(said: object, there: str) -> str:
    return there if said == there else f"the statement says {said or 'nothing'}, and it is {there or 'not known'}"


def _read(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _digest_of(resources: Any, key: str, wanted: str, algorithm: str) -> Any:
    """The digest of the one resource in a list that has a value under a key; None if it is not the only one."""
    found = [each for each in resources if _at(each, key) == wanted] if isinstance(resources, list) else []
    return _at(found[0], "digest", algorithm) if len(found) == 1 else None
