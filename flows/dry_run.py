"""A dry run: the build itself, over clients that read for real and record what would be sent."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cos_customizer.customizer.contents.reading import empty_contents
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import ObjectRef
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.flows.build import run_in_time
from cos_customizer.flows.record import Record
from cos_customizer.gcp import request_bodies
from cos_customizer.gcp.clients import clients, using
from cos_customizer.gcp.rehearsal import PlannedRequest, Rehearsal
from cos_customizer.guest.protocol import ContentsSent, transcript_of_success


@dataclass(frozen=True)
class DryRun:
    """What a build would be.

    Attributes:
        spec: Of the build: what was looked up is filled in, values of environment variables are masked.
        requests: The calls that would change something, in order.
        result: What the build would come to, should all go well on its VMs.
    """

    spec: BuildSpec
    requests: list[PlannedRequest]
    result: BuildResult


def dry_run(spec: BuildSpec) -> DryRun:
    """Find out what a build would do. Reads from Google Cloud, and changes nothing.

    The build's id, which is part of names and labels, is that of a build which never runs, and so are the nonces, which
    a build draws at random: the same specification gives the same dry run. Values of the steps' environment are masked
    in everything that is returned.

    Args:
        spec: The build's specification.

    Raises:
        UsageError: The build could not work: too many labels, too large an environment, no such GPU or driver, log
            entries that would go elsewhere.
        CustomizerError: The source image cannot be found, say.
    """
    real = clients()
    if spec.cloud_logging:
        real.endpoints.check_logging()
    build = BuildNames("0000000000", nonce="0" * 16, test_nonce="0" * 16)
    record = Record(spec, build)

    sent = empty_contents()

    def builder_says() -> str:
        layout = request_bodies.layout_of(spec, record.source) if record.source else None
        wanted = layout.disk_size if layout else None
        contents = ContentsSent(len(sent), hashlib.sha256(sent).hexdigest()) if spec.output.records_contents else None
        return transcript_of_success(build.nonce, [step.label for step in spec.steps], wanted, contents)

    def test_vm_says() -> str:
        return transcript_of_success(build.test_nonce, [script.label for script in spec.verify.scripts])

    target = ObjectRef(spec.scratch.bucket, build.contents(spec.scratch.workdir))
    rehearsal = Rehearsal({build.builder_vm: builder_says, build.test_vm: test_vm_says}, {target: sent})
    with using(replace(real, adapter=rehearsal)):
        result = run_in_time(record)
    spec = record.spec
    masked = spec.masked()
    known = masked.model_copy(update={"context": spec.context.model_copy(update={"sha256": record.context_sha256})})
    sha256, source = record.context_sha256, record.source
    if not sha256 or source is None:  # nothing was to be done
        return DryRun(masked, rehearsal.requests, result)
    user_data, test_user_data = request_bodies.user_data, request_bodies.test_user_data
    shown = {
        user_data(spec, build, sha256, source): user_data(masked, build, sha256, source),
        test_user_data(spec, build, sha256): test_user_data(masked, build, sha256),
    }
    return DryRun(known, [_masked(request, shown) for request in rehearsal.requests], result)


def _masked(request: PlannedRequest, shown: Mapping[str, str]) -> PlannedRequest:
    """The request with user-data in which values of environment variables are masked: `shown`, by what is sent."""
    if "metadata" not in request.body or "items" not in request.body["metadata"]:
        return request
    items: list[dict[str, Any]] = [
        {**item, "value": shown.get(item["value"], item["value"])} for item in request.body["metadata"]["items"]
    ]
    return replace(request, body={**request.body, "metadata": {"items": items}})
