"""An image's provenance: what the statement says, who has signed it, and that a changed byte is found."""

import base64
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from google.protobuf import json_format  # type: ignore[import-untyped]
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from support.recorded_image import CONTENTS, SUBJECT
from support.specifications import SECRET, changed

from cos_customizer.customizer.contents.signing import SCHEMES, PublicKey, Sealed, enveloped, to_be_signed
from cos_customizer.customizer.contents.statement import Known, Making, Stored, facts, statement
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.model import parse_spec

KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
RECORDED = Stored("recorded contents", "gs://my-bucket/w/contents.tar.gz", "aa" * 32, "application/gzip")
SPDX = Stored("bill of materials (SPDX)", "gs://my-bucket/w/sbom.spdx.json", "bb" * 32, "application/spdx+json")
LOG = Stored("serial log", "gs://my-bucket/w/serial.log", "cc" * 32, "text/plain")
SPEC = parse_spec(
    changed(
        {
            "steps": [
                {
                    "type": "run-script",
                    "script": "preload.sh",
                    "env": {"TOKEN": "hunter2", "MODE": "quiet-mode"},
                    "env_secrets": {"PASSWORD": SECRET},
                }
            ],
            "verify": {"scripts": [{"script": "test.sh", "env": {"TOKEN": "hunter2"}}]},
        }
    )
)
MAKING = Making(
    subject=SUBJECT,
    spec=SPEC,
    build="0123456789",
    recipe="ab" * 16,
    zone="us-west1-b",
    context_sha256="dd" * 32,
    scripts={"preload.sh": "ee" * 32},
    contents=CONTENTS,
    recorded=RECORDED,
    byproducts=[SPDX, LOG],
    started="2026-11-30T10:00:00Z",
    finished="2026-11-30T10:20:00Z",
    versions={"cos-customizer": "20261201"},
)
KNOWN = Known(SUBJECT, MAKING.build, MAKING.recipe, RECORDED.url, RECORDED.sha256, {SPDX.url: SPDX.sha256})


