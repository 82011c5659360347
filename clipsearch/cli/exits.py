"""The exit code of every known error, in one table."""

from __future__ import annotations

from .. import errors
from .output import EXIT_ERROR

__all__ = ["EXIT_CODES", "exit_code"]

# DESIGN: 1 is an error in one line. Wrong usage (2) is what typer itself finds; a command that
# ran and found its input impossible ends with 1, whatever the cause.
EXIT_CODES: dict[type[errors.ClipSearchError], int] = {
    errors.ClipSearchError: EXIT_ERROR,
    errors.ClusterError: EXIT_ERROR,
    errors.EncoderMismatchError: EXIT_ERROR,
    errors.ImageDecodeError: EXIT_ERROR,
    errors.IndexCorruptError: EXIT_ERROR,
    errors.IndexExistsError: EXIT_ERROR,
    errors.IndexLockedError: EXIT_ERROR,
    errors.IndexMigratedError: EXIT_ERROR,
    errors.IndexNotFoundError: EXIT_ERROR,
    errors.IndexVersionError: EXIT_ERROR,
    errors.InvalidInputError: EXIT_ERROR,
    errors.ItemNotFoundError: EXIT_ERROR,
    errors.MissingExtraError: EXIT_ERROR,
    errors.ModelLoadError: EXIT_ERROR,
    errors.ModelNotFoundError: EXIT_ERROR,
    errors.PartialAnswerError: EXIT_ERROR,
    errors.SourceError: EXIT_ERROR,
    errors.StorageError: EXIT_ERROR,
}


def exit_code(error: errors.ClipSearchError) -> int:
    """The code of an error's nearest class in the table."""
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)
