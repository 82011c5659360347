"""Memory is bounded by bytes: what a small file unpacks to, and what is honest and large."""

import contextlib
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsearch.engine.columns import as_json
from clipsearch.errors import SourceError
from clipsearch.files import open_regular, read_given, read_regular
from clipsearch.intake import arrow_batches, parquet_cells, rows
from clipsearch.intake.inside import cell_place, read_inside
from clipsearch.intake.layouts import Asked
from clipsearch.intake.sources import open_source

MB = 1 << 20
# Reads each source to its end as indexing does, without a model, and says how that grew.
READER = """
import json, os, resource, sys
import numpy as np, pyarrow.parquet
from clipsearch.images import Preprocessing
from clipsearch.intake.embedder import Embedder
from clipsearch.intake.sources import open_source

class Encoder:
    preprocessing, device, dim = Preprocessing((32, 32), (0, 0, 0), (1, 1, 1)), "cpu", 1
    def encode_pixels(self, pixels): return np.ones((len(pixels), 1), np.float32)
    def encode_texts(self, texts): return np.ones((len(texts), 1), np.float32)

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

with Embedder(Encoder(), workers=1) as embedder:
    for place in sys.argv[1:]:
        before, refused, read, error = peak(), [], 0, ""
        def pairs():
            for pair in open_source(place):
                if pair.refused is None:
                    yield pair
                else:
                    refused.append(pair.refused)
        try:
            for batch in embedder.embed_pairs(pairs()):
                read += sum(one.image is not None for one in batch)
        except ValueError as exc:
            error = str(exc)
        print(json.dumps([os.path.basename(place), peak() - before, read, refused, error]))
"""


def read_apart(*places: Path) -> dict[str, list]:
    """By name: megabytes by which the peak of memory grew, images read, refusals, the error."""
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, places)], capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


def drawn(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (number % 256, 90, 160)).save(file, "PNG")
    return file.getvalue()


