"""Text tables as programs write them: separators, encodings, quotes, names, paths, values."""

from __future__ import annotations

import gzip
import json
import os
import unicodedata

import pytest

from clipsearch.errors import SourceError
from clipsearch.index import Index
from clipsearch.ingest import IngestOptions
from clipsearch.intake import tables
from clipsearch.intake.dialects import Dialect
from clipsearch.intake.rows import open_rows
from clipsearch.intake.sources import open_source
from tests.fakes import FakeEncoder

ROWS = [("a.jpg", "a café, au lait"), ("b.jpg", 'a "red" car')]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(data: str | bytes, name: str = "t.csv", **options):
    with open(name, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    source = open_source(name, **options)
    return list(source), source.remarks()


def found(pairs) -> list[tuple[str | None, str | None]]:
    return [(p.image and os.path.relpath(p.image), p.caption) for p in pairs]


def as_table(separator: str, *, quote: bool = True) -> str:
    def field(text: str) -> str:
        if quote and (separator in text or '"' in text):
            return '"' + text.replace('"', '""') + '"'
        return text

    return "\n".join(separator.join(map(field, row)) for row in [("file", "caption"), *ROWS]) + "\n"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.psv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_whatever_the_name_says(separator, name):
    pairs, notes = read(as_table(separator), name)
    assert found(pairs) == ROWS
    usual = {"t.csv": ",", "t.tsv": "\t", "t.psv": "|"}[name]
    assert any("as separator" in note for note in notes) == (separator != usual)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_the_encoding_is_found(encoding, end):
    pairs, notes = read(as_table(",").replace("\n", end).encode(encoding))
    assert found(pairs) == ROWS
    assert bool(notes) == (encoding not in ("utf-8", "utf-8-sig"))
    if encoding == "cp1252":
        assert "a comma as separator and Windows-1252 as encoding; columns: file, cap" in notes[0]


@pytest.mark.parametrize(
    ("encoding", "caption"),
    [
        ("cp1251", "Собака бежит по пляжу"),
        ("iso8859_7", "Ένας σκύλος τρέχει στην παραλία δίπλα στη θάλασσα"),
        ("shift_jis", "犬が浜辺にいる"),
        ("gb18030", "一只狗在海边的沙滩上奔跑旁边有一个孩子"),
    ],
)
def test_other_alphabets_are_told_by_their_letters(encoding, caption):
    pairs, notes = read(f"file,caption\na.jpg,{caption}\n".encode(encoding))
    assert pairs[0].caption == caption
    assert "as encoding" in notes[0]


def test_a_few_damaged_bytes_make_no_other_encoding():
    lines = "".join(f"{n}.jpg,größer {n}\n" for n in range(50)).encode()
    pairs, notes = read(b"file,caption\n" + lines + b"x.jpg,\xff\n")
    assert pairs[7].caption == "größer 7"
    assert pairs[-1].caption == "\N{REPLACEMENT CHARACTER}"
    assert "damaged bytes" in notes[0]


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("'file','caption'\n'a.jpg','it''s, red'\n", "it's, red"),
        ('file,caption\na.jpg,"a \\"red\\" car"\n', 'a "red" car'),
        ('file, caption\na.jpg, "one, two"\n', "one, two"),
        ('file\tcaption\na.jpg\ta "red" car\n', 'a "red" car'),
        ('file\tcaption\na.jpg\t"red" it was\n', '"red" it was'),
        ('file\tcaption\na.jpg\t"one\ttwo"\n', "one\ttwo"),
        ('file,caption\na.jpg,"two\nlines"\n', "two\nlines"),
        ("sep=;\nfile;caption\na.jpg;x, y\n", "x, y"),
        ("\n\nfile,caption\n\na.jpg,x\n", "x"),
        ("file,caption,\na.jpg,x,\n", "x"),
        ('\ufeff "file" , caption \na.jpg, x \n', "x"),
        ("caption;File Name\nx;a.jpg\n", "x"),
        ("file,caption\na.jpg,NA\n", "NA"),
    ],
)
def test_quotes_and_headers_of_many_programs(text, caption):
    pairs, _ = read(text)
    assert found(pairs) == [("a.jpg", caption)]


