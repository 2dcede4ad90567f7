"""What all models of a specification share."""

from typing import Any

from pydantic import BaseModel, ConfigDict


def set_by(flag: str) -> dict[str, Any]:
    """The flag that sets a field, for error messages and docs."""
    return {"flag": flag}


class Model(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