def zeros() -> io.BufferedReader:
    class Zeros(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            buffer[:] = bytes(len(buffer))
            return len(buffer)

    return io.BufferedReader(Zeros(), MB)


def packed_tar(path: Path, members: dict[str, bytes | int]) -> Path:
    with gzip.open(path, "wb", 1) as out, tarfile.open(fileobj=out, mode="w|") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = content if isinstance(content, int) else len(content)
            is_zeros = isinstance(content, int)
            tar.addfile(info, zeros() if is_zeros else io.BytesIO(content))
    return path


def packed_text(path: Path, start: bytes, piece: bytes, times: int) -> Path:
    with gzip.open(path, "wb", 1) as out:
        out.write(start)
        for _ in range(times):
            out.write(piece)
    return path


def test_small_files_that_unpack_to_gigabytes_cost_their_parts_alone(tmp_path):
    good = drawn(1)
    tar = packed_tar(tmp_path / "a.tar.gz", {"z.jpg": 260 * MB, "good.png": good})
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        with out.open("z.jpg", "w") as member:
            for _ in range(260):
                member.write(bytes(MB))
        out.writestr("good.png", good)
    large = pa.array([bytes(40 * MB)])
    text = pa.array(["x" * (20 * MB)])
    many = pa.array([0] * 60, pa.int32())
    images = tmp_path / "images.parquet"
    table = {"image": pa.DictionaryArray.from_arrays(many, large), "caption": ["a"] * 60}
    pq.write_table(pa.table(table).slice(0, 8), images, compression="zstd")
    texts = tmp_path / "texts.parquet"
    table = {"image": [good] * 60, "note": pa.DictionaryArray.from_arrays(many, text)}
    pq.write_table(pa.table(table), texts, compression="zstd")
    line = packed_text(tmp_path / "a.csv.gz", b"file,caption\na.png,", b"x" * MB, 200)
    lines = packed_text(tmp_path / "a.jsonl.gz", b'{"file": "a.png"}\n{"file": "', b"x" * MB, 200)
    found = read_apart(tar, zipped, images, texts, line, lines)
    grown = {name: one[0] for name, one in found.items()}
    assert max(grown.values()) < 600, grown
    assert all(path.stat().st_size < 8 * MB for path in tmp_path.iterdir())
    limit = "over the limit of 256 MB for a file in an archive"
    assert found["a.tar.gz"][1:] == found["a.zip"][1:] == [1, [limit], ""]
    assert found["images.parquet"][2] == []
    note = "'note' has 20,971,520 bytes, over the limit of 16 MB"
    assert found["texts.parquet"][2] == [note] * 60
    assert "over 16,777,216 characters" in found["a.csv.gz"][3]
    assert found["a.jsonl.gz"][2] == ["a line of over 16,777,216 characters"]


@pytest.mark.slow
def test_honest_photos_of_five_megabytes_in_parquet_take_a_part_of_a_gigabyte(tmp_path):
    places = []
    for name, compression in {"plain": "none", "snappy": "snappy", "zstd": "zstd"}.items():
        places.append(tmp_path / f"{name}.parquet")
        photos = [drawn(n) + random.randbytes(5 * MB) for n in range(150)]
        table = pa.table({"image": [{"bytes": photo, "path": None} for photo in photos]})
        pq.write_table(table, places[-1], compression=compression)
    found = read_apart(*places)
    assert {name: one[1] for name, one in found.items()} == {path.name: 150 for path in places}
    assert max(one[0] for one in found.values()) < 500, found


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
def test_large_pages_are_read_as_arrow_reads_them(tmp_path, monkeypatch, compression):
    rng = random.Random(3)
    values = [
        rng.choice([None, rng.randbytes(rng.choice([0, 3, 900])), b"ab" * rng.randint(0, 400)])
        for _ in range(60)
    ]
    texts = [rng.choice([None, "é" * rng.randint(0, 500), "same"]) for _ in range(60)]
    image = [
        {"bytes": value, "path": text} if value or text else None
        for value, text in zip(values, texts, strict=True)
    ]
    table = pa.table({
        "number": list(range(60)),
        "image": pa.array(image, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "caption": texts, "lists": [[n] * 3 for n in range(60)],
        "note": pa.array(texts, pa.large_string()), "raw": pa.array(values, pa.binary()),
    })  # fmt: skip
    path = tmp_path / "t.parquet"
    for dictionary in (True, False):
        for version in ("1.0", "2.0"):
            pq.write_table(
                table, path, compression=compression, use_dictionary=dictionary,
                data_page_version=version, row_group_size=17,
            )  # fmt: skip

            def read() -> list[dict]:
                return list(rows.open_rows(lambda: open_regular(path), str(path), Asked()))

            expected = read()
            with monkeypatch.context() as small:
                small.setattr(parquet_cells, "WAITING_BYTES", 2000)
                small.setattr(parquet_cells, "_LARGE_DICTIONARY", 300)
                file, opened = path.open("rb"), pq.ParquetFile(path)
                with file:
                    large = parquet_cells.large_columns(opened, 0, file, lambda _: MB).columns
                assert {1, 2, 4, 5} <= set(large)
                got = read()
            nothing = {"bytes": None, "path": None}
            for row in (*expected, *got):
                if row.get("image") == nothing:
                    del row["image"]
            assert got == expected
            for at in (0, 20, 59):
                if image[at] and image[at]["bytes"] is not None:
                    assert read_inside(cell_place(str(path), "image", at)) == image[at]["bytes"]


def test_small_tables_of_arrow_and_lists_cost_their_parts_alone(tmp_path):
    good, large = drawn(1), pa.array(["x" * (5 * MB)])
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), large)
    tags = pa.ListArray.from_arrays(pa.array([0, 0, 100_000], pa.int32()), repeated)
    listed = tmp_path / "listed.feather"
    table = pa.table({"image": [good, good], "tags": tags})
    pa.feather.write_feather(table, listed, compression="zstd")
    missing = pa.ListArray.from_arrays(pa.array([0, 0, 1 << 28], pa.int32()), pa.nulls(1 << 28))
    nulls = tmp_path / "nulls.arrow"
    table = pa.table({"image": [good, good], "none": missing})
    with pa.ipc.new_stream(nulls, table.schema) as out:
        out.write_table(table)
    nested = tmp_path / "nested.parquet"
    offsets = pa.array([0, 1, 60], pa.int32())
    table = {"image": [good] * 2, "tags": pa.ListArray.from_arrays(offsets, repeated[:60])}
    pq.write_table(pa.table(table), nested, compression="zstd")
    bomb = tmp_path / "bomb.feather"
    pa.feather.write_feather(pa.table({"image": [bytes(300 * MB)]}), bomb, compression="zstd")
    assert all(path.stat().st_size < MB for path in tmp_path.iterdir())
    found = read_apart(listed, nulls, nested, bomb)
    assert max(one[0] for one in found.values()) < 300, found
    assert "a record batch of it has 314," in found["bomb.feather"][3]
    assert "over the limit of 256 MB" in found["bomb.feather"][3]
    for name in ("listed.feather", "nulls.arrow", "nested.parquet"):
        _, read, refused, error = found[name]
        assert (read, error) == (1, "")
        assert refused[0].endswith("bytes, over the limit of 256 MB")


@pytest.mark.slow
def test_honest_photos_of_five_megabytes_in_one_batch_of_arrow_take_a_part_of_a_gigabyte(tmp_path):
    photos = [drawn(n) + random.randbytes(5 * MB) for n in range(150)]
    table = pa.table({"image": [{"bytes": photo, "path": None} for photo in photos]})
    places = [tmp_path / "a.arrow", tmp_path / "a.feather"]
    with pa.ipc.new_stream(places[0], table.schema) as out:
        out.write_table(table)
    pa.feather.write_feather(table, places[1], compression="uncompressed")
    found = read_apart(*places)
    assert [one[1] for one in found.values()] == [150, 150]
    assert max(one[0] for one in found.values()) < 500, found


