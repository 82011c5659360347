"""Memory is bounded by bytes: what a small file unpacks to, and what is honest and large."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsearch.errors import SourceError
from clipsearch.files import open_regular, read_given, read_regular
from clipsearch.intake import parquet_cells, rows
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
