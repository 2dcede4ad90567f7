"""What a build has come to: the flow's return value and the content of the output file."""

from datetime import UTC, datetime
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from cos_customizer.customizer.durations import human_time
from cos_customizer.customizer.references import VmRef
from cos_customizer.customizer.reporting.failure import Failure, Phase

Outcome = Literal["built", "exists", "failed", "timed-out", "interrupted"]
"""`exists`: the output image was there already, nothing was done."""

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


class KeptVm(BaseModel):
    """A builder VM that is left because its build has failed."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Of the builder VM; its disk has the same.")
    project: str = Field(description="Its project.")
    zone: str = Field(description="Its zone.")
    until: datetime = Field(description="When Compute Engine deletes both by itself (RFC 3339).")
    get_in: str = Field(description="The command that opens a shell on it.")
    read_console: str = Field(description="The command that prints what the build's steps have said.")
    delete: str = Field(description="The command that deletes both before that.")

    @classmethod
    def of(cls, vm: VmRef, until: float, *, tunnel: bool) -> "KeptVm":
        """A VM that is left.

        Args:
            vm: it.
            until: Unix time of its deletion.
            tunnel: it has no external address: the shell goes through Identity-Aware Proxy.
        """
        where = f"{vm.name} --project={vm.project} --zone={vm.zone}"
        return cls(
            name=vm.name,
            project=vm.project,
            zone=vm.zone,
            until=datetime.fromtimestamp(int(until), UTC),
            get_in=f"gcloud compute ssh {where}{' --tunnel-through-iap' if tunnel else ''}",
            read_console=f"gcloud compute instances get-serial-port-output {where} --port=3",
            delete=f"gcloud compute instances delete {where}",
        )

    @property
    def in_words(self) -> str:
        """For people: what is left, and until when."""
        until = human_time(self.until.timestamp())
        return f"builder VM {self.name} in {self.zone}, until {until}, when Compute Engine deletes it"


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
        description=f"Seconds by phase: {', '.join(get_args(Phase))}; and in all: total.",
    )
    changes: str = Field("", description="What has changed, in one line, where contents are recorded.")
    compared_with: str = Field("", description="The image that it has changed against, as project/image.")
    difference: str = Field("", description="gs:// URL of the whole difference (JSON), if it was stored.")
    deprecated: tuple[str, ...] = Field((), description="Names of the family's images that were deprecated.")
    contents: str = Field("", description="gs:// URL of what is recorded of the image's contents, if it is.")
    serial_log: str = Field("", description="gs:// URL of the builder VM's whole serial log, if it was stored.")
    verification_log: str = Field("", description="gs:// URL of the test VM's whole serial log, if it was stored.")
    kept: KeptVm | None = Field(None, description="The builder VM, if it was left to be looked at.")
    leftovers: tuple[str, ...] = Field((), description="What could not be removed.")
    error: str = Field("", description="Why the build has not succeeded.")
    failure: Failure | None = Field(None, description="The same in parts. Null if the build has succeeded.")
