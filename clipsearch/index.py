"""The façade of the index: everything that users do with one, delegated to the modules below."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from .documents import FIELDS, field_name
from .engine import catalog, declared, facets, marks, refresh, skipped, storage, vectorsets
from .engine.baseline import ScoreBaseline
from .engine.outcome import tell, telling
from .engine.reader import Reader
from .engine.search import hits_of, search
from .engine.snapshot import EXACT_ELEMENTS, Snapshot
from .engine.writer import Writer
from .errors import (
    EncoderMismatchError,
    IndexLockedError,
    IndexMigratedError,
    IndexNotFoundError,
    InvalidInputError,
    ItemNotFoundError,
    StorageError,
)
from .files import check_output, expanded, output_file
from .known import indexed_folders
from .names import stored
from .query import encode_together
from .request import Searchable, SearchRequest
from .types import (
    Album,
    Duplicate,
    Facets,
    Hit,
    Hits,
    IngestReport,
    Item,
    MigrationReport,
    Modality,
    Outcome,
    Progress,
    SavedSearch,
    ShardReport,
)
from .vectors import Floats, Rows, check_ids

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from .encoder import Encoder
    from .engine.vectorsets import KeptModel
    from .engine.verify import Verification
    from .images import ImageInput
    from .ingest import IngestOptions
    from .intake.embedder import Embeds

__all__ = ["Index"]

_ITEM_PAGE = 1000
_SAMPLE_SEED = 0  # one committed state always gives the same sample


class Index(Searchable):
    """An index of image-text pairs in one folder. Safe for threads; closes as a context manager.

    Open one with `Index.open` or make one with `Index.create`.
    """

    def __init__(
        self,
        path: Path,
        encoder: Encoder | Callable[[], Encoder] | None,
        *,
        load: Callable[[str, str], Encoder] | None = None,
        exact_elements: int = EXACT_ELEMENTS,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self._path = path
        self._encoder_lock = threading.RLock()
        if device not in ("cpu", "cuda"):
            raise InvalidInputError(f"device must be 'cpu' or 'cuda', got {device!r}")
        self._reader = Reader(path, exact_elements=exact_elements, on_gpu=device == "cuda")
        meta = self._reader.run(lambda conn, snapshot: dict(snapshot.meta))
        self._model_name = str(meta["model_name"])
        self._fingerprint = str(meta["fingerprint"])
        self._dim = int(meta["dim"])
        self._encoder: Encoder | None = None
        self._load_encoder: Callable[[], Encoder] | None = None
        try:
            if load is not None:
                self._load_encoder = partial(load, self._model_name, self._fingerprint)
            elif hasattr(encoder, "encode_texts"):
                self._encoder = cast("Encoder", encoder)
                self.check_encoder(self._encoder)
            else:
                self._load_encoder = encoder
        except BaseException:
            self._reader.close()
            raise

    @classmethod
    def create(cls, path: str | Path, encoder: Encoder, *, exist_ok: bool = False) -> Index:
        """Make an empty index for the vectors of an encoder.

        Args:
            path: A folder that does not exist or is empty.
            encoder: The model whose vectors the index will hold.
            exist_ok: Whether to open the index that may be there already.

        Raises:
            IndexExistsError: There is an index, or there are other files.
            EncoderMismatchError: With `exist_ok`: the index is of another model.
            StorageError: The folder cannot be written.
        """
        folder = expanded(path).absolute()
        if exist_ok and storage.is_index(folder):
            return cls.open(folder, encoder)
        storage.create(folder, encoder, exist_ok=exist_ok)
        return cls(folder, encoder)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: Encoder | Callable[[], Encoder] | None = None,
        *,
        load: Callable[[str, str], Encoder] | None = None,
        exact_elements: int = EXACT_ELEMENTS,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> Index:
        """Open an index. Cheap: no vector, item or model is read.

        Args:
            path: Its folder.
            encoder: The model it was made with, or a function that loads it when it is needed. By
                default the index finds it by the name and fingerprint that it keeps, when texts or
                images are first to be encoded, if that model was used on this machine before.
            load: Instead of `encoder`: a function that loads the model when it is needed, given
                the name and the fingerprint of the model that the index was made with.
            exact_elements: Up to how many numbers (vectors times dimension) search is exact.
            device: Where to search. "cuda" copies the vectors to the GPU on first need and searches
                them there exactly; training an ANN file uses a GPU in any case if there is one.

        Raises:
            IndexNotFoundError: There is no index; the message lists those that lie beside it.
            IndexVersionError: It was written by a newer clipsearch.
            IndexCorruptError: A file of it is missing or damaged.
            EncoderMismatchError: It was made with another model.
            InvalidInputError: Both `encoder` and `load` are given.
        """
        if encoder is not None and load is not None:
            raise InvalidInputError("give either encoder or load, not both")
        folder = expanded(path).absolute()
        storage.check_openable(folder)
        return cls(folder, encoder, load=load, exact_elements=exact_elements, device=device)

    # --- what it is ---------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def model_name(self) -> str:
        """Name of the model whose vectors it holds."""
        return self._model_name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of that model."""
        return self._fingerprint

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def generation(self) -> int:
        """Number of the last committed state."""
        return self._reader.run(lambda conn, snapshot: snapshot.generation)

    @property
    def index_id(self) -> str:
        """Random id of the index, which its copies have too."""
        return self._reader.state().index_id

    @property
    def commit_id(self) -> str:
        """Random id of the last committed state.

        States with the same id are equal. Those with the same number need not be, because an older
        copy of the index may have been restored.
        """
        return self._reader.state().commit_id

    @property
    def seen_id(self) -> str:
        """Id of the answers that there are now: another one as soon as they may be others.

        That is after a commit, and when files of items that were away are there again.
        """
        return self._reader.run(lambda conn, snapshot: snapshot.seen_id)

    def is_current(self) -> bool:
        """Whether this open index may still be used.

        It may not once it is closed, its folder is gone or holds another index, or it was migrated
        to another model; then open it again. What others commit is no reason: whatever is asked
        next sees it.

        Raises:
            StorageError: The catalog cannot be read.
            IndexCorruptError: It is damaged.
        """
        if self._reader.closed:
            return False
        try:
            self._reader.state()
        except (IndexMigratedError, IndexNotFoundError):
            return False
        return True

    def __len__(self) -> int:
        return self._reader.run(lambda conn, snapshot: int(snapshot.meta["items"]))

    @property
    def encoder(self) -> Encoder:
        """The model, loaded on first need.

        Raises:
            ModelLoadError: The index was opened without one, and the one that it names was never
                used on this machine, or cannot be loaded.
            ModelNotFoundError: There is none of that name.
            EncoderMismatchError: What was loaded is another model.
        """
        from .models import load_text_encoder

        with self._encoder_lock:
            if self._encoder is None:
                find = partial(load_text_encoder, self._model_name, self._fingerprint)
                loaded = (self._load_encoder or find)()
                self.check_encoder(loaded)
                self._encoder = loaded
            return self._encoder

    def check_encoder(self, encoder: Encoder) -> None:
        """Check that an encoder is the model that the index was made with.

        Raises:
            EncoderMismatchError: It is another one, or another version of it.
        """
        if encoder.fingerprint != self._fingerprint:
            name, made = self._path.name, self._fingerprint[:12]
            if encoder.name == self._model_name:  # after an update
                other, ways = "the version of it at hand", "Re-encode the index"
            else:
                other = encoder.name
                ways = f"Use {self._model_name}, or re-encode the index with the other model"
            raise EncoderMismatchError(
                f"index {name} was made with {self._model_name} (fingerprint {made}), not with "
                f"{other} ({encoder.fingerprint[:12]}); their vectors cannot be compared. "
                f"{ways}: clipsearch migrate -i {name} -m {encoder.name}"
            )

    def info(self) -> dict[str, Any]:
        """What the index is and holds, as JSON-able data."""
        return self._reader.run(lambda conn, snapshot: storage.info(self._path, conn, snapshot))

    def skipped(self) -> list[Outcome]:
        """What could not be read when it was last seen, with the reasons, by key.

        What never claimed to be an image is not among them.
        """
        return self._reader.run(
            lambda conn, snapshot: [
                Outcome(one.key, "skipped", one.reason) for one in skipped.everything(conn)
            ]
        )

    def fields(self) -> dict[str, str]:
        """Names and types of the fields that `where` knows."""

        def work(conn: Any, snapshot: Any) -> dict[str, str]:
            extra = catalog.extra_fields(conn)
            return {**FIELDS, **{field_name(name): kind for name, kind in extra.items()}}

        return self._reader.run(work)

    def facets(
        self,
        where: str | None = None,
        *,
        by: Collection[str] | None = None,
        folder: str | None = None,
        limit: int = facets.MOST_VALUES,
        chosen: facets.Chosen | None = None,
    ) -> Facets:
        """What items have in common, for building filters, and how many have each value.

        Args:
            where: Only items that satisfy this expression count.
            by: What to count by, such as "camera"; None for everything: folder, year, month,
                camera, tag, album, format, orientation, size (classes of bytes) and caption
                (whether there is one).
            folder: The folder whose folders are counted, each with all that is below it; by
                default the deepest one that has all items.
            limit: Maximum number of values of a facet, the most frequent ones or the first
                folders. Dates, sizes and orientations are never cut.
            chosen: Of facets, the values that were chosen, such as `{"camera": ["Canon", None]}`:
                only items count that have any of them, except for the facet itself, which shows
                what else could be chosen. Years and months are one facet here.

        Returns:
            The counts in `by`, years and months newest first, without items that are away. Each
            value has the filter that finds its items.

        Raises:
            InvalidInputError: A bad expression, another facet, or a folder without items.
        """
        return self._reader.run(
            lambda conn, snapshot: facets.facets(conn, snapshot, where, by, folder, limit, chosen)
        )

    def albums(self) -> list[Album]:
        """The albums by name; `Writer.add_to_album` makes and fills them."""
        return self._reader.run(lambda conn, snapshot: marks.albums(conn))

    def saved_search(self, name: str) -> SearchRequest:
        """The search that is kept under a name.

        Raises:
            InvalidInputError: There is none.
        """
        found = self._reader.run(lambda conn, snapshot: marks.saved_search(conn, name))
        return SearchRequest.from_dict(found.request)

    def saved_searches(self) -> list[SavedSearch]:
        """The saved searches by name; `Writer.save_search` keeps one."""
        return self._reader.run(lambda conn, snapshot: marks.saved_searches(conn))

    def away(self) -> dict[int, str]:
        """What is missing of the items that are away: the topmost path that is not there, by id.

        They are kept with all that is known of them, are left out of answers, and are back the
        moment their file is.
        """
        return self._reader.run(lambda conn, snapshot: snapshot.away.left())

    # --- searching ----------------------------------------------------------------------------

    def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; see `search`."""
        return self.answer_many([request])[0]

    def answer_many(self, requests: Sequence[SearchRequest]) -> list[Hits]:
        """Answer requests in one committed state; their queries are encoded and scored together.

        Returns:
            The hits of each request, in order.

        Raises:
            InvalidInputError: A bad query or filter.
            ItemNotFoundError: A query names an item that is not there.
            ImageDecodeError: An image of a query cannot be read.
            IndexCorruptError: A file of the index is damaged.
        """
        started = time.perf_counter()
        if not requests:
            return []
        asked = [request.query for request in requests if request.query is not None]
        encoded = iter(encode_together(asked, lambda: self.encoder))
        vectors = [
            None if request.query is None else next(encoded).resolve(None, self)
            for request in requests
        ]
        return self._reader.run(
            lambda conn, snapshot: search(conn, snapshot, requests, vectors, started)
        )

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        kinds: Collection[str] = ("bytes", "pixels", "looks"),
        where: str | None = None,
        progress: Callable[[Literal["vectors", "images"], int, int], None] | None = None,
    ) -> list[list[Duplicate]]:
        """Groups of items that are copies of each other: same bytes, same pixels, or look alike.

        Embeddings and what the index keeps of each image's structure choose whom to compare; the
        pixels of their files decide. Where a file is away, has changed, or lies in a folder that
        was not indexed on this machine, embeddings decide alone, and the member is not `checked`.

        Args:
            threshold: Cosine from which images are compared, in (0, 1]; None for 0.8 (0.6 where
                the structure is as good as equal, 0.95 where images cannot be read).
            kinds: What to look for: any of "bytes", "pixels", "looks".
            where: Look only at items that satisfy this expression.
            progress: Told what is being compared, how many images are done, and of how many.
                What it raises stops the search.

        Returns:
            Groups, largest first; each member is `(item, score)` with its `kind`. The first is
            the leader: the largest image, of equally large ones the one indexed first. The
            others are like the leader, by kind and then by cosine with it. One of each group has
            in `keep` why it is suggested to be kept.

        Raises:
            InvalidInputError: A threshold out of range, another kind, or a bad expression.
        """
        from .engine.curation import duplicate_groups
        from .intake.sights import Comparer

        def work(conn: Any, snapshot: Snapshot) -> list[list[Duplicate]]:
            among = _rows_of(conn, where)
            with Comparer(
                self.indexed_folders(),
                pixels="pixels" in kinds or "looks" in kinds,
                looks="looks" in kinds,
            ) as judge:
                return duplicate_groups(
                    conn,
                    snapshot.present["image"],
                    judge,
                    threshold=threshold,
                    kinds=kinds,
                    among=among,
                    tell=progress or (lambda what, done, of: None),
                )

        return self._reader.run(work)

    def pairs(self, k: int = 50, *, where: str | None = None) -> list[Hit]:
        """The items whose image and caption agree least, lowest cosine first, ties by id.

        Args:
            k: How many at most.
            where: Look only at items that satisfy this expression.

        Raises:
            InvalidInputError: A bad expression.
        """
        from .engine.weak_pairs import worst_pairs

        def work(conn: Any, snapshot: Snapshot) -> list[Hit]:
            stores = snapshot.present["image"], snapshot.present["caption"]
            rows, scores = worst_pairs(*stores, k, among=_rows_of(conn, where))
            items = catalog.items(conn, rows.tolist())
            baseline = ScoreBaseline.of(snapshot.baselines, "text", "image")
            return list(hits_of(items, rows, scores, baseline))

        return self._reader.run(work)

    def score_baseline(
        self, kind: Literal["text", "image"], modality: Modality = "image"
    ) -> ScoreBaseline | None:
        """How unrelated pairs score, for queries of a kind on vectors of a modality.

        Returns:
            The distribution; None where the index has none yet.
        """
        return self._reader.run(
            lambda conn, snapshot: ScoreBaseline.of(snapshot.baselines, kind, modality)
        )

    def verify(self, *, full: bool = False) -> Verification:
        """Check that nothing is missing, altered, lost or doubled; see `verify.verify`."""
        from .engine.verify import verify

        return verify(self._path, full=full)

    def export(
        self,
        path: str | Path,
        format: Literal["parquet", "faiss"] = "parquet",  # noqa: A002 - the word of the CLI
        *,
        modality: Modality = "image",
        overwrite: bool = False,
    ) -> int:
        """Write the items, or the vectors alone, for other programs.

        Args:
            path: The file; it appears only when it is complete.
            format: "parquet" for items with metadata and vectors, "faiss" for an `IndexIDMap2`
                over `IndexFlatIP` with item ids.
            modality: Which vectors a FAISS file holds.
            overwrite: Whether a file that is no such export is replaced.

        Returns:
            How many items or vectors were written.

        Raises:
            InvalidInputError: `path` is in an index or an indexed folder, or is another file.
            StorageError: It cannot be written.
        """
        from .engine.ann import is_flat
        from .engine.parquet import is_export, write_parquet

        target = expanded(path).absolute()
        check_output(
            target,
            lambda file: is_flat(file) or is_export(file),
            overwrite=overwrite,
            sources=self._sources(target),
        )
        if format == "parquet":
            return self._reader.run(lambda conn, snapshot: write_parquet(target, conn, snapshot))
        if format == "faiss":
            from .engine.ann import write_flat

            store = self._reader.run(lambda conn, snapshot: snapshot.store(modality))
            with output_file(target) as part:
                return write_flat(part, store.live(), self._dim)
        raise InvalidInputError(f"format must be 'parquet' or 'faiss', got {format!r}")

    def export_shards(
        self,
        path: str | Path,
        hits: Iterable[Hit] | None = None,
        *,
        where: str | None = None,
        shard_items: int | None = None,
        shard_bytes: int | None = None,
        overwrite: bool = False,
    ) -> ShardReport:
        """Write images as WebDataset shards, from which a model can be trained.

        A sample has the id as its key, and the image as it lies in its file, the caption as `.txt`,
        and as `.json` what is known of the item, its columns and its score, but not where its file
        is. `Index.add` reads the shards.

        Args:
            path: `train.tar` for `train-000000.tar`, `train-000001.tar` and so on.
            hits: What to write, as a search found it; None for all items by ascending id.
            where: Instead of `hits`: only items that satisfy this expression, such as
                `album = 'Trip'`.
            shard_items: The most samples of a shard; None for 10,000.
            shard_bytes: The most bytes of a shard; None for a gigabyte.
            overwrite: Whether shards of that name are replaced.

        Returns:
            What was written, and the items that were not: those without an image file, those whose
            file is away or has changed, and those of folders that were not indexed on this machine.

        Raises:
            InvalidInputError: Both `hits` and `where`, shards that exist, or a place in an index or
                a source.
            StorageError: They cannot be written.
        """
        from .intake.shard_writer import SHARD_BYTES, SHARD_ITEMS, write_shards

        if hits is not None and where is not None:
            raise InvalidInputError("give either hits or where, not both; search takes a where")
        return write_shards(
            path,
            self._every(where) if hits is None else hits,
            roots=self.indexed_folders(),
            shard_items=SHARD_ITEMS if shard_items is None else shard_items,
            shard_bytes=SHARD_BYTES if shard_bytes is None else shard_bytes,
            overwrite=overwrite,
            sources=self._sources(expanded(path).absolute()),
        )

    def _every(self, where: str | None) -> Iterator[Item]:
        """Items by ascending id, a page at a time."""
        after = 0
        while page := self.items(where, after):
            yield from page
            after = page[-1].id

    def _sources(self, target: Path) -> list[str]:
        """Folders and tables that were indexed, and the file itself if it was."""
        from .ingest import ROOTS

        known = [*(self.get_meta(ROOTS) or ()), *(self.get_meta(declared.TABLES) or ())]
        named = [stored(str(target)), stored(os.path.realpath(target))]
        found = self._reader.run(
            lambda conn, snapshot: conn.execute(
                "SELECT 1 FROM items WHERE path IN (?, ?) LIMIT 1", named
            ).fetchone()
        )
        return [*known, *([str(target)] if found else ())]

    # --- items and vectors --------------------------------------------------------------------

    def item(self, id: int) -> Item:  # noqa: A002 - the word of Item.id
        """One item.

        Raises:
            ItemNotFoundError: There is none with that id (any more).
            InvalidInputError: The id is no whole number.
        """
        (row,) = check_ids(id).tolist()
        found = self._reader.run(lambda conn, snapshot: catalog.items(conn, [row]))
        if row not in found:
            raise self._no_item(row)
        return found[row]

    def items(
        self, where: str | None = None, after: int = 0, limit: int = _ITEM_PAGE
    ) -> list[Item]:
        """A page of items by ascending id, without those that are away.

        Args:
            where: Only items that satisfy this expression.
            after: Only items with greater ids: the last id of the page before.
            limit: How many at most.
        """
        from .engine.filters import compile_where

        (first,) = check_ids(after).tolist()

        def work(conn: Any, snapshot: Snapshot) -> list[Item]:
            compiled = compile_where(where, catalog.extra_fields(conn))
            return catalog.page(conn, *snapshot.away.without(*compiled), first, int(limit))

        return self._reader.run(work)

    def to_arrow(self, where: str | None = None, *, vectors: bool = False) -> pa.Table:
        """The items as an Arrow table, by ascending id, all of one committed state.

        Args:
            where: Only items that satisfy this expression; as in `items`, none that is away.
            vectors: Whether the columns `image_vector` and `caption_vector` are there, null where
                an item has none. `vectors(table["id"])` gives them as an array.

        Returns:
            The columns of items as `Item` names them, with paths and keys as Parquet and JSON have
            them, then the columns of tables with the types that they had there; one that is named
            like a column of every item is `extra.NAME`.

        Raises:
            InvalidInputError: A bad expression.
        """
        from .engine.filters import compile_where
        from .engine.parquet import arrow_table

        def work(conn: Any, snapshot: Snapshot) -> pa.Table:
            compiled = snapshot.away.without(*compile_where(where, catalog.extra_fields(conn)))
            return arrow_table(conn, snapshot, *compiled, vectors=vectors)

        return self._reader.run(work)

    def to_pandas(self, where: str | None = None) -> pd.DataFrame:
        """`to_arrow` as a DataFrame, with whole numbers and truth values in nullable types."""
        from .tabular import frame_of_table

        return frame_of_table(self.to_arrow(where))

    def ids(self, where: str | None = None) -> list[int]:
        """Ids of all items that satisfy an expression, ascending, without those that are away."""
        from .engine.filters import compile_where

        def work(conn: Any, snapshot: Snapshot) -> list[int]:
            compiled = compile_where(where, catalog.extra_fields(conn))
            return list(map(int, catalog.select_rows(conn, *snapshot.away.without(*compiled))))

        return self._reader.run(work)

    def keep_selection(self, ids: Sequence[int]) -> str:
        """Keep a set of items of any size on this machine, for filters.

        A backup that is put back may give ids again; then the set is without them. Sets that were
        not used for long are dropped with the rest of the cache.

        Args:
            ids: Item ids; those that are not there are ignored.

        Returns:
            A token; `selection = 'TOKEN'` in a filter asks for the items.

        Raises:
            InvalidInputError: An id is no whole number, or the cache cannot be written.
        """
        from .item_sets import keep_items

        rows = check_ids(ids).tolist()
        named = self._reader.run(lambda conn, snapshot: catalog.named(conn, rows))
        return keep_items(self.index_id, named)

    def tags(self, ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Tags of those items that have any, by id, most probable first."""
        rows = check_ids(ids).tolist()
        return self._reader.run(lambda conn, snapshot: catalog.tags_of(conn, rows))

    def vectors(self, ids: Iterable[int], modality: Modality | None = None) -> Floats:
        """Stored vectors of items.

        Args:
            ids: Item ids, in any order, repeated or not: a list, an array, or the column `id` of
                a table or DataFrame.
            modality: Which vector; None for the image vector, or the caption vector of an item
                without image.

        Returns:
            float32 [n, dim], unit length, in the order of `ids`.

        Raises:
            ItemNotFoundError: An id is not there, or has no such vector.
        """
        wanted = check_ids(ids)
        distinct, back = np.unique(wanted, return_inverse=True)

        def work(conn: Any, snapshot: Any) -> Floats:
            alive = catalog.items(conn, distinct.tolist())
            out = np.empty((distinct.size, self._dim), np.float32)
            missing = np.ones(distinct.size, bool)
            for name in (modality,) if modality else ("image", "caption"):
                rows, vectors = snapshot.store(name).take(distinct[missing])
                at = np.searchsorted(distinct, rows)
                out[at], missing[at] = vectors, False
            for at, row in enumerate(distinct.tolist()):
                if missing[at] or row not in alive:
                    raise self._no_item(row, modality if row in alive else None)
            return out[back]

        return self._reader.run(work)

    def iter_vectors(
        self, modality: Modality = "image", batch: int = 4096, *, away: bool = True
    ) -> Iterator[tuple[Rows, Floats]]:
        """All vectors of one committed state.

        Args:
            modality: Which vectors.
            batch: How many at a time at most.
            away: Whether those of items that are away are among them.

        Yields:
            Ids, int64 [n], ascending, and float32 [n, dim] unit vectors.
        """
        store = self._reader.run(
            lambda conn, snapshot: snapshot.store(modality) if away else snapshot.present[modality]
        )
        for rows, vectors in store.live():
            for start in range(0, rows.size, batch):
                yield rows[start : start + batch], vectors[start : start + batch]

    def sample(self, count: int, modality: Modality = "image") -> tuple[Rows, Floats]:
        """A random sample of the vectors, which stands for all where all would be too many.

        Only what is returned is read. One committed state always gives the same sample, as long as
        the same items are away, which are not in it.

        Args:
            count: How many at most, at least 1; where there are no more, all are returned.
            modality: Which vectors.

        Returns:
            Ids, int64 [n], ascending, and float32 [n, dim] unit vectors.

        Raises:
            InvalidInputError: `count` is below 1.
        """
        if count < 1:
            raise InvalidInputError(f"count must be at least 1, not {count}")
        rng = np.random.default_rng(_SAMPLE_SEED)
        return self._reader.run(
            lambda conn, snapshot: snapshot.present[modality].sample(count, rng)
        )

    def _no_item(self, id: int, modality: str | None = None) -> ItemNotFoundError:  # noqa: A002
        what = f"item {id} has no {modality} vector" if modality else f"there is no item {id}"
        return ItemNotFoundError(f"{what} in index {self._path.name}")

    # --- changing -----------------------------------------------------------------------------

    def writer(self, *, wait: bool | float = False) -> Writer:
        """Become the one writer, a context manager that commits when it is left.

        Args:
            wait: False to fail at once when another process writes, True to wait, or seconds.

        Raises:
            IndexLockedError: Another process is writing; the message names it.
            IndexMigratedError: The index was migrated or replaced since it was opened.
            StorageError: The folder cannot be written.
        """
        self._reader.state()  # an index that is gone is no reason to wait for its writer
        return Writer(self._path, wait=wait, opened=self._reader.opened)

    def add(
        self,
        source: str | os.PathLike[str] | Iterable[Any],
        *,
        on_error: Literal["skip", "raise"] = "skip",
        progress: Callable[[Progress], None] | None = None,
        options: IngestOptions | None = None,
        embedder: Embeds | None = None,
    ) -> IngestReport:
        """Bring the index up to date with a source: encode what is new or changed, keep the rest.

        Args:
            source: A folder, an image file, a table, an archive or a URL; a DataFrame, an Arrow
                table or reader, or a `datasets.Dataset`, whose columns are found by their names or
                named in `options`; or an iterable of paths, images in memory or `Pair`s.
            on_error: Whether a file that cannot be read is skipped, with its reason in the
                report, or raises. What was finished before stays either way.
            progress: Called now and then with how far it has come.
            options: Everything else: batch size, workers, limits, `prune`, ...
            embedder: What decodes and encodes the images; None for this machine.

        Returns:
            How every pair of the source ended; the numbers add up to the pairs seen.

        Raises:
            SourceError: The source is missing or has no images.
            ImageDecodeError: With `on_error="raise"`: the first file that cannot be read.
            IndexLockedError: Another process is writing, and `options.wait` does not allow for it.
            StorageError: The disk is full or refuses.
        """
        from .ingest import IngestOptions, add, open_for

        settings = options or IngestOptions()
        if on_error != "skip":  # "raise" counts wherever it is asked for
            settings = replace(settings, on_error=on_error)
        # before others are kept waiting: is there anything?
        opened = open_for(lambda: self.writer(wait=settings.wait), source, settings)
        with telling(self._path):
            with self.writer(wait=settings.wait) as writer:
                encoder = self.encoder
                report = add(
                    writer, encoder, opened, options=settings, progress=progress, embedder=embedder
                )
            with contextlib.suppress(IndexLockedError):  # of a run that waited; it measures later
                self.refresh_baseline(encoder)
        return report

    def add_images(
        self,
        images: Iterable[ImageInput],
        *,
        ids: Iterable[Any] | None = None,
        captions: Iterable[str | Sequence[str] | None] | None = None,
        metadata: Iterable[Mapping[str, Any] | None] | pd.DataFrame | pa.Table | None = None,
        on_error: Literal["skip", "raise"] = "skip",
        progress: Callable[[Progress], None] | None = None,
        options: IngestOptions | None = None,
    ) -> IngestReport:
        """`add` images that are in memory; all arguments may be generators.

        The index keeps vectors and facts, not pixels. Such an item has no path, so it has neither a
        preview nor an original, `migrate` cannot re-encode it, and `duplicates` compares its
        embedding alone. Paths are files, as everywhere.

        Args:
            images: Pillow images, uint8 arrays [H, W, 3] or [H, W], bytes of image files, or paths.
            ids: What identifies each, kept in the column `id`; the key is `table#ID`, as for a row
                of a DataFrame, so adding it again updates or replaces the item. Without ids an
                image is named by its content.
            captions: Of each; None for none, a list for several.
            metadata: Further columns of each, for filters: a mapping for each image, or a table.
            on_error: As for `add`, and so are all others.
            progress: Called now and then with how far it has come.
            options: Everything else.

        Raises:
            InvalidInputError: A single image, another number of ids, captions or metadata than of
                images, or metadata with a column `image`, `id` or `caption`.
            ImageDecodeError, IndexLockedError, StorageError: As `add`.
        """
        from .intake.frames import ImageSource

        source = ImageSource(images, ids=ids, captions=captions, metadata=metadata)
        return self.add(source, on_error=on_error, progress=progress, options=options)

    def remove(self, ids: Sequence[int], *, keep: bool = False, wait: bool | float = False) -> int:
        """Remove items; ids that are not there are ignored.

        Args:
            ids: Item ids.
            keep: Whether `restore` can put them back; see `Writer.remove`.
            wait: As for `writer`.

        Returns:
            How many items were removed.
        """
        with self.writer(wait=wait) as writer:
            return writer.remove(ids, keep=keep)

    def restore(self, ids: Sequence[int], *, wait: bool | float = False) -> int:
        """Put items back that were removed with `keep`, under their ids; see `Writer.restore`.

        Returns:
            How many items are back.
        """
        with self.writer(wait=wait) as writer:
            return writer.restore(ids)

    def set_tags(
        self,
        rows: Sequence[int],
        labels: Sequence[str],
        probabilities: Sequence[float | None] | None = None,
        *,
        name: str = "default",
        wait: bool | float = False,
    ) -> None:
        """Replace the set of tags `name`; see `Writer.set_tags`."""
        with self.writer(wait=wait) as writer:
            writer.set_tags(rows, labels, probabilities, name=name)

    def refresh_baseline(
        self,
        encoder: Encoder | None = None,
        *,
        force: bool = False,
        wait: bool | float = False,
    ) -> bool:
        """Measure how unrelated pairs score, when that is missing or the index has doubled.

        Args:
            encoder: Encodes the generic texts, once in the life of an index; None for the
                index's own. Without any, only captions stand for texts.
            force: Whether to measure in any case.
            wait: As for `writer`.

        Returns:
            Whether anything was measured.
        """
        if not force and not self._reader.run(lambda conn, snapshot: refresh.due(snapshot)):
            return False
        probes = self._reader.run(lambda conn, snapshot: catalog.probes(conn))
        new = [] if probes else self._encoded_probes(encoder)
        with self.writer(wait=wait) as writer:
            found = self._reader.run(
                lambda conn, snapshot: refresh.remeasure(conn, snapshot, {**probes, **dict(new)})
            )

            def store(conn: Any) -> None:
                catalog.set_probes(conn, new)
                catalog.set_baselines(conn, found)

            writer.change(store)
        return True

    def _encoded_probes(self, encoder: Encoder | None) -> list[tuple[str, bytes]]:
        if encoder is not None:
            self.check_encoder(encoder)
            return refresh.encode_probes(encoder)
        if self._encoder is None and self._load_encoder is None:
            return []
        return refresh.encode_probes(self.encoder)

    def compact(self, *, wait: bool | float = False) -> None:
        """Merge segments, drop removed vectors, and build the ANN files that need it.

        Searches go on meanwhile.

        Raises:
            IndexLockedError: Another process is writing.
            StorageError: The disk refused; the message says what became of the index.
        """
        with telling(self._path):
            with self.writer(wait=wait) as writer:
                writer.compact()
            self.refresh_baseline(wait=True)
            self.build_ann()

    def build_ann(
        self, *, force: bool = False, wait: bool | float = True
    ) -> dict[Modality, str | None]:
        """Build or extend ANN files where exact search has become slow.

        Searches go on meanwhile, and so does a writer, except for the moment in which the new file
        takes its place.

        Args:
            force: Whether to build in any case, however few vectors there are.
            wait: How long to wait for the writer lock at that moment.

        Returns:
            What was done by modality: "train", "extend", "drop" (small enough to do without) or
            None.

        Raises:
            IndexLockedError: Another process is building.
            StorageError: The disk refused; the message says what became of the index.
        """
        from .engine.ann_builder import build

        with telling(self._path):
            return build(self._path, self._reader, force=force, wait=wait)

    def import_embeddings(self, folder: str | Path, *, wait: bool | float = False) -> IngestReport:
        """Add embeddings in the layout of clip-retrieval, or the items of an exported file.

        See `transfer.import_embeddings` and `parquet.import_parquet`.
        """
        from .engine.parquet import import_parquet
        from .engine.transfer import import_embeddings

        def opened() -> Writer:
            return self.writer(wait=wait)

        path = expanded(folder)
        with telling(self._path):
            if path.is_file():
                report = import_parquet(opened, path, self._dim, self._fingerprint)
            else:
                report = import_embeddings(opened, path, self._dim)
            self.refresh_baseline(wait=True)
        return report

    def migrate(
        self,
        encoder: Encoder,
        *,
        back: bool = False,
        drop_missing: bool = False,
        progress: Callable[[Progress], None] | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> MigrationReport:
        """Re-encode every item with another model, from its source, and then use that model.

        Searches and writers use the old model meanwhile; the switch is one commit. An interrupted
        migration resumes where it stopped. Ids, captions, tags and metadata stay, and
        so do the old vectors: `migrate` with the old model goes back and embeds only what was
        added since, `forget_models` deletes them. Other open `Index` objects of this index raise
        an `IndexMigratedError` from the switch on.

        Args:
            encoder: The model to use from now on.
            back: Whether this undoes the migration before, as `clipsearch migrate --back` does,
                which then does nothing until the next migration.
            drop_missing: Whether items whose source is gone or has changed are removed. Without
                it, the index stays with its model as long as there are any, and in any case as
                long as files cannot be read because of a drive, the network or permissions.
            progress: Called now and then with how many vectors there are of how many.
            batch_size: Images encoded together; None for 32, on a GPU 256.
            workers: Decoder processes; None for one a core, for a GPU two fewer.

        Returns:
            What was done, with the items that could not be embedded.

        Raises:
            InvalidInputError: The index uses that model already.
            IndexLockedError: Another process is migrating the index.
            StorageError: The disk refused; the message says what became of the index.
        """
        from .migration import Migration

        with telling(self._path):
            report = Migration(
                self._path,
                self._reader,
                encoder,
                back=back,
                drop_missing=drop_missing,
                progress=progress,
                batch_size=batch_size,
                workers=workers,
            ).run()
            if report.switched:
                self._reader.forget()
                with self._encoder_lock:
                    self._encoder, self._load_encoder = encoder, None
                    self._model_name = encoder.name
                    self._fingerprint, self._dim = encoder.fingerprint, int(encoder.dim)
                self.build_ann()
        return report

    def kept_models(self) -> list[KeptModel]:
        """The models beside the index's own whose vectors it has, the one used last first."""
        return self._reader.run(lambda conn, snapshot: vectorsets.kept(conn))

    def forget_models(self, *, wait: bool | float = False) -> list[KeptModel]:
        """Delete the vectors of all models but the index's own; returns which these were."""
        found = self.kept_models()
        with self.writer(wait=wait) as writer:
            writer.change(vectorsets.forget)
        return found

    def indexed_folders(self) -> tuple[str, ...]:
        """The folders whose files were indexed into it on this machine, links resolved.

        Only the images in these are shown to others, unless the person who starts a server names
        more. What an index says itself does not count, as it may come from anybody.
        """
        return indexed_folders(self.index_id, self._path)

    def get_meta(self, key: str) -> Any:
        """A small JSON document kept with `Writer.set_meta`, or None."""
        return self._reader.run(lambda conn, snapshot: catalog.document(conn, key))

    # --- closing ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all files. Closing twice is harmless."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(exc, StorageError) and exc.outcome:  # of all that was done with it
            tell(exc, self._path, self._reader.opened)
        self.close()

    def __repr__(self) -> str:
        return f"Index({str(self._path)!r}, model={self._model_name!r})"


def _rows_of(conn: Any, where: str | None) -> Rows | None:
    """The rows that satisfy an expression, ascending; None for all."""
    from .engine.filters import compile_where

    if where is None:
        return None
    return catalog.select_rows(conn, *compile_where(where, catalog.extra_fields(conn)))
