"""Why a build has not succeeded, in parts that programs can go by."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cos_customizer.customizer.errors import in_words
from cos_customizer.customizer.reporting.causes import Cause, cause_of

Phase = Literal[
    "prepare",
    "builder VM",
    "boot",
    "disk",
    "steps",
    "halt",
    "contents",
    "image",
    "test VM",
    "test boot",
    "verify",
    "changes",
    "documents",
    "approval",
    "release",
    "clean-up",
]
"""A part of a build, in their order: `boot` is until a VM begins its first step, with the build context on its disk;
`disk` is what comes before that step if partitions move. `approval` does not count against the time limit."""


class Failure(BaseModel):
    """Why a build has not succeeded."""

    model_config = ConfigDict(frozen=True)

    cause: Cause = Field(description="Its kind, in one word: see [Causes](#causes).")
    phase: Phase | Literal["waiting", ""] = Field(
        "",
        description="The part of the build in which it has failed, as in `durations`; `waiting` for another build of "
        "the family; empty if in none of them.",
    )
    step: int | None = Field(
        None,
        description="Number, from 1, of the step that has failed, or ran when the build ended; in the phase `verify` "
        "of the verification script. Null if it was none.",
    )
    step_label: str = Field("", description="What that step is, for example `run-script preload.sh`.")
    exit_code: int | None = Field(
        None, description="Of the step's script, 128 + n if signal n killed it. Null if it has not exited."
    )
    file: str = Field(
        "",
        description="The script, or a file that it sources, in which it failed, as far as its bash could tell; "
        "relative to the build context.",
    )
    line: int | None = Field(None, description="Line of that file. Null if it may be one of several, or is not known.")
    command: str = Field("", description="The command on that line, in one line; long ones are cut.")
    message: str = Field(description="Why, in one sentence: the same as `error`.")
    hint: str = Field("", description="What to do about it; may be empty.")

    @classmethod
    def of(cls, error: BaseException, **known: Any) -> "Failure":
        """The failure that an error is.

        Args:
            error: what has ended the build.
            known: the other fields.
        """
        hint = str(getattr(error, "hint", ""))
        return cls(cause=cause_of(error), message=str(in_words(error)), hint=hint, **known)
