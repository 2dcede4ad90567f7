"""The emulator's boxes (sub-rooms, and the files beside them): which of them may import which."""

import graphlib

import pytest
from support.imports import EMULATOR, MODULES, imports

ALLOWED = {
    # Each box with those that it imports. No service imports another: what they share lies beside them.
    "clock": "",
    "errors": "",
    "patterns": "errors",
    "faults": "patterns",
    "files": "",
    "gate": "errors",
    "front": "http_server",
    "request_body": "errors",
    "turnstile": "errors",
    "http_server": "errors gate request_body turnstile",
    "limits": "errors",
    "request_log": "patterns",
    "filter_language": "errors",
    "projects": "errors",
    "partial_answers": "errors",
    "web": "errors faults http_server projects request_log",
    "cloud_build": "errors",
    "machines": "clock errors faults files http_server limits patterns projects",
    "storage": "errors faults gate http_server patterns projects request_body",
    "registry": "errors faults files gate http_server request_body turnstile",
    "logging": "clock errors filter_language patterns projects web",
    "secret_manager": "clock errors files projects web",
    "kms": "clock errors files projects web",
    "compute": "clock errors faults filter_language machines partial_answers patterns projects web",
    "control": "compute errors faults machines web",
    "guest_access": "compute errors machines web",
    "saved_state": "clock compute errors kms logging registry secret_manager storage",
    "services": "clock compute errors faults guest_access kms limits logging machines registry secret_manager",
    "seed": "errors faults kms machines projects",
    "overview": "compute services storage",
    "page": "errors",
    "project_removal": "errors projects services storage",
    "local_project": "compute errors faults request_log server",
    "whole_state": "clock errors faults files limits machines request_log saved_state services storage turnstile",
    "server": "clock compute control errors faults front gate guest_access http_server kms limits logging machines "
    "overview page project_removal projects registry request_log secret_manager seed services storage turnstile web "
    "whole_state",
    "background": "errors files machines seed server",
}


def boxes_imported_by(box: str) -> set[str]:
    found = {
        target
        for name in MODULES
        if name.startswith(f"{EMULATOR}.") and name.split(".")[1] == box
        for each in imports(name)
        for room, _, target in [each.target.partition(".")]
        if each.ours and room == EMULATOR and target
    }
    return {target.partition(".")[0] for target in found} - {box}


def test_every_box_has_its_rule() -> None:
    assert {name.split(".")[1] for name in MODULES if name.startswith(f"{EMULATOR}.")} == set(ALLOWED)


@pytest.mark.parametrize("box", ALLOWED)
def test_a_box_imports_what_it_may_and_no_rule_is_out_of_use(box: str) -> None:
    assert boxes_imported_by(box) == set(ALLOWED[box].split())


def test_no_box_imports_itself_by_way_of_others() -> None:
    graph = {box: boxes_imported_by(box) for box in ALLOWED}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(ALLOWED)
