"""Bringing an index over to another model, from the sources of its items, while it is in use.

The new vectors are committed piece by piece as those of a model that the index does not use (see
`engine.vectorsets`), so an interruption costs a few seconds. Items that others add meanwhile are
embedded too; what is still lacking when the writer lock is taken for the switch is embedded under
that lock, so that the switch, one transaction, leaves out nothing.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .engine import catalog, declared, refresh, vectorsets
from .engine.lock import WriterLock
from .engine.reader import Reader
from .engine.writer import Writer
from .errors import ImageDecodeError, InvalidInputError, MissingExtraError, SourceError
from .intake.archives import ARCHIVE_SUFFIXES
from .intake.embedder import Embedder
from .intake.originals import check_indexed_here
from .intake.pairs import Pair
from .intake.places import is_url
from .intake.sources import pairs_within
from .intake.tables import TABLE_SUFFIXES
from .known import indexed_folders
from .types import Item, MigrationReport, Modality, Outcome, Progress
from .vectors import Floats, Rows

if TYPE_CHECKING:
    from .encoder import Encoder

__all__ = ["LOCK_FILE", "Migration"]

LOCK_FILE = "migration.lock"
_CHUNK = 256  # items looked up together
_PART_ROWS = 2048  # an interruption costs at most so many vectors ...
_PART_SECONDS = 5.0  # ... or so much time
_FEW = 256  # so many items may be embedded under the writer lock
_CHANGED = "it has changed since it was indexed; run `clipsearch index` on its source first"
# `shard.tar!name` and `table.csv#17`: the files that hold the images of such items.
_TABLES = "|".join(sorted(suffix[1:] for suffix in TABLE_SUFFIXES))
_CONTAINER = re.compile(
    rf"(?si)(.+?(?:{'|'.join(map(re.escape, ARCHIVE_SUFFIXES))}))!"
    rf"|(.+?\.(?:{_TABLES})(?:\.gz)?)#"
)

T = TypeVar("T")


@dataclass(slots=True)
class _Content:
    """One image to embed, for every item that has it."""

    key: str
    rows: list[int]
    sha256: str | None
    sources: list[str | bytes] = field(default_factory=list)  # to try one after the other
    name: str = ""  # of the file that is being read
    reason: str = ""  # why the first source would not do


class Migration:
    """One run of `Index.migrate`, whose arguments these are.

    Args:
        folder: Of the index.
        reader: Of the index.
        encoder: The new model.
        back: Whether this undoes the migration before.
        drop_missing: Whether items that cannot be embedded are removed.
        progress: Called now and then.
        batch_size: Images encoded together.
        workers: Decoder processes.
    """

    def __init__(
        self,
        folder: Path,
        reader: Reader,
        encoder: Encoder,
        *,
        back: bool,
        drop_missing: bool,
        progress: Callable[[Progress], None] | None,
        batch_size: int | None,
        workers: int | None,
    ) -> None:
        if any(count is not None and count < 1 for count in (batch_size, workers)):
            raise InvalidInputError("batch_size and workers must be at least 1")
        self._folder = folder
        self._reader = reader
        self._roots = indexed_folders(reader.state().index_id, folder)
        self._encoder = encoder
        self._model = encoder.fingerprint
        self._back = back
        self._drop_missing = drop_missing
        self._tell = progress or (lambda _: None)
        self._batch_size = batch_size
        self._workers = workers
        self._failed: dict[int, str] = {}  # row -> why it cannot be embedded
        self._troubled: set[int] = set()  # those of them that failed for a reason that may pass
        self._parts: dict[Modality, list[tuple[Rows, Floats]]] = {"image": [], "caption": []}
        self._total = self._encoded = self._before = 0
        self._started = self._committed = monotonic()

    def run(self) -> MigrationReport:
        """Embed what is lacking, and switch unless something cannot be had."""
        meta = self._read(catalog.meta)
        if meta["fingerprint"] == self._model:
            raise InvalidInputError(f"index {self._folder.name} uses {meta['model_name']} already")
        with WriterLock(self._folder / LOCK_FILE, purpose="migrating").acquire():
            with self._writer() as writer:
                writer.change(partial(vectorsets.register, encoder=self._encoder))
            probes = self._probes()
            left = self._lacking()
            self._before = self._total - _count(left)
            while True:
                self._embed(left)
                with self._writer() as writer:
                    # No other process can add anything from here on.
                    left = self._lacking()
                    new = self._without_failed(left)
                    if _count(new) > _FEW:
                        left = new
                        continue
                    self._embed(new, writer)
                    failed = self._failed_now(left)
                    drops = self._drop_missing and not self._troubled & failed.keys()
                    switched = drops or not failed
                    if switched:
                        writer.remove(failed)
                        writer.change(
                            partial(
                                vectorsets.switch,
                                folder=self._folder,
                                model=self._model,
                                probes=probes,
                                back=self._back,
                            )
                        )
                break
        missing = tuple(Outcome(item, "skipped", why) for item, why in failed.values())
        return MigrationReport(
            switched=switched,
            vectors=self._total - (_count(left) - _count(self._without_failed(left))),
            encoded=self._encoded,
            missing=missing,
            dropped=len(missing) if switched else 0,
            seconds=monotonic() - self._started,
        )

    # --- what is to be done ---------------------------------------------------------------------

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._reader.run(lambda conn, snapshot: work(conn))

    def _writer(self) -> Writer:
        return Writer(self._folder, wait=True, opened=self._reader.opened)

    def _lacking(self) -> dict[Modality, Rows]:
        meta = self._read(catalog.meta)
        self._total = int(meta["images"]) + int(meta["captions"])
        return self._read(partial(vectorsets.lacking, folder=self._folder, model=self._model))

    def _without_failed(self, rows: Mapping[Modality, Rows]) -> dict[Modality, Rows]:
        failed = np.fromiter(self._failed, np.int64, len(self._failed))
        return {modality: some[~np.isin(some, failed)] for modality, some in rows.items()}

    def _failed_now(self, left: Mapping[Modality, Rows]) -> dict[int, tuple[str, str]]:
        """Key and reason of the items that are still there and could not be embedded, by row."""
        rows = sorted({row for some in left.values() for row in some.tolist()} & set(self._failed))
        items = self._read(partial(catalog.items, rows=rows))
        return {row: (items[row].key, self._failed[row]) for row in rows}

    def _probes(self) -> list[tuple[str, bytes]]:
        """Vectors of the generic texts, if the model's are not in the index yet."""
        known = self._read(
            lambda conn: conn.execute(
                "SELECT 1 FROM probes WHERE fingerprint = ? LIMIT 1", (self._model,)
            ).fetchone()
        )
        return [] if known else refresh.encode_probes(self._encoder)

    # --- embedding ------------------------------------------------------------------------------

    def _embed(self, rows: Mapping[Modality, Rows], writer: Writer | None = None) -> None:
        """Embed and store rows: in commits of their own, or in the transaction of a writer."""
        with Embedder(
            self._encoder, batch_size=self._batch_size, workers=self._workers
        ) as embedder:
            try:
                self._captions(rows["caption"], embedder, writer)
                self._images(rows["image"], embedder, writer)
            except KeyboardInterrupt:
                self._store(writer)
                raise
        self._store(writer)

    def _captions(self, rows: Rows, embedder: Embedder, writer: Writer | None) -> None:
        def pairs() -> Iterator[Pair]:
            """The captions, by the rows of their vectors: a changed caption has another one."""
            for start in range(0, rows.size, _CHUNK):
                some = rows[start : start + _CHUNK].tolist()
                for vector_row, row, caption in self._read(partial(catalog.captions, rows=some)):
                    if caption:
                        yield Pair(key=str(vector_row), caption=caption)
                    else:
                        self._fail([row], "its caption is not kept as text")

        for batch in embedder.embed_pairs(pairs()):
            vectors = [one.caption for one in batch if one.caption is not None]
            self._keep("caption", [int(one.pair.key) for one in batch], vectors, writer)

    def _items(self, rows: Rows) -> Iterator[list[Item]]:
        for start in range(0, rows.size, _CHUNK):
            some = rows[start : start + _CHUNK].tolist()
            found = self._read(partial(catalog.items, rows=some))
            yield [found[row] for row in some if row in found]  # others were removed meanwhile

    def _images(self, rows: Rows, embedder: Embedder, writer: Writer | None) -> None:
        """Embed each content from the first of its sources that still has it."""
        contents: Iterable[_Content] = self._contents(rows)
        while contents:
            under_way: dict[str, _Content] = {}
            others: list[_Content] = []  # to be read from their next source
            for batch in embedder.embed_pairs(_pairs(contents, under_way)):
                done, vectors = list[int](), list[Floats]()
                for one in batch:
                    content = under_way.pop(one.pair.key)
                    if one.image is not None and content.sha256 in (None, one.sha256):
                        done += content.rows
                        vectors += [one.image] * len(content.rows)
                        continue
                    reason = (one.error or _CHANGED).removeprefix(f"{content.name}: ")
                    content.reason = content.reason or reason
                    if one.passing == "trouble":
                        self._troubled.update(content.rows)
                    if content.sources:
                        others.append(content)
                    else:
                        self._fail(content.rows, content.reason)
                self._keep("image", done, vectors, writer)
            contents = others

    def _fail(self, rows: list[int], reason: str) -> None:
        self._failed.update(dict.fromkeys(rows, reason))

    # --- where the images are -------------------------------------------------------------------

    def _contents(self, rows: Rows) -> Iterator[_Content]:
        """The contents to embed: those in files of their own first, then those in others."""
        wanted = set(rows.tolist())
        inside: dict[str, dict[str, _Content]] = {}
        for items in self._items(rows):
            for content in self._distinct(items, wanted):
                if content.sources:
                    yield content
                    continue
                found = _CONTAINER.match(content.key)
                if content.key.startswith(f"{declared.FRAME}#"):
                    self._fail(content.rows, "its image was in memory alone; add it again")
                    continue
                if found is None and not is_url(content.key):
                    self._fail(content.rows, "there is no file that its image could be read from")
                    continue
                container = content.key if found is None else found[1] or found[2]
                if not is_url(container) and not self._is_here(container, content):
                    self._fail(content.rows, content.reason)
                    continue
                inside.setdefault(container, {})[content.key] = content
        for container, contents in inside.items():
            yield from self._within(container, contents)

    def _distinct(self, items: list[Item], wanted: set[int]) -> Iterator[_Content]:
        """Items by content, each wanted row once, with the files that have or had that content."""
        hashes = sorted({item.sha256 for item in items if item.sha256 is not None})
        twins: dict[str, list[catalog.Known]] = {}
        for known in self._read(lambda conn: list(catalog.known_by(conn, "sha256", hashes))):
            if known.has_image and known.sha256 is not None:
                twins.setdefault(known.sha256, []).append(known)
        for item in items:
            if item.id not in wanted:
                continue
            same = twins.get(item.sha256, []) if item.sha256 is not None else []
            content = _Content(item.key, [item.id], item.sha256)
            content.rows += [k.row for k in same if k.row != item.id and k.row in wanted]
            wanted.difference_update(content.rows)
            paths = [item.path, *(known.path for known in same)]
            content.sources = list(dict.fromkeys(path for path in paths if path is not None))
            sources, content.sources = content.sources, []
            content.sources += [path for path in sources if self._is_here(path, content)]
            if content.sources or not sources:
                yield content
            else:
                self._fail(content.rows, content.reason)

    def _is_here(self, path: str | bytes, content: _Content) -> bool:
        """Whether a file may be read; what the index alone names is not opened."""
        try:
            check_indexed_here(str(path), self._roots)
        except ImageDecodeError as exc:
            content.reason = content.reason or str(exc)
            return False
        return True

    def _within(self, container: str, contents: dict[str, _Content]) -> Iterator[_Content]:
        """The images that a tar shard, a table or a URL holds."""
        reason = "it is no longer in its source"
        try:
            image, caption, own = self._columns(container)
            for pair in pairs_within(container, images=image, captions=caption, ids=own):
                content = contents.get(pair.key)
                if content is not None and pair.image is not None:
                    del contents[pair.key]
                    content.sources = [pair.image]
                    yield content
                if not contents:
                    return
        except (SourceError, MissingExtraError) as exc:
            reason = str(exc)
        for content in contents.values():
            self._fail(content.rows, reason)

    def _columns(self, table: str) -> tuple[str | None, str | None, str | None]:
        """The columns of a table that were its images, captions and ids when it was indexed."""
        roles = (self._read(lambda conn: catalog.document(conn, declared.TABLES)) or {}).get(table)
        if roles is None:
            return None, None, None
        return roles["image"], roles["caption"], next(iter(roles["ids"]), None)

    # --- storing --------------------------------------------------------------------------------

    def _keep(
        self,
        modality: Modality,
        rows: Sequence[int],
        vectors: Sequence[Floats],
        writer: Writer | None,
    ) -> None:
        if not rows:
            return
        self._parts[modality].append((np.array(rows, np.int64), np.stack(vectors)))
        self._encoded += len(rows)
        seconds = monotonic() - self._started
        self._tell(
            Progress(
                seen=self._before + self._encoded + len(self._failed),
                total=self._total,
                indexed=self._encoded,
                skipped=len(self._failed),
                images_per_s=self._encoded / max(seconds, 1e-6),
            )
        )
        staged = sum(part[0].size for parts in self._parts.values() for part in parts)
        if staged >= _PART_ROWS or monotonic() - self._committed > _PART_SECONDS:
            self._store(writer)

    def _store(self, writer: Writer | None) -> None:
        """Store what is embedded, in a commit unless a writer is given."""
        with contextlib.ExitStack() as stack:
            for modality, parts in self._parts.items():
                if parts:
                    if writer is None:
                        writer = stack.enter_context(self._writer())
                    rows = np.concatenate([part[0] for part in parts])
                    vectors = np.concatenate([part[1] for part in parts])
                    store = partial(
                        vectorsets.store,
                        folder=self._folder,
                        model=self._model,
                        modality=modality,
                        rows=rows,
                        vectors=vectors,
                    )
                    writer.change(store)
                    parts.clear()
        self._committed = monotonic()


def _pairs(contents: Iterable[_Content], under_way: dict[str, _Content]) -> Iterator[Pair]:
    """Contents as pairs with their next source; they are noted under the keys of their pairs."""
    for content in contents:
        under_way[content.key] = content
        source = content.sources.pop(0)
        content.name = Path(source).name if isinstance(source, str) else ""
        yield Pair(key=content.key, image=source)


def _count(rows: Mapping[Modality, Rows]) -> int:
    return sum(some.size for some in rows.values())
