"""Specifications and recipes: what is taken and what is refused."""

import copy
from collections.abc import Callable
from typing import Any

from cos_customizer.customizer.spec.model import BuildSpec

SpecMaker = Callable[..., BuildSpec]

MINIMAL: dict[str, Any] = {
    "source": {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0"},
    "scratch": {"bucket": "my-project_cloudbuild", "workdir": "image-build-42"},
    "builder": {"project": "my-project", "zones": ["us-west1-b"]},
    "output": {"project": "my-project", "name": "my-custom-image"},
}

SECRET = "projects/my-project/secrets/token/versions/latest"
ABSENT = "(absent)"  # a text, so that the ids of tests are the same in every process


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """MINIMAL with values at dotted paths put in, or taken out where they are ABSENT."""
    data = copy.deepcopy(MINIMAL)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return data


TAKEN: list[dict[str, Any]] = [
    {"source.name": ABSENT, "source.milestone": 125},
    {"source.name": ABSENT, "source.family": "cos-stable"},
    {"source.project": "example.com:images"},
    {"output.name": ABSENT, "output.suffix": "-custom"},
    {"output.family": "f", "output.deprecate_old_images": True, "output.old_image_ttl": 3600},
    {"builder.zones": ["us-west1-b", "us-west1-a"]},
    {"builder.keep_on_failure": "1d12h"},
    {"builder.subnet": "projects/host/regions/us-west1/subnetworks/s"},
    {"builder.labels": {f"l{number}": "" for number in range(62)}},
    {"builder.labels": {"cos-customizer-build": "x"} | {f"l{number}": "" for number in range(62)}},
    {"output.labels": {f"l{number}": "" for number in range(64)}},
    {"context.sha256": "0" * 64},
    {"builder.confidential_vm": "SEV"},
    {"builder.confidential_vm": "SEV_SNP", "builder.machine_type": "n2d-highmem-8"},
    {"builder.confidential_vm": "TDX", "builder.machine_type": "c3-standard-4"},
    {"builder.confidential_vm": "TDX", "builder.machine_type": "n99-standard-2"},
    {"builder.confidential_vm": "TDX", "builder.gpu_type": "nvidia-h100-80gb"},
    {"builder.spot": True, "builder.gpu_type": "nvidia-tesla-t4"},
    {"builder.scopes": ["cloud-platform", "https://www.googleapis.com/auth/logging.write"]},
    {"builder.scopes": ["storage-ro"]},
    {"builder.metadata": {"enable-guest-attributes": "TRUE", "startup-script": "echo a,b\n", "K_1": ""}},
    {"output.description": "Web servers\nof the shop: 100 %"},
    {"output.description": "x" * 1700},
    {"output.inherit_labels": True},
    {"output.inherit_labels": ["team", "cost-centre"]},
    {"output.inherit_labels": []},
    {"output.guest_os_features": ["GVNIC", "TDX_CAPABLE", "GVNIC"]},
    {"output.uefi_platform_key": "keys/pk.der", "output.uefi_key_exchange_keys": ["keys/kek.der"]},
    {"output.uefi_signature_database": ["a.der", "b.der"], "output.uefi_forbidden_database": ["dbx.bin"]},
    {"steps": [{"script": "a", "env": {"A": ""}, "env_secrets": {"B": SECRET, "c_1": SECRET}}]},
    {"steps": [{"script": "a", "repeat_after_reboot": True}]},
    {"verify.scripts": ["a", {"script": "b", "env_secrets": {"B": SECRET.replace("latest", "7")}}]},
    {"builder.service_account": "builder@my-project.iam.gserviceaccount.com"},
    {"builder.kms_key": "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3"},
    {"output.labels": {f"l{number}": "" for number in range(61)}, "verify.boot": True},
    {"verify.changes": {}, "output.family": "f", "verify.keep_failed_image": True},
    {"verify.changes": {"paths": ["/var/**"], "units": ["*"]}, "output.record_contents": True},
    {"verify.require_approval": True, "verify.approval_timeout": "3d", "verify.keep_failed_image": True},
    {"builder.oem_size": "500M"},
    {"builder.oem_size": 32768},
    {"steps": [{"script": "a.sh"}, {"type": "seal-oem"}, {"type": "disable-auto-update"}, {"script": "b.sh"}]},
    {"timeout": "1ns"},
    {"timeout": "2880h"},
    {"steps": [{"script": "a.sh"}] * 200},
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"builder.machine_type": "n4-standard-2", "builder.disk_type": "pd-ssd"},
        "builder.machine_type: n4-standard-2 does not boot from builder.disk_type: pd-ssd: it does from hyperdisk-bal",
    ),
    (
        {"builder.machine_type": "c3-highcpu-8", "builder.disk_type": "pd-standard"},
        "builder.machine_type: c3-highcpu-8 does not boot from builder.disk_type: pd-standard: it does from pd",
    ),
    (
        {"builder.machine_type": "e2-medium", "builder.disk_type": "local-ssd"},
        "builder.machine_type: e2-medium does not boot from builder.disk_type: local-ssd: it does from pd-standard",
    ),
    (
        {"builder.shielded_vtpm": False},
        "builder.shielded_integrity_monitoring needs the virtual TPM: with builder.shielded_vtpm: false, it must be",
    ),
    ({"scratch": ABSENT}, "scratch must be set"),
    ({"scratch.bucket": ABSENT}, "scratch.bucket must be set"),
    ({"scratch.bucket": "gs://b"}, "scratch.bucket: 'gs://b' is not a bucket's name (no gs://"),
    ({"scratch.workdir": ""}, "scratch.workdir must not be empty"),
    ({"scratch.workdir": "a\nb"}, "scratch.workdir: 'a\\nb' cannot be part of an object's name"),
    ({"colour": "blue"}, "colour is not a field of a build's specification"),
    ({"builder.colour": "blue"}, "builder.colour is not a field of a build's specification"),
    ({"source.name": ABSENT}, "exactly one of source.name, source.milestone and source.family must be set"),
    ({"source.family": "f"}, "exactly one of source.name, source.milestone and source.family must be set"),
    ({"source.name": ""}, "source.name: '' is not a valid name"),
    ({"source.name": "a/b"}, "source.name: 'a/b' is not a valid name"),
    ({"source.name": ABSENT, "source.family": "a/b"}, "source.family: 'a/b' is not a valid name"),
    ({"source.name": ABSENT, "source.milestone": 0}, "source.milestone: input should be greater"),
    ({"source.name": ABSENT, "source.milestone": "x"}, "source.milestone must be a whole number"),
    (
        {"source.name": ABSENT, "source.milestone": 125, "source.project": "mine"},
        "source.milestone needs source.project: cos-cloud, not 'mine'",
    ),
    ({"source.project": "a b"}, "source.project: 'a b' is not a project's id"),
    (
        {"source.architecture": "RISCV"},
        "source.architecture: input should be 'X86_64' or 'ARM64'",
    ),
    ({"builder.zones": []}, "builder.zones: list should have at least 1 item"),
    ({"builder.zones": ["us west"]}, "builder.zones.0: 'us west' is not a valid name"),
    ({"builder.zones": "us-west1-b"}, "builder.zones must be a list"),
    ({"builder.project": ""}, "builder.project: '' is not a project's id"),
    ({"builder.disk_size_gb": -1}, "builder.disk_size_gb: input should be greater than or equal to 0"),
    ({"builder.disk_size_gb": 10**30}, "builder.disk_size_gb: input should be less than or equal to"),
    ({"builder.oem_size": "1T"}, "builder.oem_size: '1T' is no size: write a number with G, M, K or B"),
    ({"builder.oem_size": 16}, "builder.oem_size: '16' is less than 16M"),
    ({"builder.network_tags": ["ok", "No"]}, "builder.network_tags.1: 'No' is not a valid name"),
    ({"builder.kms_key": "my-key"}, "builder.kms_key: 'my-key' is not a key's name: write projects/"),
    ({"builder.confidential_vm": "SGX"}, "builder.confidential_vm: input should be 'SEV', 'SEV_SNP' or 'TDX'"),
    ({"builder.confidential_vm": True}, "builder.confidential_vm: input should be 'SEV', 'SEV_SNP' or 'TDX'"),
    (
        {"builder.confidential_vm": "SEV", "builder.machine_type": "n1-standard-1"},
        "builder.machine_type: n1-standard-1 does not run as builder.confidential_vm: SEV: machines of n2d, c2d, ",
    ),
    (
        {"builder.confidential_vm": "TDX", "builder.machine_type": "n2d-standard-2"},
        "builder.machine_type: n2d-standard-2 does not run as builder.confidential_vm: TDX: machines of c3 do",
    ),
    (
        {"builder.confidential_vm": "SEV", "builder.gpu_type": "nvidia-tesla-t4"},
        "builder.confidential_vm: SEV: no machine that holds builder.gpu_type: nvidia-tesla-t4 runs so",
    ),
    ({"builder.spot": "often"}, "builder.spot must be true or false"),
    ({"builder.scopes": ["a b"]}, "builder.scopes: 'a b' is not a scope: write https://www.googleapis.com/auth/clou"),
    ({"builder.scopes": [""]}, "builder.scopes: '' is not a scope"),
    ({"builder.scopes": ["https://example.com/auth/x"]}, "builder.scopes: 'https://example.com/auth/x' is not a scope"),
    ({"builder.scopes": "cloud-platform"}, "builder.scopes must be a list"),
    ({"builder.scopes": ["logging-write"]}, "builder.scopes: the VM reads the build context in Cloud Storage: add"),
    (
        {"builder.scopes": ["storage-rw"], "steps": [{"script": "a", "env_secrets": {"A": SECRET}}]},
        "builder.scopes: a VM that reads secrets needs cloud-platform",
    ),
    ({"builder.metadata": {"user-data": "x"}}, "builder.metadata: 'user-data' is set by the build: it carries"),
    ({"builder.metadata": {"Storage-Endpoint": "x"}}, "builder.metadata: 'Storage-Endpoint' is set by the build: the"),
    ({"builder.metadata": {"a b": "x"}}, "builder.metadata: 'a b' is not a key of metadata: up to 128 letters"),
    ({"builder.metadata": {"": "x"}}, "builder.metadata: '' is not a key of metadata"),
    ({"builder.metadata": {"a": 1}}, "builder.metadata.a: input should be a valid string"),
    ({"builder.metadata": {"a": "\0"}}, "builder.metadata: the value of a is not UTF-8 text, or has a NUL in it"),
    ({"builder.metadata": {"a": "x" * (255 << 10)}}, "builder.metadata: metadata of 261,121 bytes; beside"),
    ({"output.description": ""}, "output.description must not be empty"),
    ({"output.description": "x" * 1701}, "output.description: string should have at most 1700 characters"),
    ({"output.inherit_labels": "team"}, "output.inherit_labels: it must be true, false, or a list of keys of labels"),
    ({"output.inherit_labels": ["Team"]}, "output.inherit_labels: 'Team' is not a valid label key"),
    ({"output.inherit_labels": [1]}, "output.inherit_labels: 1 is not a key of a label"),
    ({"output.storage_location": "us,eu"}, "output.storage_location: 'us,eu' is more than one: Compute Engine keeps"),
    ({"output.storage_location": ["us", "eu"]}, "output.storage_location must be a single value"),
    (
        {"output.guest_os_features": ["SEV_CAPABEL"]},
        "output.guest_os_features: there is no guest OS feature 'SEV_CAPABEL': did you mean SEV_CAPABLE",
    ),
    ({"output.uefi_platform_key": "/pk.der"}, "output.uefi_platform_key: '/pk.der' is absolute"),
    ({"output.uefi_signature_database": [""]}, "output.uefi_signature_database.0: the path of a file must be set"),
    ({"output.uefi_forbidden_database": ["../dbx"]}, "output.uefi_forbidden_database.0: '../dbx' is outside"),
    ({"output.uefi_key_exchange_keys": ["."]}, "output.uefi_key_exchange_keys.0: '.' is a directory, not a file"),
    ({"output.guest_os_features": ["x"]}, "output.guest_os_features: there is no guest OS feature 'x': BARE_METAL"),
    ({"builder.service_account": "me"}, "builder.service_account: 'me' is not the e-mail address"),
    (
        {"verify.keep_failed_image": True},
        "verify.keep_failed_image needs verify.scripts, verify.boot, verify.changes or verify.require_approval",
    ),
    ({"verify.changes": {}}, "verify.changes needs output.record_contents: true: without recorded contents nothing"),
    (
        {"verify.changes": {}, "output.family": "f", "output.record_contents": False},
        "verify.changes needs output.record_contents: true",
    ),
    (
        {"verify.changes": {"paths": ["var/lib"]}, "output.family": "f"},
        "verify.changes.paths.0: 'var/lib' is no pattern of paths: it begins with a slash",
    ),
    ({"verify.changes": {"units": [""]}, "output.family": "f"}, "verify.changes.units.0 must not be empty"),
    ({"verify.changes": {"files": []}, "output.family": "f"}, "verify.changes.files is not a field"),
    ({"verify.approval_timeout": 0}, "verify.approval_timeout: input should be greater"),
    ({"verify.approval_timeout": "31d"}, "verify.approval_timeout: input should be less"),
    (
        {"verify.scripts": ["../a.sh"]},
        "verify.scripts.0.script: '../a.sh' is outside the build context",
    ),
    (
        {"output.labels": {f"l{number}": "" for number in range(62)}, "verify.boot": True},
        "output.labels: an image that is verified has room for 61 until it is released",
    ),
    (
        {"output.labels": {"cos-customizer-state": "unreleased"}},
        "output.labels: 'cos-customizer-state' is cos-customizer's own",
    ),
    ({"builder.labels": {"A": "b"}}, "builder.labels: 'A' is not a valid label key"),
    (
        {"builder.labels": {f"l{number}": "" for number in range(63)}},
        "builder.labels: a builder VM can have at most 62 labels beside the build's own, not 63",
    ),
    (
        {"output.labels": {f"l{number}": "" for number in range(65)}},
        "output.labels: a resource can have at most 64 labels, not 65",
    ),
    ({"output.labels": {"a": 1}}, "output.labels.a: input should be a valid string"),
    ({"output.name": "My image"}, "output.name: 'My image' is not a valid name"),
    ({"output.name": ABSENT}, "exactly one of output.name and output.suffix must be set"),
    ({"output.suffix": "-x"}, "exactly one of output.name and output.suffix must be set"),
    ({"output.deprecate_old_images": True}, "output.deprecate_old_images needs output.family"),
    ({"output.old_image_ttl": 1}, "output.old_image_ttl needs output.deprecate_old_images"),
    ({"output.old_image_ttl": -1}, "output.old_image_ttl: input should be greater than or equal"),
    ({"output.old_image_ttl": 10**12}, "output.old_image_ttl: input should be less than or equal"),
    ({"builder.keep_on_failure": 10**9}, "builder.keep_on_failure: input should be less than or equal"),
    ({"output.licenses": ["cos"]}, "output.licenses: 'cos' is not a licence"),
    ({"context.path": ""}, "context.path must not be empty"),
    ({"context.sha256": "x"}, "context.sha256: string should match pattern"),
    ({"steps": [{"script": "a"}, {"script": "/b"}]}, "steps.1.script: '/b' is absolute"),
    ({"steps": [{}]}, "steps.0.script must be set"),
    (
        {"steps": [{"type": "fly", "script": "a"}]},
        "steps.0.type must be one of run-script, disable-auto-update,",
    ),
    ({"steps": [{"script": "a", "env": {"1": ""}}]}, "steps.0.env: '1' is not a valid environment variable"),
    ({"steps": [{"script": "a", "env": {"A": 1}}]}, "steps.0.env.A: input should be a valid string"),
    ({"steps": [{"script": "a", "env": {"A": "x" * 131072}}]}, "steps.0.env: the environment has 131,074 bytes"),
    ({"steps": [{"script": "a", "repeat_after_reboot": "3010"}]}, "steps.0.repeat_after_reboot must be true or false"),
    (
        {"steps": [{"script": "a", "env_secrets": {"A": "projects/p1/secrets/s"}}]},
        "steps.0.env_secrets: A names a secret and not which version of it: add /versions/latest",
    ),
    (
        {"steps": [{"script": "a", "env_secrets": {"A": "x"}}]},
        "steps.0.env_secrets: A does not name a secret's version",
    ),
    ({"steps": [{"script": "a", "env_secrets": {"1": SECRET}}]}, "steps.0.env_secrets: '1' is not a valid environment"),
    ({"steps": [{"script": "a", "env_secrets": {"UID": SECRET}}]}, "steps.0.env_secrets: UID cannot be set"),
    (
        {"steps": [{"script": "a", "env": {"A": ""}, "env_secrets": {"A": SECRET}}]},
        "A is in both steps.0.env and steps.0.env_secrets",
    ),
    (
        {"verify.scripts": [{"script": "a", "env_secrets": {"A": []}}]},
        "verify.scripts.0.env_secrets.A must be a single",
    ),
    (
        {"builder.machine_type": "n1-standard-4", "builder.gpu_type": "nvidia-l4"},
        "builder.machine_type: n1-standard-4 cannot hold builder.gpu_type: nvidia-l4: g2 can",
    ),
    ({"timeout": "1d"}, "timeout: '1d' is not a duration: 'd' is not one of the units"),
    ({"timeout": 90}, "timeout: '90' is not a duration: a unit is missing"),
    ({"timeout": "0s"}, "timeout: a build needs some time; '0s' is none"),
    ({"timeout": "-1h"}, "timeout: a build needs some time; '-1h' is none"),
    ({"timeout": "0.5ns"}, "timeout: a build needs some time"),
    ({"timeout": "2880h0m1s"}, "timeout: '2880h0m1s' is longer than Compute Engine lets a builder VM run"),
]

