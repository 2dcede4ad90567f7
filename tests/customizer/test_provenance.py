"""What an image tells of how it was made, and what sets two recipes apart."""

from typing import Any

import pytest
from support.specifications import SpecMaker

from cos_customizer.customizer.families.provenance import Provenance, fingerprint

DIGEST = "0" * 64
SECRET = "projects/my-project/secrets/token/versions"


def test_an_image_s_description_tells_people_and_us_where_it_comes_from() -> None:
    provenance = Provenance("0123456789", "42", "f" * 32)
    text = provenance.description("projects/cos-cloud/global/images/cos-125-19216-532-62")
    assert text.startswith("projects/cos-cloud/global/images/cos-125-19216-532-62 customized by cos-customizer\n")
    assert Provenance.parse(text) == provenance
    assert len(text) < 2048


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
    "a test before the release": {"verify": {"scripts": ["first.sh"]}},
}
SAME: dict[str, dict[str, Any]] = {
    "another zone": {"builder": {"zones": ["us-west1-a"]}},
    "another machine": {"builder": {"machine_type": "n1-standard-4"}},
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
