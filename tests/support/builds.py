"""Builds that fail, and the images around them, for tests of the build flow."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.cloud import compute_v1

from cos_customizer.customizer.reporting.events import BuildEnded, Event, listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect


def images(emulator: Emulator) -> dict[str, Any]:
    """The images of our project, by name."""
    return {image["name"]: image for image in emulator.list("projects/my-project/global/images")}


def make_image(name: str, **fields: Any) -> None:
    """An image that somebody else has made."""
    source = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
    image = compute_v1.Image(name=name, source_image=source, **fields)
    operation = connect().images.insert_unary(project="my-project", image_resource=image)
    connect().global_operations.wait(project="my-project", operation=operation.name)


def failing(spec: BuildSpec, error: type[BaseException], match: str | None = None) -> tuple[Any, BuildResult]:
    """Run a build that ends in an error: the error, and what became of the build."""
    ended: list[BuildResult] = []

    def note(event: Event) -> None:
        if isinstance(event, BuildEnded):
            ended.append(event.result)

    with listening(note), pytest.raises(error, match=match) as caught:
        build_image(spec)
    return caught.value, ended[0]


@contextmanager
def time_is_up(moment: Callable[[Event], bool]) -> Iterator[None]:
    """The time limit of a build passes at the first event of which `moment` is true, however slow this machine is."""

    def hurry(event: Event) -> None:
        if moment(event):
            signal.setitimer(signal.ITIMER_REAL, 0.2)

    with listening(hurry):
        yield


@contextmanager
def signalled(number: signal.Signals, moment: Callable[[Event], bool], times: int = 1) -> Iterator[None]:
    """This process gets a signal, or several, soon after the first event of which `moment` is true."""
    senders: list[threading.Thread] = []

    def send() -> None:
        for _ in range(times):
            time.sleep(0.1)
            os.kill(os.getpid(), number)

    def begin(event: Event) -> None:
        if not senders and moment(event):
            senders.append(threading.Thread(target=send))
            senders[0].start()

    with listening(begin):
        try:
            yield
        finally:
            for sender in senders:
                sender.join()
