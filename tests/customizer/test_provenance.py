"""What an image tells of how it was made, and what sets two recipes apart."""

from typing import Any

import pytest
from support.specifications import SpecMaker

from cos_customizer.customizer.families.provenance import Provenance, contents_url, fingerprint
from cos_customizer.customizer.references import ObjectRef

DIGEST = "0" * 64
SECRET = "projects/my-project/secrets/token/versions"


def test_an_image_s_description_tells_people_and_us_where_it_comes_from() -> None:
    provenance = Provenance("0123456789", "42", "f" * 32)
    text = provenance.description("projects/cos-cloud/global/images/cos-125-19216-532-62")
    assert text.startswith("Derivative of projects/cos-cloud/global/images/cos-125-19216-532-62.\n")
    assert Provenance.parse(text) == provenance
    assert Provenance.source_in(text) == "projects/cos-cloud/global/images/cos-125-19216-532-62"


def test_it_may_tell_where_its_contents_are_whatever_that_is_called() -> None:
    target = ObjectRef("my-bucket", "a dir/ünicode=1/cos-customizer/0123456789/contents.tar.gz")
    provenance = Provenance("0123456789", "42", "f" * 32, contents_url(target), "0" * 64)
    read = Provenance.parse(provenance.description("projects/p/global/images/i"))
    assert read == provenance
    assert read.recorded_contents == target
    assert Provenance("0123456789", "42", "f" * 32).recorded_contents is None


@pytest.mark.parametrize(
    "words",
    [
        "Web servers",
        "two\nlines",
        "Derivative of projects/p/global/images/other.\ncos-customizer: build=x source_id=1 recipe=y",
    ],
)
def test_what_the_user_says_of_an_image_comes_before_that_and_changes_nothing_in_it(words: str) -> None:
    provenance = Provenance("0123456789", "42", "f" * 32)
    text = provenance.description("projects/p/global/images/i", words)
    assert text.startswith(f"{words}\nDerivative of projects/p/global/images/i.\n")
    assert (Provenance.parse(text), Provenance.source_in(text)) == (provenance, "projects/p/global/images/i")


def test_the_longest_description_fits(make_spec: SpecMaker) -> None:
    longest = make_spec(output={"description": "x" * 1700}).output.description
    provenance = Provenance("0123456789", "9" * 20, "f" * 32)
    source = f"projects/{'o' * 40}.com:{'p' * 30}/global/images/{'i' * 63}"
    assert len(provenance.description(source, longest)) < 2048


def test_descriptions_of_earlier_versions_are_still_read() -> None:
    text = "projects/p/global/images/i customized by cos-customizer\ncos-customizer: build=b source_id=1 recipe=r"
    assert Provenance.parse(text) == Provenance("b", "1", "r")
    assert Provenance.source_in(text) == "projects/p/global/images/i"


@pytest.mark.parametrize(
    "description",
    ["", "my own image", "cos-customizer", "cos-customizer: ", "cos-customizer: build= source_id=1 recipe=a", "x=y"],
)
def test_an_image_of_somebody_else_tells_nothing(description: str) -> None:
    assert Provenance.parse(description) is None


CHANGES: dict[str, dict[str, Any]] = {
    "other scripts": {"scripts": ("second.sh",)},
    "scripts in another order": {"scripts": ("second.sh", "first.sh")},
    "a larger disk": {"builder": {"disk_size_gb": 50}},
    "another key": {"builder": {"kms_key": "projects/p/locations/l/keyRings/r/cryptoKeys/k"}},
    "labels": {"output": {"labels": {"team": "web"}}},
    "licences": {"output": {"licenses": ["projects/p/global/licenses/l"]}},
    "another location": {"output": {"storage_location": "eu"}},
    "metadata": {"builder": {"metadata": {"a": "b"}}},
    "a description": {"output": {"description": "web servers"}},
    "features": {"output": {"guest_os_features": ["GVNIC"]}},
    "a platform key": {"output": {"uefi_platform_key": "pk.der"}},
    "a key for another use": {"output": {"uefi_key_exchange_keys": ["pk.der"]}},
    "some of the source's labels": {"output": {"inherit_labels": ["a"]}},
    "a test before the release": {"verify": {"scripts": ["first.sh"]}},
}
SAME: dict[str, dict[str, Any]] = {
    "another zone": {"builder": {"zones": ["us-west1-a"]}},
    "another machine": {"builder": {"machine_type": "n1-standard-4"}},
    "a confidential spot VM": {"builder": {"confidential_vm": "SEV", "spot": True, "scopes": ["cloud-platform"]}},
    "another name": {"output": {"name": "other"}},
    "a longer time limit": {"timeout": "2h"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_can_change_an_image_changes_its_fingerprint(make_spec: SpecMaker, change: str) -> None:
    assert fingerprint(make_spec(**CHANGES[change]), "1", DIGEST) != fingerprint(make_spec(), "1", DIGEST)


@pytest.mark.parametrize("same", SAME)
def test_where_and_how_it_is_built_does_not(make_spec: SpecMaker, same: str) -> None:
    assert fingerprint(make_spec(**SAME[same]), "1", DIGEST) == fingerprint(make_spec(), "1", DIGEST)


def test_another_source_image_or_build_context_does(make_spec: SpecMaker) -> None:
    prints = {fingerprint(make_spec(), source, digest) for source in ("1", "2") for digest in (DIGEST, "1" * 64)}
    assert len(prints) == 4


def test_a_recipe_without_secrets_has_the_fingerprint_that_it_had_before_there_were_any(make_spec: SpecMaker) -> None:
    without = make_spec(verify={"scripts": ["first.sh"]})
    assert fingerprint(without, "1", DIGEST) == "1f7a3f40fc233a6515ac8b161b5afbcc"


def test_another_version_of_a_secret_is_another_recipe(make_spec: SpecMaker) -> None:
    secrets = [{}, {"TOKEN": f"{SECRET}/1"}, {"TOKEN": f"{SECRET}/2"}, {"OTHER": f"{SECRET}/1"}]
    specs = [make_spec(verify={"scripts": [{"script": "first.sh", "env_secrets": each}]}) for each in secrets]
    assert len({fingerprint(spec, "1", DIGEST) for spec in specs}) == 4
