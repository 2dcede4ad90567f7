"""Names: what Compute Engine and Cloud Storage take, how COS names its images, what a build calls its own resources."""

import random
import re
import uuid

import pytest

from cos_customizer.customizer import names
from cos_customizer.customizer.names import BuildNames, CosVersion, newest_on_milestone, parse_cos_image_name

GOOD_NAMES = ["a", "my-custom-image", "a1", "a--b", "cos-stable-68-10718-86-0", "a" * 63]
BAD_NAMES = {
    "": "it is empty",
    "a" * 64: "it has 64 characters",
    "My-image": "it has 'M'",
    "my_image": "it has '_'",
    "my image": "it has ' '",
    "image\n": "it has '\\n'",
    "bücher": "it has 'ü'",
    "\u0661": "it has '\u0661'",
    "1st": "it starts with '1'",
    "-a": "it starts with '-'",
    "a-": "it ends with a hyphen",
}


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_that_compute_engine_takes_are_taken(name: str) -> None:
    assert names.check_resource_name(name) == name


@pytest.mark.parametrize(("name", "why"), BAD_NAMES.items())
def test_other_names_are_refused_saying_what_is_wrong_with_them(name: str, why: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name") as caught:
        names.check_resource_name(name)
    assert str(caught.value).endswith(f"({why})")


@pytest.mark.parametrize("project", ["my-project", "p", "123456789012", "example.com:my-project"])
def test_project_ids_are_taken(project: str) -> None:
    assert names.check_project(project) == project


@pytest.mark.parametrize("project", ["", "My-Project", "my project", "projects/p", "p/../q", "a:b:c", "p\n", "-p"])
def test_what_cannot_be_a_project_is_refused(project: str) -> None:
    with pytest.raises(ValueError, match="is not a project's id"):
        names.check_project(project)


@pytest.mark.parametrize("bucket", ["my-project_cloudbuild", "a.b.c", "123", "a" * 222])
def test_bucket_names_are_taken(bucket: str) -> None:
    assert names.check_bucket(bucket) == bucket


@pytest.mark.parametrize("bucket", ["", "ab", "gs://bucket", "bucket/dir", "Bucket", "-bucket", "bucket\n", "a" * 223])
def test_what_cannot_be_a_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match="is not a bucket's name"):
        names.check_bucket(bucket)


@pytest.mark.parametrize("workdir", ["a\nb", "a\0", "\r", "x" * 901, "ä" * 451])
def test_a_working_directory_that_no_object_can_lie_in_is_refused(workdir: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of an object's name"):
        names.check_workdir(workdir)


@pytest.mark.parametrize(("key", "value"), [("a", ""), ("cos_image", "true"), ("k" * 63, "v" * 63), ("a-1_b", "-1_")])
def test_labels_that_compute_engine_takes_are_taken(key: str, value: str) -> None:
    names.check_label(key, value)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("", "x", "label key"),
        ("1a", "x", "label key"),
        ("_a", "x", "label key"),
        ("A", "x", "label key"),
        ("k" * 64, "x", "label key"),
        ("a.b", "x", "label key"),
        ("a\n", "x", "label key"),
        ("a", "True", "value of label 'a'"),
        ("a", "v" * 64, "value of label 'a'"),
        ("a", "1.5", "value of label 'a'"),
        ("a", "x\n", "value of label 'a'"),
    ],
)
def test_other_labels_are_refused(key: str, value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        names.check_label(key, value)


@pytest.mark.parametrize("name", ["A", "_", "PATH", "lower_1"])
def test_names_of_environment_variables_are_taken(name: str) -> None:
    names.check_environment_name(name)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "BASH_FUNC_x%%"])
def test_what_no_shell_variable_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid environment variable name"):
        names.check_environment_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "projects/cos-cloud/global/licenses/cos",
        "https://www.googleapis.com/compute/v1/projects/cos-cloud/global/licenses/cos",
        "https://compute.googleapis.com/compute/beta/projects/cos-cloud/global/licenses/cos",
        "http://127.0.0.1:8080/compute/v1/projects/cos-cloud/global/licenses/cos",
    ],
)
def test_a_licence_is_shortened_to_its_path(text: str) -> None:
    assert names.license_path(text) == "projects/cos-cloud/global/licenses/cos"


