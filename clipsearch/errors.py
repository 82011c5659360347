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
    └── PartialAnswerError       RuntimeError       partial_answer
"""

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
    "SourceError",
    "StorageError",
]


class ClipSearchError(Exception):
    """Root of the tree: one clear line that says what happened and what to do."""

    code = "error"

    def __str__(self) -> str:
        # OSError and LookupError leaves would otherwise print errno tuples or quoted keys.
        return str(self.args[0]) if self.args else self.code


class ClipSearchWarning(UserWarning):
    """Something that the user should know, and that is no error."""


class InvalidInputError(ClipSearchError, ValueError):
    """An argument is outside what the call accepts."""

    code = "invalid_input"


class ImageDecodeError(ClipSearchError, ValueError):
    """A file or buffer is not an image that can be decoded within the limits."""

    code = "image_decode"


class SourceError(ClipSearchError, ValueError):
    """A folder, table, shard or list to index is missing, empty or malformed."""

    code = "source"


class ModelNotFoundError(ClipSearchError, LookupError):
    """No model has that name."""

    code = "model_not_found"


class ModelLoadError(ClipSearchError, RuntimeError):
    """A model is known, but its weights cannot be loaded as they must be."""

    code = "model_load"


class EncoderMismatchError(ClipSearchError, ValueError):
    """An index was made with another encoder than the one in use."""

    code = "encoder_mismatch"


class IndexMigratedError(EncoderMismatchError, ValueError):
    """An index has been migrated to another model, or replaced, since it was opened."""

    code = "index_migrated"


class IndexNotFoundError(ClipSearchError, FileNotFoundError):
    """There is no index at that name or folder."""

    code = "index_not_found"


class IndexExistsError(ClipSearchError, FileExistsError):
    """An index is to be created where one already is, or where other files are."""

    code = "index_exists"


class IndexLockedError(ClipSearchError, BlockingIOError):
    """Another process is writing to the index."""

    code = "index_locked"


class IndexVersionError(ClipSearchError, RuntimeError):
    """The index was written in a format that this version does not read."""

    code = "index_version"


class IndexCorruptError(ClipSearchError, RuntimeError):
    """A file of the index is missing, truncated or altered."""

    code = "index_corrupt"


class StorageError(ClipSearchError, OSError):
    """The disk refused: full, read-only or without permission."""

    code = "storage"


class ItemNotFoundError(ClipSearchError, LookupError):
    """The index has no item with that id."""

    code = "item_not_found"


class MissingExtraError(ClipSearchError, ImportError):
    """A capability needs an optional dependency that is not installed."""

    code = "missing_extra"


class ClusterError(ClipSearchError, RuntimeError):
    """There is no cluster, it does not fit the work, or it failed."""

    code = "cluster"


class PartialAnswerError(ClipSearchError, RuntimeError):
    """Some shards of an index did not answer, and a partial answer is not wanted."""

    code = "partial_answer"
