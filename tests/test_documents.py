"""An item's columns, listed once, and the documents that are made of them."""

from __future__ import annotations

import dataclasses
import inspect
import sqlite3

import pyarrow.parquet as pq

from clipsearch import Index
from clipsearch.documents import (
    COLUMNS,
    FIELDS,
    HIDDEN_FIELDS,
    STORED,
    hit_document,
    hits_document,
    hits_of_public,
    public_hit,
    public_item,
)
from clipsearch.engine.database import CATALOG
from clipsearch.request import Searchable, SearchRequest
from clipsearch.server.schemas import HitsDocument, ItemDocument, SearchBody, SearchForm
from clipsearch.types import Hit, Hits, Item

from .fakes import FakeEncoder, fill

ITEM = Item(
    id=7,
    key="/home/ana/dog.jpg",
    path="/home/ana/dog.jpg",
    caption="a dog",
    sha256="ab",
    size_bytes=10,
    mtime_ns=5,
    width=640,
    height=480,
    format="JPEG",
    taken_at="2024-05-01T10:00:00",
    camera="X100",
    latitude=1.5,
    longitude=-2.5,
    frame=2,
    extra={"stars": 5, "file": "/home/ana/dog.raw"},
    has_caption=True,
    tags=("dog", "beach"),
)
HIT = Hit(item=ITEM, score=0.25, percentile=99.0)


def test_the_catalog_has_the_columns_of_an_item(tmp_path):
    with Index.create(tmp_path / "photos", FakeEncoder()):
        pass
    conn = sqlite3.connect(tmp_path / "photos" / CATALOG)
    columns = [row[1] for row in conn.execute("PRAGMA table_info(items)")]
    conn.close()
    assert [name for name in columns if name in ("row", *STORED)] == ["row", *STORED]
    assert set(columns) - {"row", *STORED} <= {"ctime_ns", "inode", "caption_words"}
    assert set(COLUMNS) == {"id", *STORED, "tags", "albums"}


def test_a_parquet_file_has_its_columns_in_a_fixed_order(tmp_path):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "photos", encoder) as index:
        fill(index, encoder, 3)
        index.export(tmp_path / "photos.parquet")
    assert pq.read_schema(tmp_path / "photos.parquet").names == [
        *("id", "key", "path", "place", "caption", "sha256", "format", "taken_at", "camera"),
        *("size_bytes", "mtime_ns", "width", "height", "frame", "latitude", "longitude"),
        *("tags", "albums", "extra", "image_vector", "caption_vector"),
    ]


def test_a_hit_on_the_command_line_says_all_that_is_known():
    assert list(hit_document(HIT)) == [
        *("id", "path", "score", "percentile", "key", "caption", "sha256", "size_bytes"),
        *("mtime_ns", "width", "height", "format", "taken_at", "camera", "latitude", "longitude"),
        *("frame", "extra", "has_image", "has_caption", "tags"),
    ]
    bare = Hit(item=Item(id=1, key="a"), score=0.5)
    assert list(hit_document(bare)) == ["id", "path", "score", "key", "has_image", "has_caption"]


def test_http_shows_no_place_of_a_file():
    document = public_item(ITEM)
    assert list(document) == [
        *("id", "caption", "width", "height", "format", "size_bytes", "taken_at", "camera"),
        *("latitude", "longitude", "tags", "extra", "has_image", "has_caption", "frame", "albums"),
    ]
    assert list(ItemDocument.model_fields) == list(document)
    assert "/home" not in str(document)
    assert document["extra"] == {"stars": 5}
    assert {"key", "path", "name"} == HIDDEN_FIELDS
    assert set(FIELDS) >= HIDDEN_FIELDS


def test_a_client_reads_hits_as_they_were_written():
    hits = Hits((HIT,), generation=3, took_ms=1.5, approximate=True)
    document = hits_document(hits, public_hit)
    HitsDocument.model_validate(document)
    read = hits_of_public(document)
    assert public_hit(read[0]) == public_hit(HIT)
    assert (read[0].item.key, read[0].item.path, read[0].item.tags) == ("#7", None, ITEM.tags)
    assert (read.generation, read.took_ms, read.approximate) == (3, 1.5, True)
    assert not read.partial


def test_hits_of_shards_say_which_did_not_answer():
    whole = hits_document(Hits((HIT,)), public_hit)
    assert list(whole) == ["hits", "generation", "approximate", "weak", "took_ms"]
    part = hits_document(Hits((HIT,), shards=2, missing=(2,)), public_hit)
    assert list(part) == [*whole, "partial", "missing_shards"]
    assert hits_of_public(part).partial
    assert hits_of_public(part).missing == (2,)


def test_a_search_has_the_same_parameters_and_defaults_in_every_interface():
    fields = {field.name: field.default for field in dataclasses.fields(SearchRequest)}
    del fields["query"]
    for method in (Searchable.search, Searchable.search_many):
        _, _, *parameters = inspect.signature(method).parameters.values()
        assert {p.name: p.default for p in parameters} == fields
    for model in (SearchBody, SearchForm):
        assert {name: model.model_fields[name].default for name in fields} == fields
