"""What to do next is said where the cloud is this machine's, and nowhere else."""

import pytest

from cos_customizer.cli.next_steps import to_look_at, to_read

LOCAL = {
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "http://127.0.0.1:8080/compute/v1/",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:8081",
}
ELSEWHERE = {
    "Google Cloud": {},
    "another address of Google's": {"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "https://compute-x.p.googleapis.com/"},
    "another cloud": dict.fromkeys(LOCAL, "https://cloud.example"),
    "half of one": {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:8081"},
}


def test_on_this_machine_there_is_a_line_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    assert to_look_at("web-1") == "cos-customizer emulator boot web-1 -- cat /etc/os-release"
    assert to_read("gs://b/o") == "cos-customizer emulator cat gs://b/o"


@pytest.mark.parametrize("variables", ELSEWHERE.values(), ids=ELSEWHERE)
def test_elsewhere_there_is_none(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOCAL:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert to_look_at("web-1") is None
    assert to_read("gs://b/o") is None
