"""What a build has come to: the flow's return value and the content of the output file."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Outcome = Literal["built", "exists", "failed", "timed-out", "interrupted"]
"""`exists`: the output image was there already, nothing was done."""
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
    "papers",
    "release",
    "clean-up",
]
"""A part of a build, in their order: `boot` is until a VM begins its first step, with the build context on its disk;
`disk` is what comes before that step if partitions move."""


MadeBy = Literal["this-recipe", "another-source", "another-recipe", "other-means", "unknown"]
"""Who has made an image that was there: this recipe of the same source image, this or another recipe of another source
image, another recipe, something else than cos-customizer; or nobody knows."""


class StepResult(BaseModel):
    """How a customization step went."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(description="From 1.")
    label: str = Field(description="For example `run-script preload.sh`.")
    state: Literal["succeeded", "failed", "interrupted", "not-run"]
    seconds: float | None = Field(None, description="How long it took, where that is known.")


class BuildResult(BaseModel):
    """What a build has come to."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome = Field(description="`exists`: the output image was there already, nothing was done.")
    build_id: str = Field("", description="Id of the build: part of its resources' names and their label.")
    project: str = Field("", description="Project of the output image.")
    image: str = Field("", description="Name of the output image.")
    made_by: MadeBy | None = Field(
        None,
        description="Of an image that was there already (`exists`), or had the name (`failed`): who has made it. "
        "`this-recipe`; `another-source`: the source image is another one by now; `another-recipe`; `other-means`: not "
        "cos-customizer; `unknown`: the build context cannot be read.",
    )
    image_self_link: str = Field("", description="URL of the output image, if there is one.")
    image_id: str = Field("", description="Numeric id of the output image, if there is one.")
    source_image: str = Field("", description="projects/{project}/global/images/{image} of the source image.")
    source_image_id: str = Field("", description="Numeric id of the source image.")
    zone: str = Field("", description="Zone of the builder VM.")
    steps: tuple[StepResult, ...] = ()
    verification: tuple[StepResult, ...] = Field((), description="How the output image's verification scripts went.")
    durations: dict[str, float] = Field(
        default_factory=dict,
        description="Seconds by phase: prepare, builder VM, boot, disk (if partitions move), steps, halt, image, "
        "test VM, test boot, verify, papers (documents of the image), release, clean-up; and in all: total.",
    )
    deprecated: tuple[str, ...] = Field((), description="Names of the family's images that were deprecated.")
    contents: str = Field("", description="gs:// URL of what is recorded of the image's contents, if it is.")
    serial_log: str = Field("", description="gs:// URL of the builder VM's whole serial log, if it was stored.")
    verification_log: str = Field("", description="gs:// URL of the test VM's whole serial log, if it was stored.")
    leftovers: tuple[str, ...] = Field((), description="What could not be removed.")
    error: str = Field("", description="Why the build has not succeeded.")
