"""Random sequences of changes, held against a plain Python model."""

import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clipsearch.errors import InvalidInputError
from clipsearch.index import Index
from clipsearch.vectors import exact_top_k
from tests.fakes import DIM, FakeEncoder, record

NAMES = st.sampled_from([f"n{i}" for i in range(8)])
VERSIONS = st.integers(0, 5)
ENCODER = FakeEncoder()


class IndexMachine(RuleBasedStateMachine):
    """The model is a dict from key to (row, image, embedded caption, tag, caption)."""

    @initialize()
    def create(self):
        self.folder = Path(tempfile.mkdtemp()) / "index"
        self.index = Index.create(self.folder, ENCODER)
        self.reopen()
        self.writer = None
        self.items, self.staged = {}, {}
        self.last_row = 0

    def reopen(self):
        self.index.close()
        # ANN files from the eleventh vector on, though so few are mostly searched exactly
        self.index = Index.open(self.folder, ENCODER, exact_elements=10 * DIM)

    def teardown(self):
        if hasattr(self, "index"):
            if self.writer is not None:
                self.writer.close()
            self.index.close()
            shutil.rmtree(self.folder.parent)

    @property
    def seen(self):
        return self.staged if self.writer is not None else self.items

    @precondition(lambda self: self.writer is None)
    @rule()
    def begin(self):
        self.writer = self.index.writer()
        self.staged = dict(self.items)

    @precondition(lambda self: self.writer is not None)
    @rule(name=NAMES, version=VERSIONS, what=st.sampled_from(["image", "caption", "both"]))
    def put(self, name, version, what):
        image = f"v{version}" if what != "caption" else None
        caption = f"word{version}" if what != "image" else None
        row = self.writer.put(
            record(name, sha256=image or caption, caption=caption),
            image=None if image is None else ENCODER.vector(image),
            caption=None if caption is None else ENCODER.vector(caption),
        )
        assert row > self.last_row
        self.last_row = row
        self.staged[record(name).key] = (row, image, caption, None, caption)

    @precondition(lambda self: self.writer is not None)
    @rule(
        batch=st.lists(
            st.tuples(
                NAMES, VERSIONS, st.sampled_from(["image", "caption", "both", "neither", "cut"])
            ),
            max_size=6,
        )
    )
    def put_many(self, batch):
        """Names may come twice; what lacks a vector or cannot be stored is refused."""
        records, given = [], {"image": ([], []), "caption": ([], [])}
        for at, (name, version, what) in enumerate(batch):
            caption = f"word{version}" if what in ("caption", "both") else None
            records.append(record(name, sha256=f"v{version}", caption=caption))
            if what == "cut":
                records[-1] = record(name, sha256="\ud83d")
            for modality, content in (("image", f"v{version}"), ("caption", f"word{version}")):
                if what in (modality, "both") or (what, modality) == ("cut", "image"):
                    given[modality][0].append(at)
                    given[modality][1].append(ENCODER.vector(content))
        blocks = {
            f"{modality}s": (np.array(at, np.int64), np.array(vectors).reshape(-1, DIM))
            for modality, (at, vectors) in given.items()
        }
        ends = self.writer.put_many(records, **blocks)
        for (name, version, what), end in zip(batch, ends, strict=True):
            if what in ("neither", "cut"):
                assert isinstance(end, InvalidInputError)
                continue
            assert end > self.last_row
            self.last_row = end
            image = f"v{version}" if what != "caption" else None
            caption = f"word{version}" if what != "image" else None
            self.staged[record(name).key] = (end, image, caption, None, caption)

    @precondition(lambda self: self.writer is not None)
    @rule(names=st.sets(NAMES))
    def remove(self, names):
        keys = [record(name).key for name in names]
        rows = [known.row for known in self.writer.lookup(keys).values()]
        assert sorted(rows) == sorted(self.staged[key][0] for key in keys if key in self.staged)
        assert self.writer.remove([*rows, 10**6]) == len(rows)
        for key in keys:
            self.staged.pop(key, None)

    @precondition(lambda self: self.writer is not None)
    @rule(old=NAMES, new=NAMES)
    def move(self, old, new):
        old, new = record(old).key, record(new).key
        if old in self.staged:
            self.writer.touch(self.staged[old][0], key=new, facts={"path": new})
            self.staged[new] = self.staged.pop(old)

    @precondition(lambda self: self.writer is not None)
    @rule(name=NAMES, version=VERSIONS, what=st.sampled_from(["words", "text alone", "none"]))
    def recaption(self, name, version, what):
        """The item keeps its row and its tag, and no row is given out twice."""
        key = record(name).key
        if key not in self.staged:
            with pytest.raises(InvalidInputError, match="no item"):
                self.writer.recaption(10**6, "word", ENCODER.vector("word"))
            return
        row, image, _, tag, _ = self.staged[key]
        text = None if what == "none" else f"word{version}"
        vector = ENCODER.vector(text) if what == "words" else None
        if image is None and vector is None:
            with pytest.raises(InvalidInputError, match="image or a caption"):
                self.writer.recaption(row, text, vector)
            return
        self.writer.recaption(row, text, vector)
        self.staged[key] = (row, image, text if vector is not None else None, tag, text)
        stored = self.writer.vector(row, "caption")
        assert (stored is None) == (vector is None)
        if vector is not None:
            np.testing.assert_allclose(stored, vector, atol=1e-3)

    @precondition(lambda self: self.writer is not None)
    @rule(label=st.sampled_from(["dog", "cat"]), names=st.sets(NAMES))
    def tag(self, label, names):
        chosen = {record(name).key for name in names} & set(self.staged)
        rows = [self.staged[key][0] for key in chosen]
        self.writer.set_tags(rows, [label] * len(rows))
        for key, (row, image, caption, _, text) in self.staged.items():
            self.staged[key] = (row, image, caption, label if key in chosen else None, text)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def commit(self):
        before = self.index.generation
        changed = self.writer.staged > 0
        assert self.writer.commit() == self.index.generation == before + changed
        self.items = dict(self.staged)

    @precondition(lambda self: self.writer is not None)
    @rule(drop=st.booleans())
    def end(self, drop):
        if drop:
            self.writer.rollback()
            self.staged = dict(self.items)
            self.last_row = max((row for row, *_ in self.items.values()), default=0)
        else:
            self.items = dict(self.staged)
        with self.writer:
            pass
        self.writer = None

    @precondition(lambda self: self.writer is None)
    @rule(build=st.booleans())
    def compact(self, build):
        self.index.compact() if build else self.index.build_ann()

    @rule()
    def open_again(self):
        self.reopen()

    @invariant()
    def the_index_is_the_model(self):
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.items)
        stored = {i.key: (i.id, i.caption, i.tags) for i in self.index.items()}
        assert stored == {
            key: (row, text, () if tag is None else (tag,))
            for key, (row, _, _, tag, text) in self.items.items()
        }
        query = ENCODER.vector("query")
        for at, target in ((1, "image"), (2, "caption")):
            have = sorted((v[0], v[at]) for v in self.items.values() if v[at] is not None)
            vectors = [ENCODER.vector(content).astype(np.float16) for _, content in have]
            block = (
                np.asarray([row for row, _ in have], np.int64),
                np.asarray(vectors, np.float32).reshape(-1, DIM),
            )
            expected = exact_top_k([block], query, 4)
            ids, found = [row for row, _ in have], self.index.iter_vectors(target)
            found = list(found) or [(np.empty(0, np.int64), np.empty((0, DIM), np.float32))]
            assert np.concatenate([rows for rows, _ in found]).tolist() == ids
            np.testing.assert_array_equal(np.concatenate([some for _, some in found]), block[1])
            if have:
                np.testing.assert_array_equal(self.index.vectors(ids, target), block[1])
            hits = self.index.search(query, k=4, target=target)
            assert [h.item.id for h in hits] == expected[0].tolist()
            assert [h.score for h in hits] == expected[1].tolist()
            tagged = self.index.search(query, k=99, target=target, where="tag = 'dog'")
            assert {h.item.id for h in tagged} == {
                v[0] for v in self.items.values() if v[at] is not None and v[3] == "dog"
            }
        for word in {f"word{version}" for version in range(6)}:
            with sqlite3.connect(self.folder / "catalog.sqlite") as conn:
                query = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid"
                rows = [row for (row,) in conn.execute(query, (word,))]
            assert rows == sorted(v[0] for v in self.items.values() if v[4] == word)
        if self.writer is not None:
            found = self.writer.lookup(list(self.seen))
            assert {k: v.row for k, v in found.items()} == {k: v[0] for k, v in self.seen.items()}

    @precondition(lambda self: self.writer is None)
    @rule()
    def verify(self):
        report = self.index.verify(full=True)
        assert report.ok, report.problems
        files = {p.name for p in (self.folder / "vectors").iterdir()}
        assert len(files) == 2 * self.index.info()["segments"]


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