@pytest.mark.parametrize(
    "text", ["cos", "licenses/cos", "projects/a/global/images/b", "projects/a/global/licenses/", " "]
)
def test_what_is_no_licence_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a licence"):
        names.license_path(text)


COS_NAMES = {
    "cos-dev-72-11172-0-0": CosVersion(72, (11172, 0, 0), 0, False),
    "cos-beta-71-11151-9-0": CosVersion(71, (11151, 9, 0), 1, False),
    "cos-rc-85-13310-1000-0": CosVersion(85, (13310, 1000, 0), 2, False),
    "cos-stable-68-10718-86-0": CosVersion(68, (10718, 86, 0), 3, False),
    "cos-125-19216-532-62": CosVersion(125, (19216, 532, 62), 4, False),
    "cos-arm64-stable-113-18244-85-29": CosVersion(113, (18244, 85, 29), 3, True),
    "cos-arm64-125-19216-532-62": CosVersion(125, (19216, 532, 62), 4, True),
    "": None,
    "cos": None,
    "cos-stable": None,
    "cos-canary-72-11172-0-0": None,
    "cos-stable-68-10718-86": None,
    "cos-stable-68-10718-86-0-test": None,
    "my-cos-stable-68-10718-86-0": None,
    "cos-stable-arm64-68-10718-86-0": None,
    "debian-12-bookworm-v20240110": None,
    "cos-stable-68-10718-86-0\n": None,
}


@pytest.mark.parametrize(("name", "version"), COS_NAMES.items())
def test_the_names_of_cos_images_are_understood_and_no_others(name: str, version: CosVersion | None) -> None:
    assert parse_cos_image_name(name) == version


@pytest.mark.parametrize(
    ("candidates", "milestone", "newest"),
    [
        ([], 72, None),
        (["cos-stable-68-10718-86-0", "debian-12"], 72, None),
        (["cos-stable-68-9-86-0", "cos-stable-68-10718-86-0"], 68, "cos-stable-68-10718-86-0"),
        (["cos-125-19216-532-62", "cos-125-19216-104-126"], 125, "cos-125-19216-532-62"),
        (["cos-stable-6-10718-86-0", "cos-dev-68-1-0-0"], 68, "cos-dev-68-1-0-0"),
        # The build number comes before the channel …
        (["cos-dev-72-11172-1-0", "cos-stable-72-11172-0-0"], 72, "cos-dev-72-11172-1-0"),
        # … and on a tie the plain name before stable, rc, beta and dev.
        (["cos-72-1-0-0", "cos-stable-72-1-0-0", "cos-rc-72-1-0-0"], 72, "cos-72-1-0-0"),
        (["cos-rc-72-1-0-0", "cos-stable-72-1-0-0", "cos-beta-72-1-0-0"], 72, "cos-stable-72-1-0-0"),
        (["cos-dev-72-1-0-0", "cos-beta-72-1-0-0", "cos-rc-72-1-0-0"], 72, "cos-rc-72-1-0-0"),
        (["cos-dev-72-1-0-0", "cos-beta-72-1-0-0"], 72, "cos-beta-72-1-0-0"),
    ],
)
def test_the_newest_image_of_a_milestone_is_found_in_any_order(
    candidates: list[str], milestone: int, newest: str | None
) -> None:
    generator = random.Random(0)
    for _ in range(5):
        assert newest_on_milestone(candidates, milestone) == newest
        generator.shuffle(candidates)


def test_the_names_of_an_attempt_are_the_same_for_all_who_know_the_flow_run() -> None:
    run = "0e9b5a5c-5d0e-4a86-9a39-6a4b8a2ac8f5"
    assert BuildNames.of(run, 1) == BuildNames.of(run, 1)
    attempts = {BuildNames.of(run, count).id for count in range(1, 50)} | {BuildNames.of(str(uuid.UUID(int=0)), 1).id}
    assert len(attempts) == 50


def test_a_nonce_follows_from_nothing_and_is_the_build_s_for_as_long_as_it_lasts() -> None:
    builds = [BuildNames.of("run", 1) for _ in range(50)]
    assert len({nonce for build in builds for nonce in (build.nonce, build.test_nonce)}) == 100
    assert all(build.nonce not in repr(build) for build in builds), "what is logged does not tell"
    assert (builds[0].nonce, builds[0].test_nonce) == (builds[0].nonce, builds[0].test_nonce)


