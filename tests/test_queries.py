"""What a search may be: words, a path, a URL, standard input, a filter; sorted, fitting or not."""

import io
import json
import math
import shutil
import sys
import threading
import unicodedata
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from clipsearch import Index, InvalidInputError, Query
from clipsearch.cli import fetch
from clipsearch.cli.search import build_query
from clipsearch.documents import hits_document, hits_of_public, public_hit
from clipsearch.ordering import name_key
from clipsearch.request import SearchRequest
from clipsearch.server.schemas import HitsDocument, SearchBody
from tests.fakes import FakeEncoder, put
from tests.test_sharding import ask, shard_index


@pytest.fixture(scope="module")
def library(tmp_path_factory, encoder, photos):
    """An index of real photos, made once."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, folder / "photos" / photo.name)
    with Index.create(folder / "index", encoder) as index:
        index.add(folder / "photos")
    return folder


@pytest.fixture
def search(cli, library, encoder, tmp_path, monkeypatch):
    """`clipsearch search` in a folder that holds `cat.png` and `photos/cat.png`."""
    # the model is loaded once for all tests of this module
    monkeypatch.setattr("clipsearch.cli.search.load_text_encoder", lambda *_, **__: encoder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    for name in ("cat.png", "photos/cat.png", "photos/dog"):
        shutil.copy(library / "photos" / "chelsea.png", tmp_path / name)

    def run(*arguments, expect=0):
        return cli("search", *arguments, "-i", library / "index", expect=expect)

    return run


def terms(done) -> list[dict]:
    return json.loads(done.stdout)["query"]


# --- paths as words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["./cat.png", "photos/cat.png", "cat.png", "~/cat.png", "../CWD/cat.png", "photos/dog"]
)
def test_a_path_given_as_words_is_searched_by(search, tmp_path, path, capsys):
    path = path.replace("CWD", tmp_path.name)
    (term,) = build_query(path).terms
    assert (term.kind, term.value.exists()) == ("image", True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: searching by the image ")


def test_the_command_searches_by_a_path(search):
    done = search("./cat.png", "-f", "json")
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(done.stdout)["hits"][0]["path"].endswith("chelsea.png")


def test_paths_of_other_kinds(search, tmp_path):
    for path in (str(tmp_path / "cat.png"), (tmp_path / "photos" / "cat.png").as_uri()):
        assert build_query(path).kind == "image"
    spaced = tmp_path / "photos" / "a cat é.png"
    shutil.copy(tmp_path / "cat.png", spaced.with_name(unicodedata.normalize("NFD", spaced.name)))
    assert build_query(spaced.as_uri()).kind == "image"  # typed in the other form
    assert build_query(None, images=["photos/a cat é.png"]).kind == "image"


def test_paths_are_added_and_subtracted(search):
    done = search(
        "-a", "./cat.png^0.5", "-a", "an animal", "-s", "photos/cat.png^0.25", "-f", "json"
    )
    assert [(next(iter(t)), t["weight"]) for t in terms(done)] == [
        ("image", 0.5),
        ("text", 1.0),
        ("image", -0.25),
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "./dog.png",
            "../dog.png",
            "photos/dog.png",
            "~/x.png",
            "~nobody-there/x.png",
            "C:\\x.jpg",
        ),
        *("C:/x.jpg", "\\\\server\\share\\x.jpg", "/nowhere/x.jpg", "file:///nowhere/x.jpg"),
        *("file://server/x.jpg", "./dog", "photos\\cat.png", "example.org/cat.jpg", "s3://b/c.jpg"),
        *("photos/a cat.JPG", "photos/x.heic", "photos/x.nef", "./photos", "photos/"),
    ],
)
def test_a_path_where_no_file_is_is_refused_with_a_hint(search, path):
    for parts in (
        {"text": path},
        {"text": "a", "add": [path]},
        {"text": "a", "subtract": [f"{path}^2"]},
    ):
        with pytest.raises(InvalidInputError, match=r"no file at|is a folder") as caught:
            build_query(**{"text": None, **parts})
        assert path in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        *("dog.png", "black/white cat", "24/7", "f/2.8 bokeh", "and/or", "w/o people", "cat"),
        *(
            "a cat.",
            "http",
            "C: drive",
            "/r/cats",
            "...",
            "~",
            "a file: cat",
            "file: cabinet",
            "tcp/ip",
            "1/2.8",
        ),
        *("5 km/h", "a 50% off \\ sale", "x" * 400 + "/" + "y" * 400, "photos"),
    ],
)
def test_words_with_signs_are_words(search, words):
    assert build_query(words) == Query.text(words)
    assert build_query(None, add=[f"{words}^2"]) == Query.text(words, 2)


def test_a_file_that_is_no_image_is_an_error(search, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert build_query("notes.txt").kind == "text"
    assert "notes.txt" in search("./notes.txt", expect=1).stderr


# --- standard input and the web -----------------------------------------------------------------


def stdin_of(monkeypatch, data: bytes, *, is_terminal: bool = False) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: is_terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


def test_an_image_comes_on_standard_input(search, tmp_path, monkeypatch):
    data = (tmp_path / "cat.png").read_bytes()
    for given in ({"images": ["-"]}, {"images": ["-^0.5"]}, {"text": "-"}, {"add": ["-"]}):
        stdin_of(monkeypatch, data)
        assert build_query(**{"text": None, **given}).terms[0].value == data
    stdin_of(monkeypatch, data)
    done = search("--image", "-", "-f", "json")
    assert terms(done)[0]["image"] == "-"
    assert json.loads(done.stdout)["hits"][0]["score"] > 0.99
    stdin_of(monkeypatch, b"no image")
    assert len(search("--image", "-", expect=1).stderr.splitlines()) == 1
    stdin_of(monkeypatch, b"")
    assert "no image on standard input" in search("--image", "-", expect=1).stderr
    stdin_of(monkeypatch, b"", is_terminal=True)
    assert "is a terminal" in search("--image", "-", expect=1).stderr


@pytest.fixture
def web(library):
    """A server on this machine with a photo and with what is not to be fetched."""
    data = (library / "photos" / "chelsea.png").read_bytes()
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            kinds = {"/page": "text/html", "/raw": "application/octet-stream"}
            if self.path.startswith("/loop") or self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/cat" if self.path == "/moved" else "/loop")
                self.end_headers()
                return
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
                return
            self.send_response(404 if self.path == "/gone" else 200)
            self.send_header("Content-Type", kinds.get(self.path, "image/png"))
            self.end_headers()
            self.wfile.write(b"" if self.path == "/empty" else data)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
        server.shutdown()


def test_an_image_comes_from_the_web(search, web):
    for given in (["--image", f"{web.url}/cat"], ["--image", f"{web.url}/raw^0.5"]):
        done = search(*given, "-f", "json")
        assert terms(done)[0]["image"].startswith(web.url)
        assert json.loads(done.stdout)["hits"][0]["score"] > 0.99
    done = search(f"{web.url.replace('//', '//me:secret@')}/moved?token=secret", expect=None)
    assert "secret" not in done.stderr + done.stdout
    assert done.stderr.startswith(f"note: searching by the image at {web.url}/moved")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/gone", "404"),
        ("/page", "not an image but text/html"),
        ("/loop", "redirects"),
        ("/elsewhere", "cannot fetch"),
        ("/empty", "is empty"),
    ],
)
def test_what_is_not_fetched_is_said_in_one_line(search, web, path, says):
    done = search("--image", web.url + path, expect=1)
    (line,) = done.stderr.splitlines()
    assert says in line
    assert line.count("cannot fetch") <= 1


def test_fetching_has_limits(web, monkeypatch):
    monkeypatch.setattr(fetch, "_MAX_BYTES", 1000)
    with pytest.raises(InvalidInputError, match="larger than"):
        fetch.fetch_image(f"{web.url}/cat")
    monkeypatch.setattr(fetch, "_MAX_BYTES", 10**9)
    monkeypatch.setattr(fetch, "_MAX_S", 1e-6)
    with pytest.raises(InvalidInputError, match=r"takes longer|timed out|cannot fetch"):
        fetch.fetch_image(f"{web.url}/cat")
    with pytest.raises(InvalidInputError, match="cannot fetch"):
        fetch.fetch_image("http://127.0.0.1:1/cat.jpg")


def test_no_interface_but_the_command_line_fetches(library, encoder, web):
    url = f"{web.url}/cat"
    with Index.open(library / "index", encoder) as index:
        index.search(url)
    assert SearchBody(text=url).request().query == Query.text(url)
    with pytest.raises(ValueError, match="image"):
        SearchBody(terms=[{"image": url}])
    assert web.asked == []


# --- listing and sorting ------------------------------------------------------------------------

FACTS = [  # name, date, size
    ("IMG_10", "2024-05-01T10:00:00", 300),
    ("img_9", "2024-05-01T10:00:00.5", 100),
    ("Été", None, 200),
    ("eta", "2023-01-01T00:00:00", None),
    ("zoo", "", 300),
    ("IMG_2", "2025-01-01T00:00:00", 50),
    ("words", None, None),
]


@pytest.fixture(scope="module")
def dated(tmp_path_factory):
    encoder = FakeEncoder()
    with Index.create(tmp_path_factory.mktemp("dated") / "index", encoder) as index:
        with index.writer() as writer:
            for name, date, size in FACTS:
                put(
                    writer,
                    encoder,
                    name,
                    caption=f"{name} caption",
                    image=name != "words",
                    taken_at=date,
                    size_bytes=size,
                    camera=None if name == "zoo" else "iPhone 12",
                )
        index.refresh_baseline(encoder)
        yield index


def ids(hits) -> list[int]:
    return [hit.item.id for hit in hits]


ORDERS = {
    (None, False): [6, 2, 1, 4, 3, 5, 7],
    ("date", False): [6, 2, 1, 4, 3, 5, 7],
    ("date", True): [4, 1, 2, 6, 3, 5, 7],
    ("size", False): [1, 5, 3, 2, 6, 4, 7],
    ("size", True): [6, 2, 3, 1, 5, 4, 7],
    ("name", False): [4, 3, 6, 2, 1, 7, 5],
    ("name", True): [5, 7, 1, 2, 6, 3, 4],
}


@pytest.mark.parametrize(("sort", "reverse"), ORDERS)
def test_a_filter_alone_lists_in_order(dated, sort, reverse):
    expected = ORDERS[sort, reverse]
    hits = dated.search(where="id > 0", sort=sort, reverse=reverse)
    assert ids(hits) == expected
    assert all(math.isnan(hit.score) and hit.percentile is None for hit in hits)
    assert not hits.weak
    pages = [
        dated.search(where="id > 0", k=2, offset=n, sort=sort, reverse=reverse)
        for n in range(0, 8, 2)
    ]
    assert [row for page in pages for row in ids(page)] == expected
    some = dated.search(where="camera like '%iphone%'", sort=sort, reverse=reverse)
    assert ids(some) == [row for row in expected if row != 5]


def test_hits_are_cut_off_first_and_then_sorted(dated):
    query = Query.text("anything")
    ranked = ids(dated.search(query, k=6))
    for offset in (0, 2, 4):
        page = ranked[offset : offset + 2]
        for (sort, reverse), order in ORDERS.items():
            if sort is not None:
                found = ids(dated.search(query, 2, offset=offset, sort=sort, reverse=reverse))
                assert sorted(found) == sorted(page)
                assert found in (sorted(page, key=order.index), page)
    assert ids(dated.search(query, 6, sort="score", reverse=True)) == ranked[::-1]
    assert ids(dated.search(query, 3, sort="date")) == sorted(
        ranked[:3], key=ORDERS["date", False].index
    )


def test_all_hits_that_score_enough_are_sorted_as_a_whole(dated):
    query = Query.text("anything")
    ranked = ids(dated.search(query, k=6))
    least = dated.search(query, k=6).hits[3].score - 1e-6
    for (sort, reverse), order in ORDERS.items():
        if sort is None:
            continue
        pages = [
            dated.search(query, 2, min_score=least, offset=n, sort=sort, reverse=reverse)
            for n in (0, 2, 4)
        ]
        assert [row for page in pages for row in ids(page)] == sorted(ranked[:4], key=order.index)


def test_names_are_ordered_as_people_do():
    names = ["b10", "B2", "a", "Ä1", "10", "9", "é", "f"]
    assert sorted(names, key=name_key) == ["9", "10", "a", "Ä1", "B2", "b10", "é", "f"]
    assert name_key("/x/a.jpg") == name_key("C:\\y\\A.JPG")


@pytest.mark.parametrize("count", [1, 3])
def test_shards_list_and_sort_as_the_whole(dated, count):
    encoder = FakeEncoder()
    with Index.open(dated.path, encoder) as index:
        shards = shard_index(index.path, count)
        for sort, reverse in ORDERS:
            options = {"sort": sort, "reverse": reverse, "k": 2, "offset": 1}
            listed = ask(shards, None, encoder, where="id > 1", **options)
            assert ids(listed) == ids(index.search(where="id > 1", **options))
            found = ask(shards, Query.text("x"), encoder, **options)
            expected = index.search("x", **options)
            assert ids(found) == ids(expected)
            assert found.weak == expected.weak


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"where": "  "},
        {"where": "id > 0", "sort": "score"},
        {"where": "id > 0", "min_score": 0.2},
        {"where": "id > 0", "hybrid": True},
        {"query": Query.text("a"), "sort": "color"},
        {"query": Query.text("a"), "reverse": 1},
    ],
)
def test_requests_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InvalidInputError):
        SearchRequest(**wrong)


def test_http_lists_and_sorts():
    body = SearchBody(where="width > 3", sort="size", reverse=True, k=5).request()
    assert body == SearchRequest(where="width > 3", sort="size", reverse=True, k=5)
    assert SearchBody(where="width > 3").request().query is None
    assert SearchBody(text="a", sort="date").request().sort == "date"
    for nothing in ({"k": 5}, {"where": " "}):
        with pytest.raises(InvalidInputError):
            SearchBody(**nothing).request()
    with pytest.raises(ValueError, match="sort"):
        SearchBody(where="width > 3", sort="color")


def test_a_client_reads_a_list_as_it_was_written(dated):
    hits = dated.search(where="id > 0")
    document = hits_document(hits, public_hit)
    json.dumps(document, allow_nan=False)
    HitsDocument.model_validate(document)
    assert document["hits"][0]["score"] is None
    again = hits_of_public(document)
    assert ids(again) == ids(hits)
    assert all(math.isnan(hit.score) for hit in again)


def test_the_command_lists(search, library):
    done = search("--where", "width > 0", "-k", 3)
    assert done.stdout.split()[:5] == ["date", "size", "id", "image", "caption"]
    found = json.loads(search("--where", "width > 0", "--sort", "name", "-f", "json").stdout)
    assert found["query"] == []
    assert [hit["score"] for hit in found["hits"]] == [None] * 10
    names = [hit["path"] for hit in found["hits"]]
    assert names == sorted(names, key=name_key)
    paths = ["--sort", "name", "-f", "paths", "-k", 2]
    pages = [search(*paths, "--offset", n).stdout.splitlines() for n in (0, 2, 4)]
    assert [name for page in pages for name in page] == names[:6]
    assert search("--where", "width > 10000000").stderr == "no hits\n"
    for wrong in (["--where", "width > 0", "--hybrid"], ["--sort", "score"], ["-s", "people"]):
        assert len(search(*wrong, expect=1).stderr.splitlines()) == 1
    search("cat", "--sort", "color", expect=2)


# --- nothing fits -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["asdkjh qwe", "a train", "zzzz xqzv blorptag"])
def test_a_query_that_nothing_fits_is_marked(library, encoder, words):
    with Index.open(library / "index", encoder) as index:
        hits = index.search(words)
    assert hits.weak
    assert hits_document(hits, public_hit)["weak"] is True
    assert hits_of_public(hits_document(hits, public_hit)).weak


def test_the_command_says_that_nothing_fits(search):
    said = "nothing fits well: the best hits score no better than unrelated images do\n"
    assert search("asdkjh qwe").stderr == said
    assert search("asdkjh qwe", "-f", "paths").stderr == said
    assert search("a cat").stderr == ""


@pytest.mark.parametrize(
    "words", ["a cat", "a cup of coffee", "an astronaut", "a rocket", "brick wall"]
)
def test_a_query_that_something_fits_is_not_marked(library, encoder, words):
    with Index.open(library / "index", encoder) as index:
        assert index.search(words).weak is False


def test_images_are_marked_where_nothing_is_like_them(library, encoder, photos):
    import numpy as np

    with Index.open(library / "index", encoder) as index:
        noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
        own = [index.search(photo, 3).weak for photo in photos]
        assert index.search(Query.image(noise), where="name like 'c%'").weak
        assert not any(own)
        assert not index.search(Query.item(1)).weak
        assert not index.search(Query.text("asdkjh qwe") - Query.text("a cat")).weak
        assert not index.search("asdkjh qwe", where="width < 0").weak


def test_a_page_of_results_is_marked_as_the_first_one(library, encoder):
    with Index.open(library / "index", encoder) as index:
        assert index.search("a cat", 5, offset=10).weak is False
        assert index.search("asdkjh qwe", 5, offset=10).weak is True
