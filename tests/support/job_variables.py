"""Whether the variables that a deployment gives to its jobs are ones that the worker's own schema knows."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator


def problems(variables: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with job variables.

    Args:
        variables: of a deployment.
        schema: `variables` of the base job template that the worker's type has.
    """
    # Prefect's own check lets unknown ones pass: a misspelt one would have no effect.
    yield from (f"{name}: the worker knows no such variable" for name in variables if name not in schema["properties"])
    for error in Draft202012Validator(dict(schema)).iter_errors(dict(variables)):
        yield f"{error.json_path}: {error.message}"
