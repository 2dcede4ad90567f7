"""Errors of Prefect's client, in the words of this program."""

from collections.abc import Iterator
from contextlib import contextmanager

from cos_customizer.customizer.errors import CustomizerError

_THEIRS = ("prefect", "httpx", "httpcore")


@contextmanager
def translated() -> Iterator[None]:
    """The API refuses us, or does not answer, or has gone in the middle of a build.

    Raises:
        CustomizerError: instead of an error of Prefect's client.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _THEIRS:
            raise CustomizerError(f"the Prefect API failed: {str(error) or type(error).__name__}") from error
        raise
