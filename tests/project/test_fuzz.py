"""A bounded run of the fuzzers, the same cases every time; `make fuzz` is the long one."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from support.fuzz import KINDS, Kind
from support.fuzz_place import place


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bad_input_is_told_in_words(kind: Kind) -> None:
    @settings(
        max_examples=150,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.cases)
    def attempt(case: object) -> None:
        verdict = kind.attempt(case)
        assert not verdict.problem, f"{case!r}: {verdict.problem}"

    with place():
        attempt()
