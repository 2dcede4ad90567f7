"""`schema` on the command line."""

import json

from support.command_line import run

from cos_customizer.customizer.spec.recipe_schema import recipe_schema


def test_the_command_prints_the_schema_of_recipes() -> None:
    ran = run("schema")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == recipe_schema()
