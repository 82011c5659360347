"""How indexing works: the options of `Index.add`."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal

from ..errors import InvalidInputError
from ..files import check_output
from ..images import DEFAULT_MAX_PIXELS
from .decoders import DEFAULT_TIMEOUT_S
from .log import is_report
from .pairs import Source
from .places import is_url
from .sources import open_source

__all__ = ["IngestOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How `Index.add` works; the defaults suit most sources."""

    on_error: Literal["skip", "raise"] = "skip"
    batch_size: int | None = None  # images encoded together; None: 32, on a GPU 256
    workers: int | None = None  # decoder processes; None: one a core, for a GPU two fewer
    max_pixels: int = DEFAULT_MAX_PIXELS
    timeout_s: float = DEFAULT_TIMEOUT_S  # of one file's decoding
    # Shell patterns that a folder or archive leaves out; None: as in the last run of that source.
    exclude: tuple[str, ...] | None = None
    all_files: bool | None = None  # take hidden files and litter too; None: as in the last run
    images: str | None = None  # column of a table with the image
    captions: str | None = None  # column of a table with the caption
    ids: str | None = None  # column of a table that identifies the row
    allow_outside: bool = False  # whether a table may name images outside its folder
    images_root: str | os.PathLike[str] | None = None  # where a table's relative paths start
    prune: bool = False  # remove items of this folder whose files are gone
    # Prune them even if they are many, a whole folder or drive of them; or ask, with a sentence.
    yes: bool | Callable[[str], bool] = False
    retry_skipped: bool = False  # try files again that could not be read before
    rescan: bool = False  # read metadata and captions of unchanged files again
    wait: bool | float = False  # for another writer: not at all, for ever, or so many seconds
    report_append: bool = False  # to a report file that is already there
    report_file: str | os.PathLike[str] | None = None  # one JSON line for every pair
    report_overwrite: bool = False  # replace a file of that name that is no report

    def __post_init__(self) -> None:
        if self.on_error not in ("skip", "raise"):
            raise InvalidInputError(f"on_error must be 'skip' or 'raise', not {self.on_error!r}")
        if any(count is not None and count < 1 for count in (self.batch_size, self.workers)):
            raise InvalidInputError("batch_size and workers must be at least 1")
        if not 0 < self.timeout_s < math.inf:
            raise InvalidInputError("timeout_s must be a positive number of seconds")

    def check_report(self, *sources: str | os.PathLike[str] | None) -> None:
        """Refuse a report file that would replace something else; see `files.check_output`.

        Args:
            sources: Folders and files that are indexed, and the folder of the index.

        Raises:
            InvalidInputError: It is refused.
        """
        if self.report_file is not None:
            places = [one for one in sources if one is not None and not is_url(os.fspath(one))]
            check_output(
                self.report_file, is_report, overwrite=self.report_overwrite, sources=places
            )

    def opened(self, source: str | os.PathLike[str] | Source | Iterable[Any]) -> Source:
        """What a caller names as a source, opened with these columns and patterns.

        Raises:
            SourceError, InvalidInputError, MissingExtraError: As `open_source`.
        """
        return open_source(
            source,
            exclude=self.exclude,
            all_files=self.all_files,
            images=self.images,
            captions=self.captions,
            ids=self.ids,
            outside=self.allow_outside,
            images_root=self.images_root,
        )
