"""The exception tree.

Every error that clipsearch raises on purpose descends from `ClipSearchError` and from the
builtin that fits, carries a stable `code`, and says what happened and what to do::

    ClipSearchError
    ├── InvalidInputError        ValueError         invalid_input
    ├── ImageDecodeError         ValueError         image_decode
    ├── SourceError              ValueError         source
    ├── ModelNotFoundError       LookupError        model_not_found
    ├── ModelLoadError           RuntimeError       model_load
    ├── EncoderMismatchError     ValueError         encoder_mismatch
    │   └── IndexMigratedError   ValueError         index_migrated
    ├── IndexNotFoundError       FileNotFoundError  index_not_found
    ├── IndexExistsError         FileExistsError    index_exists
    ├── IndexLockedError         BlockingIOError    index_locked
    ├── IndexVersionError        RuntimeError       index_version
    ├── IndexCorruptError        RuntimeError       index_corrupt
    ├── StorageError             OSError            storage
    ├── ItemNotFoundError        LookupError        item_not_found
    ├── MissingExtraError        ImportError        missing_extra
    ├── ClusterError             RuntimeError       cluster
    ├── PartialAnswerError       RuntimeError       partial_answer
    └── ServiceError             RuntimeError       service
"""

from typing import ClassVar

from .passing import Passing

__all__ = [
    "ClipSearchError",
    "ClipSearchWarning",
    "ClusterError",
    "EncoderMismatchError",
    "ImageDecodeError",
    "IndexCorruptError",
    "IndexExistsError",
    "IndexLockedError",
    "IndexMigratedError",
    "IndexNotFoundError",
    "IndexVersionError",
    "InvalidInputError",
    "ItemNotFoundError",
    "MissingExtraError",
    "ModelLoadError",
    "ModelNotFoundError",
    "PartialAnswerError",
    "ServiceError",
    "SourceError",
    "StorageError",
]


class ClipSearchError(Exception):
    """Root of the tree: one clear line that says what happened and what to do.

    Attributes:
        code: Stable name of the class in HTTP answers.
        exit_code: Of a command that the error ends. Wrong usage has 2, skipped files have 3.
        http_status: Of the HTTP answer to a request that the error ends.
        public_detail: What that answer says instead of the message, which may name files of the
            server; None where the status decides.
    """

    code = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    public_detail: ClassVar[str | None] = None

    def __str__(self) -> str:
        # OSError and LookupError leaves would otherwise print errno tuples or quoted keys.
        return str(self.args[0]) if self.args else self.code


class ClipSearchWarning(UserWarning):
    """Something that the user should know, and that is no error."""


class InvalidInputError(ClipSearchError, ValueError):
    """An argument is outside what the call accepts."""

    code = "invalid_input"
    http_status = 422


class ImageDecodeError(ClipSearchError, ValueError):
    """A file or buffer is not an image that can be decoded within the limits.

    Args:
        message: What happened.
        passing: Why another try may succeed with the same bytes; None if it may not.
    """

    code = "image_decode"
    http_status = 422

    def __init__(self, message: str, *, passing: Passing | None = None) -> None:
        super().__init__(message)
        self.passing = passing


class SourceError(ClipSearchError, ValueError):
    """A folder, table, shard or list to index is missing, empty or malformed."""

    code = "source"
    http_status = 422


class ModelNotFoundError(ClipSearchError, LookupError):
    """No model has that name."""

    code = "model_not_found"
    http_status = 404


class ModelLoadError(ClipSearchError, RuntimeError):
    """A model is known, but its weights cannot be loaded as they must be."""

    code = "model_load"
    http_status = 500


class EncoderMismatchError(ClipSearchError, ValueError):
    """An index was made with another encoder than the one in use."""

    code = "encoder_mismatch"
    http_status = 409


class IndexMigratedError(EncoderMismatchError, ValueError):
    """An index was migrated to another model, or replaced, after it was opened."""

    code = "index_migrated"
    http_status = 503
    public_detail = "the index has another model now, which is not loaded; try again soon"


class IndexNotFoundError(ClipSearchError, FileNotFoundError):
    """There is no index at that name or folder."""

    code = "index_not_found"
    http_status = 404
    public_detail = "there is no such index; GET /v1/indexes lists them"


class IndexExistsError(ClipSearchError, FileExistsError):
    """An index is to be created where one already is, or where other files are."""

    code = "index_exists"
    http_status = 409


class IndexLockedError(ClipSearchError, BlockingIOError):
    """Another process is writing to the index."""

    code = "index_locked"
    http_status = 503


class IndexVersionError(ClipSearchError, RuntimeError):
    """The index was written in a format that this version does not read."""

    code = "index_version"
    http_status = 500


class IndexCorruptError(ClipSearchError, RuntimeError):
    """A file of the index is missing, truncated or altered."""

    code = "index_corrupt"
    http_status = 500


class StorageError(ClipSearchError, OSError):
    """The disk refused: full, read-only or without permission.

    Attributes:
        outcome: What became of the index that was to be changed; empty where that is not known, or
            where none was.
    """

    code = "storage"
    http_status = 500
    outcome = ""

    def __str__(self) -> str:
        return f"{super().__str__()} {self.outcome}".rstrip()


class ItemNotFoundError(ClipSearchError, LookupError):
    """The index has no item with that id."""

    code = "item_not_found"
    http_status = 404


class MissingExtraError(ClipSearchError, ImportError):
    """A capability needs an optional dependency that is not installed."""

    code = "missing_extra"
    http_status = 501
    public_detail = "this needs a part of clipsearch that is not installed here"


class ClusterError(ClipSearchError, RuntimeError):
    """There is no cluster, it does not fit the work, or it failed."""

    code = "cluster"
    http_status = 503


class PartialAnswerError(ClipSearchError, RuntimeError):
    """Some shards of an index did not answer, and a partial answer is not wanted."""

    code = "partial_answer"
    http_status = 503


class ServiceError(ClipSearchError, RuntimeError):
    """A server is out of reach, or refuses: no token, too many requests, too large.

    Args:
        message: What happened.
        status: HTTP status of the server's answer; 0 without an answer.
        code: The server's stable code.
    """

    code = "service"
    http_status = 502

    def __init__(self, message: str, *, status: int = 0, code: str = "service") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