RECIPE = """\
source: {project: cos-cloud, family: cos-stable}
scratch: {bucket: my-project_cloudbuild, workdir: work}
builder: {project: my-project, zones: [us-west1-b]}
output:
  project: my-project
  name: my-image
  labels: {cos_image: true}
steps:
  - script: first.sh
    env:
      FOO: bar
  - type: run-script
    script: second.sh
"""

FAULTS = [
    ("name: my-image", "nam: my-image", "r.yaml:6: output.nam is not a field of a recipe", "did you mean output.name?"),
    ("  name: my-image\n", "", "r.yaml:4: exactly one of output.name and output.suffix must be set", ""),
    ("name: my-image", "name: My", "r.yaml:6: output.name: 'My' is not a valid name", ""),
    ("family: cos-stable", "milestone: x", "r.yaml:1: source.milestone must be a whole number", ""),
    (
        "project: cos-cloud, family",
        "project: p1, milestone: 1, family",
        "r.yaml:1: exactly one of source.name, source.milestone and source.fam",
        "",
    ),
    (
        "project: cos-cloud, family: cos-stable",
        "project: p1, milestone: 1",
        "source.milestone needs source.project: cos-cloud",
        "",
    ),
    ("zones: [us-west1-b]", "zone: z", "r.yaml:3: builder.zones must be set", "did you mean builder.zones?"),
    ("zones: [us-west1-b]", "zones: us-west1-b", "r.yaml:3: builder.zones must be a list", "in brackets: [ITEM]"),
    ("zones: [us-west1-b]", "zones:", "r.yaml:3: builder.zones has no value", "give builder.zones one"),
    (
        "type: run-script",
        "type: run",
        "r.yaml:12: steps.1.type must be one of run-script, disable-auto-update,",
        "",
    ),
    ("script: second.sh", "script: /second.sh", "r.yaml:13: steps.1.script: '/second.sh' is absolute", ""),
    ("FOO: bar", "F-OO: bar", "r.yaml:10: steps.0.env: 'F-OO' is not a valid environment variable", ""),
    ("FOO: bar", "FOO:", "r.yaml:11: steps.0.env.FOO has no value", "'' is an empty text"),
    ("FOO: bar", "FOO: {a: b}", "r.yaml:11: steps.0.env.FOO must be a single value", "quotation marks"),
    ("FOO: bar", "FOO: '***'", "r.yaml:11: steps.0.env.FOO is masked (***)", "setting steps.0.env.FOO=VALUE"),
    ("scratch: {bucket", "scratch: {buckets", "r.yaml:2: scratch.bucket must be set", "scratch.bucket?"),
    ("scratch: {bucket: my-project_cloudbuild, workdir: work}\n", "", "r.yaml:1: scratch must be set", ""),
    (
        "  labels: {cos_image: true}",
        "  deprecate_old_images: yes",
        "output.deprecate_old_images needs output.family",
        "",
    ),
    ("type: run-script\n    script: second.sh", "type: install-gpu\n    version: 1.2x", "steps.1.version: '1.2x'", ""),
    (
        "type: run-script\n    script: second.sh",
        "{type: install-gpu, version: 535.104.05, deps_dir: d, attach_gpu: false}",
        "steps.1.attach_gpu: false cannot be used with steps.1.deps_dir",
        "",
    ),
]
