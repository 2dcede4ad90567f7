"""`schema`: what a recipe may hold, for editors."""

import click

from cos_customizer.cli.command import RECIPES, command


@command("schema", section=RECIPES, rank=2)
def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    An editor that knows it completes fields, explains them and marks what is wrong. The first line of a recipe says
    where it is: # yaml-language-server: $schema=recipe.schema.json
    """
    from cos_customizer.customizer.spec.recipe_schema import schema_text

    click.echo(schema_text(), nl=False)