def test_a_batch_in_parts_has_the_rows_that_arrow_reads(tmp_path, monkeypatch):
    rng = random.Random(4)

    def some(kind: pa.DataType, make) -> pa.Array:
        return pa.array([make(n) if rng.random() > 0.2 else None for n in range(137)], kind)

    words = pa.array([rng.choice("abc") for _ in range(137)]).dictionary_encode()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({
        "image": some(image, lambda n: {"bytes": rng.randbytes(7 * n), "path": None}),
        "caption": some(pa.large_string(), lambda n: "é" * n),
        "lists": some(pa.large_list(pa.string()), lambda n: [None, "a"][: n % 3] * n),
        "truths": some(pa.list_(pa.bool_()), lambda n: [True, False, True] * (n % 4)),
        "pairs": some(pa.list_(pa.float32(), 2), lambda n: [n, 0.5]),
        "map": some(pa.map_(pa.string(), pa.int64()), lambda n: [(str(n), n)]),
        "truth": some(pa.bool_(), lambda n: n % 3 == 0),
        "word": words, "words": pa.ListArray.from_arrays(pa.array(range(138), pa.int32()), words),
        "none": pa.nulls(137), "time": some(pa.timestamp("us"), lambda n: n),
        "raw": some(pa.binary(3), lambda n: b"abc"),
    })  # fmt: skip
    for place in (tmp_path / "file.arrow", tmp_path / "stream.arrow", tmp_path / "old.arrow"):
        write = pa.ipc.new_file if place.stem == "file" else pa.ipc.new_stream
        options = pa.ipc.IpcWriteOptions(use_legacy_format=place.stem == "old")
        with write(place, table.schema, options=options) as out:
            out.write_table(table, max_chunksize=90)

        def read(place: Path = place) -> list:
            return list(rows.open_rows(lambda: open_regular(place), str(place), Asked()))

        expected = read()
        with monkeypatch.context() as small:
            small.setattr(arrow_batches, "WAITING_BYTES", 2000)
            with place.open("rb") as file:
                batches = pa.ipc.open_stream(arrow_batches.SmallBatches(file).stream())
                got = list(batches)
                assert len(got) > 20
                assert pa.Table.from_batches(got).equals(table)
            assert read() == expected
            small.setattr(arrow_batches, "MAX_IMAGE_BYTES", 2100)
            for row, other in zip(read(), expected, strict=True):
                assert row == other or "over the limit" in row.reason
        damaged = bytearray(place.read_bytes())
        for _ in range(60):
            at, bit = rng.randrange(4000), 1 << rng.randrange(8)
            damaged[at] ^= bit
            file = io.BytesIO(damaged)
            file.close = lambda: None
            with contextlib.suppress(SourceError):
                list(rows.open_rows(lambda file=file: file, "a.arrow", Asked()))
            damaged[at] ^= bit


def test_what_has_no_end_is_read_to_a_limit(tmp_path):
    with pytest.raises(OSError, match="over the limit of 1 MB"):
        read_given("/dev/zero", MB)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular("/dev/zero", MB)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert read_given(pipe, MB) == b""  # nobody writes to it
    for name in ("a.jpg", "a.tar", "a.csv", "a.jsonl"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(OSError, match="over the limit of 1 MB"):
        read_regular(tmp_path / "a.jpg", MB)
    for name in ("a.tar", "a.csv", "a.jsonl"):
        with pytest.raises(SourceError, match="zeros"):
            list(open_source(tmp_path / name))
    assert read_regular("/proc/self/stat", MB)  # whose size is 0


def test_json_that_is_nested_or_of_another_shape_costs_its_rows_alone(tmp_path):
    drawn_file = tmp_path / "a.png"
    drawn_file.write_bytes(drawn(1))
    rows_of = tmp_path / "a.jsonl"
    values = [*("[" * deep + "]" * deep for deep in (99, 101, 900, 10**6)), "9" * 9999]
    values += ["1.00000000000000000001e999999", "1.00000000000000000001e-9999999999"]
    rows_of.write_text("".join(f'{{"file": "a.png", "x": {value}}}\n' for value in values))
    refused = [pair.refused for pair in open_source(rows_of)]
    assert [text is None for text in refused] == [True, False, False, False, False, True, True]
    assert refused[1] == "not valid JSON (nested over 100 levels deep)"
    for odd in (5, [{"image_id": [1], "category_id": {}, "caption": "x"}]):
        coco = tmp_path / "coco.json"
        images = [{"id": [1], "file_name": "a.png", "sentences": 3}]
        coco.write_text(json.dumps({"images": images, "annotations": odd, "categories": odd}))
        assert [pair.image for pair in open_source(coco)] == [str(drawn_file)]
    members = tmp_path / "a.tar.gz"
    packed_tar(members, {"1.png": drawn(1), "1.json": b'{"x":' + b"[" * 500 + b"]" * 500 + b"}"})
    assert [pair.refused for pair in open_source(members)] == ["its .json is not valid JSON"]
    assert as_json(Decimal("1e-9999999999")) == "1E-9999999999"  # and not all of its zeros