def test_what_a_build_calls_its_resources_is_valid_for_each() -> None:
    build = BuildNames.of("run", 1)
    assert re.fullmatch("[0-9a-f]{10}", build.id)
    assert names.check_resource_name(build.builder_vm) == f"cos-customizer-{build.id}"
    assert re.fullmatch("[0-9a-f]{16}", build.nonce)
    assert re.fullmatch("[0-9a-f]{16}", build.test_nonce)
    labels = build.labels(1_700_000_000.9)
    assert labels == {"cos-customizer-build": build.id, "cos-customizer-expires": "1700000000"}
    for key, value in labels.items():
        names.check_label(key, value)


@pytest.mark.parametrize(
    ("workdir", "prefix"),
    [
        ("image-build-42", "image-build-42/cos-customizer/0123456789/"),
        ("/a/b/", "a/b/cos-customizer/0123456789/"),
        ("/", "cos-customizer/0123456789/"),
        ("a b/ü", "a b/ü/cos-customizer/0123456789/"),
    ],
)
def test_builds_that_share_a_working_directory_do_not_share_objects(workdir: str, prefix: str) -> None:
    assert BuildNames("0123456789").scratch(workdir) == prefix


def test_a_call_has_one_request_id_and_different_calls_have_different_ones() -> None:
    one, other = BuildNames("0123456789"), BuildNames("9876543210")
    assert one.request_id("instances.insert", "zone-a") == one.request_id("instances.insert", "zone-a")
    ids = {
        build.request_id(operation, where)
        for build in (one, other)
        for operation in ("instances.insert", "instances.delete")
        for where in ("zone-a", "zone-b")
    }
    assert len(ids) == 8
    assert all(str(uuid.UUID(text)) == text for text in ids)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("gs://bucket/a.tar.gz", ("bucket", "a.tar.gz")),
        ("gs://bucket/a b/ü#1?.tgz", ("bucket", "a b/ü#1?.tgz")),
        ("files/gs://x", None),
        (".", None),
        ("gs://bucket", ValueError),
        ("gs://bucket/", ValueError),
        ("gs://bucket/directory/", ValueError),
        ("gs:///a.tar.gz", ValueError),
        ("gs://Bucket/a", ValueError),
    ],
)
def test_a_url_names_an_object(url: str, found: object) -> None:
    if found is ValueError:
        with pytest.raises(ValueError, match=r"names no object|is not a bucket's name"):
            names.bucket_and_object(url)
    else:
        assert names.bucket_and_object(url) == found


VERSIONS = [
    # name of a secret's version, what is wrong with it
    ("projects/my-project/secrets/token/versions/3", ""),
    ("projects/my-project/secrets/token/versions/latest", ""),
    ("projects/my-project/secrets/Token_2/versions/in-use", ""),
    ("projects/123456789012/secrets/token/versions/3", ""),
    ("projects/example.com:my-project/secrets/token/versions/3", ""),
    ("projects/my-project/secrets/token", "add /versions/latest"),
    ("projects/my-project/locations/europe-west4/secrets/token/versions/3", "names a regional secret"),
    ("projects/my-project/secrets/token/versions/0", "does not name a secret's version"),
    ("projects/my-project/secrets/token/versions/", "does not name a secret's version"),
    ("projects/my-project/secrets/token/versions/../x", "does not name a secret's version"),
    ("projects/my-project/secrets/to.ken/versions/3", "does not name a secret's version"),
    ("projects/my-project/secrets/token/versions/3:access", "does not name a secret's version"),
    ("https://secretmanager.googleapis.com/v1/projects/p/secrets/s/versions/3", "does not name a secret's version"),
    ("token", "does not name a secret's version"),
    ("token:latest", "does not name a secret's version"),
    ("sm://my-project/token", "does not name a secret's version"),
    ("", "does not name a secret's version"),
]


@pytest.mark.parametrize(("name", "fault"), VERSIONS)
def test_a_name_is_that_of_a_version_of_a_secret_or_what_is_wrong_is_said(name: str, fault: str) -> None:
    if not fault:
        names.check_secret_version(name)
        return
    with pytest.raises(ValueError, match=fault) as caught:
        names.check_secret_version(name)
    assert not name or name not in str(caught.value)
