"""What can go wrong: one base exception, raised with a message and a hint for people."""

from typing import Self

from cos_customizer.customizer.fields import Naming, named


class CustomizerError(Exception):
    """Something that the user should know about, and can perhaps do something about.

    Attributes:
        message: what is wrong, in one sentence, naming the field or resource; a `Message` where it names fields.
        hint: what to do about it; may be empty, or a `Message` too.
        exit_code: of the command that ends with this error.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def name_fields(self, name: Naming) -> None:
        """Call fields in message and hint as those who will read them do."""
        self.message, self.hint = named(self.message, name), named(self.hint, name)


class UsageError(CustomizerError):
    """A field or an order of steps that cannot be right; nothing was done and local state is kept."""

    exit_code = 2


class NotFoundError(CustomizerError):
    """A resource that should exist does not."""


class AlreadyExistsError(CustomizerError):
    """A resource that should be new exists."""


class PermissionDeniedError(CustomizerError):
    """The credentials in use may not do this."""


class CredentialsError(CustomizerError):
    """The Google credentials do not work, whatever they would permit."""


class PolicyError(PermissionDeniedError):
    """A policy of the organization forbids this, whoever asks."""


class StockOutError(CustomizerError):
    """A zone has no capacity for the builder VM at the moment; another zone may have."""


class QuotaError(CustomizerError):
    """The project's quota does not allow this."""


class ConflictError(CustomizerError):
    """The resource changed, or is in use, since it was looked at."""


class UnavailableError(CustomizerError):
    """Google Cloud has not answered, or has had an error of its own."""


class BuildFailedError(CustomizerError):
    """The build ran and did not succeed.

    Of this very class it is where the guest has failed outside of its steps: it cannot fetch the build context, say.

    Attributes:
        output: the last lines that the failed step printed, oldest first.
    """

    def __init__(self, message: str, hint: str = "", output: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.output = output

    def retold(self, message: str) -> Self:
        """The same failure, of which more is known.

        Args:
            message: in place of its own.
        """
        return type(self)(message, self.hint, self.output)


class StepFailedError(BuildFailedError):
    """A step has failed on the builder VM."""


class VerificationFailedError(BuildFailedError):
    """The image does not boot, or a script that verifies it has failed."""


class UnexpectedChangesError(BuildFailedError):
    """More has changed in the image than may, or there is no telling."""


class NotApprovedError(BuildFailedError):
    """Nobody has approved the image, or somebody has refused it."""


class LostVmError(BuildFailedError):
    """A VM of the build has stopped by itself, or somebody has stopped or deleted it."""


class PreemptedError(LostVmError):
    """Compute Engine has taken a spot VM back."""


class BuildTimeoutError(BuildFailedError):
    """The build did not complete in time. Pipelines search their logs for this message's wording."""


class CleanUpError(CustomizerError):
    """The build has done its work, and something of its own is left."""


def in_words(error: BaseException) -> str:
    """Why a build has not succeeded, for people.

    Args:
        error: what has ended it.
    """
    if isinstance(error, CustomizerError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit) or not isinstance(error, Exception):
        return "terminated"
    return f"{type(error).__name__}: {error}".rstrip(": ")