def test_names_of_columns_are_asked_for_as_they_are_meant():
    pairs, _ = read("Datei , Text (de)\na.jpg,x\n", images="datei", captions="text (DE)")
    assert found(pairs) == [("a.jpg", "x")]
    with pytest.raises(SourceError, match=r"no column 'captoin'.*Did you mean 'caption'\?"):
        read("file,caption\na.jpg,x\n", captions="captoin")
    with pytest.raises(
        SourceError, match=r"a, b, c \(read with a bar \(\|\) as separator and UTF-8"
    ):
        read("a|b|c\n1|2|3\n")


def test_columns_of_one_name_are_both_kept():
    pairs, notes = read("file,caption,caption,,\na.jpg,x,y,z,\n")
    assert (pairs[0].caption, pairs[0].extra) == ("x", {"caption_2": "y", "column_4": "z"})
    assert "two columns are named 'caption'" in notes[0]


def test_a_table_may_be_packed():
    pairs, _ = read(gzip.compress(as_table(",").encode()), "t.csv.gz")
    assert found(pairs) == ROWS


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("sub\\p.jpg", "sub/p.jpg"),
        (".\\sub\\p.jpg", "sub/p.jpg"),
        ("sub\\..\\sub/p.jpg", "sub/p.jpg"),
        (" sub/p.jpg ", "sub/p.jpg"),
        ("sub/a%20b.jpg", "sub/a b.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("a%20b.jpg", "a%20b.jpg"),  # which is a file of that name
        (" spaced .jpg", " spaced .jpg"),  # likewise
        (unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")),
    ],
)
def test_a_path_is_the_file_that_is_meant(tmp_path, written, file):
    there = tmp_path / file
    there.parent.mkdir(exist_ok=True)
    there.touch()
    pairs, _ = read(f"file,caption\n{written},x\n")
    assert pairs[0].image == str(there)


def test_file_uris_are_paths(tmp_path):
    (tmp_path / "a b.jpg").touch()
    uri = (tmp_path / "a b.jpg").as_uri()
    local = uri.replace("file://", "file://localhost")
    pairs, _ = read(f"file\n{uri}\n{local}\nfile://server/share/a.jpg\nfile:///etc/x.jpg\n")
    assert [pair.image for pair in pairs[:2]] == [str(tmp_path / "a b.jpg")] * 2
    assert "another machine (server)" in pairs[2].refused
    assert "outside" in pairs[3].refused


@pytest.mark.parametrize("path", ["C:\\Photos\\a.jpg", "c:/a.jpg", "\\\\nas\\photos\\a.jpg"])
def test_a_path_of_another_system_says_so(path):
    pairs, _ = read(f"file\n{path}\n", outside=True)
    assert "Windows drive or share" in pairs[0].refused


def test_paths_may_start_from_another_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    (tmp_path / "tables").mkdir()
    pairs, _ = read("file\na.jpg\n../x.jpg\n", "tables/t.csv", images_root="photos")
    assert pairs[0].image == str(tmp_path / "photos" / "a.jpg")
    assert "outside" in pairs[1].refused


# --- values -------------------------------------------------------------------------------------

NUMBERS = """text,tweet_id,sku,zip,size,price,score,ok,blank
one,1234567890123456789,00123,01234,12E4,1.50,0.5,true,
two,1234567890123456790,00124,90210,7E2,2.00,2,false,
three,,0x1F,,nan,,,true,
"""
OPTIONS = IngestOptions(captions="text")


def test_values_are_typed_once_for_a_column_and_stay_exact(tmp_path):
    """Also where the row that decides comes thousands of rows later."""
    rows = "".join(f"row {n},{n},{n},{n},{n},{n}.25,{n},true,\n" for n in range(2500))
    (tmp_path / "p.csv").write_text(NUMBERS.replace("three", rows + "three"))
    with Index.create(tmp_path / "index", FakeEncoder()) as index:
        index.add("p.csv", options=OPTIONS)
        kinds = index.fields()
        assert [kinds[name] for name in NUMBERS.splitlines()[0].split(",")[1:-1]] == [
            "integer", "text", "text", "text", "decimal", "number", "integer",
        ]  # fmt: skip
        one, two = index.items(limit=2)
        assert one.extra == {
            "tweet_id": 1234567890123456789, "sku": "00123", "zip": "01234", "size": "12E4",
            "price": "1.50", "score": 0.5, "ok": True,
        }  # fmt: skip
        assert two.extra["score"] == 2
        assert [i.id for i in index.items("tweet_id = 1234567890123456790")] == [2]
        assert index.items("zip = '01234'")[0].id == 1
        assert len(index.items("price < 1.6 and price >= 1.50 and ok = true")) == 1
        generation = index.generation
        again = index.add("p.csv", options=OPTIONS)
        assert (again.unchanged, again.seen) == (2503, 2503)
        assert index.generation - generation <= 1  # the report of the run