def test_the_statement_says_what_went_in_and_what_came_out() -> None:
    value = json.loads(statement(MAKING))
    assert (value["_type"], value["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert value["subject"] == [
        {"name": SUBJECT.self_link, "digest": {"gceImageId": "4711"}},
        {"name": RECORDED.url, "digest": {"sha256": RECORDED.sha256}},
    ]
    definition, run = value["predicate"]["buildDefinition"], value["predicate"]["runDetails"]
    assert definition["buildType"] == "urn:cos-customizer:build:v1"
    assert definition["externalParameters"]["recipe"]["source"]["name"] == SPEC.source.name
    assert [(each["name"], each["digest"]) for each in definition["resolvedDependencies"]] == [
        ("source image", {"gceImageId": "815"}),
        ("build context", {"sha256": "dd" * 32}),
        ("script preload.sh", {"sha256": "ee" * 32}),
        ("container image registry.k8s.io/pause:3.9", {"sha256": "d3" * 32}),
        ("container image gcr.io/my-project/Web/server:v2", {"sha256": "d1" * 32}),
        ("container image busybox:latest", {"sha256": "c2" * 32}),
    ]
    assert run["builder"]["id"].startswith("urn:")
    assert run["metadata"] == {
        "invocationId": "0123456789",
        "startedOn": "2026-11-30T10:00:00Z",
        "finishedOn": "2026-11-30T10:20:00Z",
    }
    assert [each["uri"] for each in run["byproducts"]] == [RECORDED.url, SPDX.url, LOG.url]


def test_no_value_of_the_environment_is_in_it_and_no_secret() -> None:
    text = statement(MAKING).decode()
    assert "hunter2" not in text
    assert "quiet-mode" not in text
    assert SECRET in text  # the name alone


def test_in_toto_s_own_library_takes_the_statement() -> None:
    parsed = json_format.Parse(statement(MAKING), statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert parsed.subject[0].digest == {"gceImageId": "4711"}
    # SLSA's predicate: a field that it does not have would be refused.
    predicate = json_format.Parse(json_format.MessageToJson(parsed.predicate), provenance_pb2.Provenance())
    assert predicate.build_definition.resolved_dependencies[0].digest == {"gceImageId": "815"}
    of_another_kind = statement(MAKING).replace(b"https://in-toto.io", b"https://other")
    other = json_format.Parse(of_another_kind, statement_pb2.Statement())
    with pytest.raises(ValueError, match="type"):
        Statement.copy_from_pb(other).validate()


def test_what_a_statement_says_holds_for_its_image() -> None:
    found = facts(statement(MAKING), KNOWN)
    assert [(fact.name, fact.holds) for fact in found] == [
        ("kind", True),
        ("image", True),
        ("source image", True),
        ("build", True),
        ("recipe", True),
        ("recorded contents", True),
        (SPDX.url, True),
    ]


@pytest.mark.parametrize(
    ("known", "wrong", "detail"),
    [
        (replace(KNOWN, subject=replace(SUBJECT, id="4712")), "image", "says 4711, and it is 4712"),
        (replace(KNOWN, subject=replace(SUBJECT, self_link="x")), "image", "says nothing, and it is 4711"),
        (replace(KNOWN, subject=replace(SUBJECT, source_id="816")), "source image", "says 815, and it is 816"),
        (replace(KNOWN, build="9876543210"), "build", "says 0123456789, and it is 9876543210"),
        (replace(KNOWN, recipe="cd" * 16), "recipe", f"says {'ab' * 16}, and it is {'cd' * 16}"),
        (replace(KNOWN, contents_sha256=""), "recorded contents", "and it is not known"),
        (replace(KNOWN, contents_url="gs://b/c"), "recorded contents", "says nothing"),
        (replace(KNOWN, digests={SPDX.url: "00" * 32}), SPDX.url, f"and it is {'00' * 32}"),
        (replace(KNOWN, digests={SPDX.url: None}), SPDX.url, "is gone"),
    ],
)
def test_another_image_is_found_out(known: Known, wrong: str, detail: str) -> None:
    found = [fact for fact in facts(statement(MAKING), known) if not fact.holds]
    assert [fact.name for fact in found] == [wrong]
    assert detail in found[0].detail


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"subject": [1], "predicate": []}', b"[" * 100_000])
def test_a_statement_that_says_nothing_holds_for_nothing(payload: bytes) -> None:
    assert not any(fact.holds for fact in facts(payload, KNOWN))


def _private(algorithm: str) -> Any:
    if algorithm.startswith("EC"):
        return ec.generate_private_key(ec.SECP256R1() if "P256" in algorithm else ec.SECP384R1())
    return rsa.generate_private_key(65537, 2048)


def _signature(private: Any, algorithm: str, content: bytes) -> bytes:
    digest = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[SCHEMES[algorithm].hash]
    if algorithm.startswith("EC"):
        return bytes(private.sign(content, ec.ECDSA(digest)))
    if "PSS" in algorithm:
        return bytes(private.sign(content, padding.PSS(padding.MGF1(digest), digest.digest_size), digest))
    return bytes(private.sign(content, padding.PKCS1v15(), digest))


def _pem(private: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(private.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


@pytest.mark.parametrize("algorithm", [*{SCHEMES[name].name: name for name in SCHEMES}.values()])
def test_a_key_in_a_file_finds_its_own_signature_and_no_other(algorithm: str) -> None:
    private, payload = _private(algorithm), statement(MAKING)
    sealed = Sealed.parse(enveloped(payload, [(KEY, _signature(private, algorithm, to_be_signed(payload)))]))
    assert sealed.payload == payload
    assert sealed.key_names == (KEY,)
    assert sealed.is_signed_by(PublicKey.from_pem(_pem(private), "key.pem"))
    assert sealed.is_signed_by(PublicKey(KEY, _pem(private), (SCHEMES[algorithm],)))
    assert not sealed.is_signed_by(PublicKey.from_pem(_pem(_private(algorithm)), "other.pem"))


def test_openssl_takes_the_signature_of_an_envelope(tmp_path: Path) -> None:
    """By what DSSE says alone: none of our code looks at it here."""
    private, payload = _private("EC_SIGN_P256_SHA256"), statement(MAKING)
    content = enveloped(payload, [(KEY, _signature(private, "EC_SIGN_P256_SHA256", to_be_signed(payload)))])
    envelope = json.loads(content)
    body, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (tmp_path / "pae").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "key.pem").write_text(_pem(private))
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "pae"]
    assert "Verified OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_one_changed_byte_is_found_wherever_it_is() -> None:
    private, payload = _private("EC_SIGN_P256_SHA256"), statement(replace(MAKING, scripts={}, byproducts=[]))
    key = PublicKey.from_pem(_pem(private), "key.pem")
    content = enveloped(payload, [(KEY, _signature(private, "EC_SIGN_P256_SHA256", to_be_signed(payload)))])
    signed = [re.search(rb'"%s": "([^"]+)"' % name, content) for name in (b"payload", b"payloadType", b"sig")]
    places = [place for found in signed if found for place in range(*found.span(1))]
    assert len(places) > len(payload)
    for place in [*places[::37], *places[-100:]]:
        other = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            changed_one = Sealed.parse(other)
        except ValueError:
            continue
        assert not changed_one.is_signed_by(key), place


def test_a_statement_that_nobody_has_signed_is_not_signed_by_a_key() -> None:
    sealed = Sealed.parse(statement(MAKING))
    assert sealed.envelope is None
    assert not sealed.is_signed_by(PublicKey.from_pem(_pem(_private("EC")), "key.pem"))


ENVELOPE: dict[str, Any] = {
    "payload": "e30=",
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [{"keyid": "a", "sig": "AAAA"}],
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is neither an envelope nor a statement"),
        (b"[]", "is neither an envelope nor a statement"),
        (b"{}", "is neither an envelope nor a statement"),
        (b"\xff", "is neither an envelope nor a statement"),
        ({**ENVELOPE, "payload": "e3?="}, "is neither"),
        ({**ENVELOPE, "payload": "e31="}, "is neither"),  # the same bytes, in other characters
        ({**ENVELOPE, "payload": 1}, "is neither"),
        ({**ENVELOPE, "signatures": 1}, "is neither"),
        ({**ENVELOPE, "signatures": [1]}, "is neither"),
        ({**ENVELOPE, "signatures": [{"keyid": "a"}]}, "is neither"),
        ({**ENVELOPE, "signatures": [{"keyid": "a", "sig": "AAAA"}] * 2}, "is neither"),
        ({**ENVELOPE, "signatures": []}, "nobody has signed"),
        ({**ENVELOPE, "payloadType": "text/plain"}, "is an envelope of 'text/plain'"),
        ({name: value for name, value in ENVELOPE.items() if name != "payloadType"}, "is neither"),
    ],
)
def test_what_is_no_envelope_is_refused(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sealed.parse(content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        ("", "is no public key in PEM form"),
        (_pem(ec.generate_private_key(ec.SECP521R1())), "is a key of a kind that is not known here"),
    ],
    ids=["none", "another curve"],
)
def test_a_file_that_has_no_key_is_refused(pem: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PublicKey.from_pem(pem, "key.pem")