def test_ids_stay_as_they_are_written(tmp_path):
    pairs, _ = read("text,id\na,007\nb,1e3\nc, 5\n", captions="text")
    assert [pair.key for pair in pairs] == [
        f"{tmp_path}/t.csv#{own}" for own in ("007", "1e3", " 5")
    ]
    pairs, _ = read("text,tweet_id\na,12345678901234567890\n", captions="text", ids="tweet_id")
    assert pairs[0].key.endswith("#12345678901234567890")
    assert pairs[0].columns == {"tweet_id": 12345678901234567890}


def test_blanks_and_words_for_nothing_are_told_apart(tmp_path):
    pairs, _ = read('text,x,y\na,,"NA"\nb,None,null\n', captions="text")
    assert [pair.extra for pair in pairs] == [{"y": "NA"}, {"x": "None", "y": "null"}]


def test_a_table_is_looked_at_once_as_long_as_it_is_the_same(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(tables, "open_rows", lambda *a: opened.append(a) or open_rows(*a))
    (tmp_path / "t.csv").write_text("file\na.jpg\n")
    for _ in range(3):
        list(open_source("t.csv"))
    assert len(opened) == 1
    (tmp_path / "t.csv").write_text("file\na.jpg\nb.jpg\n")
    assert len(list(open_source("t.csv"))) == 2


@pytest.mark.parametrize(
    ("document", "pairs"),
    [
        ([{"image": "a.jpg", "caption": "x"}], [("a.jpg", "x")]),
        ({"data": [{"image": "a.jpg"}, {"image": "b.jpg"}]}, [("a.jpg", None), ("b.jpg", None)]),
        ({"image": ["a.jpg"], "caption": ["x"]}, [("a.jpg", "x")]),
        ({"image": {"0": "a.jpg"}, "caption": {"0": "x"}}, [("a.jpg", "x")]),
    ],
)
def test_json_documents_are_tables(document, pairs):
    assert found(read(json.dumps(document), "t.json")[0]) == pairs


def test_json_lines_may_be_named_json_and_written_in_utf_16():
    lines = '{"image": "a.jpg", "caption": "é"}\n{"image": "b.jpg", "id": 5}\n'
    for name, data in (("t.json", lines), ("t.jsonl", lines.encode("utf-16"))):
        assert found(read(data, name)[0]) == [("a.jpg", "é"), ("b.jpg", None)]
    with pytest.raises(SourceError, match="holds no table"):
        read('{"a": 1}', "t.json")
    with pytest.raises(SourceError, match="not valid JSON"):
        read('{"a"', "t.json")


def test_the_report_says_how_an_odd_table_was_read(cli, tmp_path, photos):
    (tmp_path / "a.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "t.csv").write_text("file;caption\na.jpg;x\n")
    done = cli("index", "t.csv", "-i", "p")
    assert "t.csv was read with a semicolon as separator and UTF-8 as encoding" in done.stderr


def test_a_quotation_mark_that_is_never_closed_swallows_no_rows():
    text = 'file,caption\na.jpg,"one\nb.jpg,two\nc.jpg,"three, four"\nd.jpg,five\n'
    pairs, _ = read(text)
    assert [name for name, _ in found(pairs)] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [caption for _, caption in found(pairs)] == ["one", "two", "three, four", "five"]
    pairs, notes = read('file,caption\na.jpg,"one\nb.jpg,two\n')
    assert found(pairs) == [("a.jpg", "one"), ("b.jpg", "two")]
    assert any("never closed, in 'a.jpg,\"one'" in note for note in notes)


def test_an_unclosed_quotation_mark_does_not_slow_down_what_follows():
    lines = ["a.jpg,x\n"] * 20_000
    lines[10] = '"a.jpg,x\n'
    readers = []

    class Counted(Dialect):
        def _reader(self, lines):
            readers.append(None)
            return super()._reader(lines)

    rows = list(Counted("utf-8").rows(iter(lines)))
    assert len(rows) == len(lines)
    assert rows[-1] == ["a.jpg", "x"]
    assert len(readers) < 10
