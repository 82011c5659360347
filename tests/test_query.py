"""The query algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipsearch.errors import InvalidInputError, ItemNotFoundError
from clipsearch.query import MAX_TERMS, Query, encode_together
from clipsearch.request import MAX_K, SearchRequest
from tests.fakes import FakeEncoder

ENCODER = FakeEncoder()
weights = st.floats(-4, 4).filter(lambda w: abs(w) > 0.01)


class Stored:
    """Stands for an index that holds one item."""

    dim = ENCODER.dim

    def vectors(self, ids, modality=None):
        if ids != [7]:
            raise ItemNotFoundError("no such item")
        return np.stack([ENCODER.vector("stored")])


def test_a_text_resolves_to_its_vector():
    assert np.allclose(Query.text("sea").resolve(ENCODER), ENCODER.vector("text sea"), atol=1e-6)


def test_terms_are_summed_with_weights_and_normalised():
    query = Query.text("beach") + 0.5 * Query.image("dog.jpg") - Query.text("people") * 2
    total = (
        ENCODER.vector("text beach")
        + 0.5 * ENCODER.vector("image dog.jpg")
        - 2 * ENCODER.vector("text people")
    )
    assert np.allclose(query.resolve(ENCODER), total / np.linalg.norm(total), atol=1e-5)


def test_queries_are_encoded_together_and_need_no_encoder_then():
    queries = [Query.text("sea") - Query.image("dog.jpg"), Query.item(7), Query.text("a") * 2]
    before = ENCODER.encoded
    encoded = encode_together(queries, lambda: ENCODER)
    assert ENCODER.encoded == before + 3
    assert encoded == queries
    for query, ready in zip(queries, encoded, strict=True):
        ready = 0.5 * ready
        assert np.allclose(ready.resolve(None, Stored()), query.resolve(ENCODER, Stored()))
    assert encode_together([Query.item(7)], None) == [Query.item(7)]
    with pytest.raises(InvalidInputError, match="needs an encoder"):
        encode_together(queries, None)


def test_vectors_count_by_direction_not_by_length():
    long = Query.vector(100 * ENCODER.vector("a")) + Query.text("sea")
    short = Query.vector(ENCODER.vector("a")) + Query.text("sea")
    assert np.allclose(long.resolve(ENCODER), short.resolve(ENCODER), atol=1e-5)


def test_items_come_from_the_index():
    query = Query.item(7) - 0.1 * Query.text("sea")
    assert query.resolve(ENCODER, Stored()).shape == (ENCODER.dim,)
    with pytest.raises(ItemNotFoundError):
        Query.item(8).resolve(ENCODER, Stored())
    with pytest.raises(InvalidInputError, match="needs the index"):
        Query.item(7).resolve(ENCODER)


@given(st.lists(st.tuples(st.text(min_size=1), weights), min_size=1, max_size=6), weights)
def test_order_and_common_factors_change_nothing(parts, factor):
    def build(items):
        query = None
        for text, weight in items:
            if not text.strip():
                continue
            term = Query.text(text, weight)
            query = term if query is None else query + term
        return query

    query, backwards = build(parts), build(parts[::-1])
    if query is None:
        return
    try:
        vector = query.resolve(ENCODER)
    except InvalidInputError:
        return  # they cancelled out
    assert np.isclose(np.linalg.norm(vector), 1.0, atol=1e-4)
    assert np.allclose(vector, backwards.resolve(ENCODER), atol=1e-3)
    scaled = (query * abs(factor)).resolve(ENCODER)
    assert np.allclose(vector, scaled, atol=1e-4)
    assert Query.from_dict(query.to_dict()) == query


def test_the_encoder_is_loaded_only_when_something_is_to_be_encoded():
    calls = []

    def load():
        calls.append(1)
        return ENCODER

    Query.vector(ENCODER.vector("a")).resolve(load)
    assert not calls
    (Query.text("a") + Query.image("b")).resolve(load)
    assert calls


def test_texts_are_encoded_in_one_call():
    class Counting(FakeEncoder):
        calls = 0

        def encode_texts(self, texts):
            self.calls += 1
            return super().encode_texts(texts)

    encoder = Counting()
    (Query.text("a") + Query.text("b") - Query.text("c")).resolve(encoder)
    assert encoder.calls == 1


def test_the_kind_says_whose_scores_compare():
    text, image, vector = Query.text("a"), Query.image("b"), Query.vector([1.0] * 16)
    assert text.kind == "text"
    assert image.kind == (image + Query.item(3)).kind == (image - text).kind == "image"
    assert (image + text).kind == "text"
    assert vector.kind == (vector + image).kind == "vector"
    assert (text - Query.text("b")).texts == ("a",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Query.text(""), "empty"),
        (lambda: Query.text(" \n"), "empty"),
        (lambda: Query.text(5), "got int"),
        (lambda: Query.text("a", "2"), "weight is a number"),
        (lambda: Query.text("a", float("nan")), "finite"),
        (lambda: Query.text("a") * float("inf"), "finite"),
        (lambda: Query.vector([0.0, 0.0]), "zero vector"),
        (lambda: Query.vector([np.nan, 1.0]), "NaN"),
        (lambda: Query.item("3"), "whole number"),
        (lambda: Query.item(True), "whole number"),
        (lambda: Query(()), "at least one"),
        (lambda: Query(Query.text("a").terms * (MAX_TERMS + 1)), "64 terms at most"),
        (lambda: (Query.text("a") - Query.text("a")).resolve(ENCODER), "cancel"),
        (lambda: Query.text("a", 0.0).resolve(ENCODER), "cancel"),
        (lambda: Query.text("a").resolve(None), "needs an encoder"),
        (lambda: (Query.text("a") + Query.vector([1.0, 2.0])).resolve(ENCODER), "lengths"),
        (lambda: Query.vector([1.0, 2.0]).resolve(None, Stored()), "lengths"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_json_form():
    query = Query.text("sea", 2) - Query.item(7) + Query.vector([3.0, 4.0])
    data = query.to_dict()
    assert data["terms"][0] == {"text": "sea", "weight": 2.0}
    assert data["terms"][1] == {"item": 7, "weight": -1.0}
    assert Query.from_dict(data) == query
    with pytest.raises(InvalidInputError, match="image cannot be written"):
        Query.image("a.jpg").to_dict()


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ([], "list of `terms`"),
        ({"terms": "abc"}, "list of `terms`"),
        ({"terms": []}, "at least one"),
        ({"terms": [{"text": "a"}, {"image": "/etc/passwd"}]}, r"terms\[1\]"),
        ({"terms": [{"text": "a", "item": 1}]}, r"terms\[0\]"),
        ({"terms": [{"text": ""}]}, r"terms\[0\]\.text: .*empty"),
        ({"terms": [{"vector": ["x"]}]}, r"terms\[0\]\.vector"),
        ({"terms": [{"text": "a", "weight": None}]}, r"terms\[0\]\.text: a weight"),
        ({"terms": [5]}, r"terms\[0\]"),
    ],
)
def test_json_from_outside_is_checked(data, where):
    with pytest.raises(InvalidInputError, match=where):
        Query.from_dict(data)


def test_a_query_is_made_of_whatever_says_what_to_look_for(tmp_path):
    query = Query.text("sea") - Query.item(7)
    image = Image.new("RGB", (2, 2))
    vector = ENCODER.vector("a")
    assert Query.of(query) is query
    assert Query.of("sea") == Query.text("sea")
    assert Query.of(query.to_dict()) == query
    assert Query.of(vector) == Query.vector(vector)
    for part in (image, tmp_path / "dog.jpg", b"bytes of a file"):
        assert Query.of(part) == Query.image(part)
    for wrong in (7, None, ["sea"]):
        with pytest.raises(InvalidInputError, match="a query is a text"):
            Query.of(wrong)


def test_parts_to_add_and_to_subtract_are_one_query():
    query = Query.combine([None, "beach", Query.item(7, 0.5)], ["people", b"a file"])
    assert query == (
        Query.text("beach") + Query.item(7, 0.5) - Query.text("people") - Query.image(b"a file")
    )
    with pytest.raises(InvalidInputError, match="nothing to look for"):
        Query.combine([None])


def test_a_request_holds_what_search_accepts():
    query = Query.text("sea")
    request = SearchRequest(query=query, k=np.int64(3), offset=2)
    assert request.parameters == {
        "k": 3,
        "where": None,
        "target": "image",
        "min_score": None,
        "hybrid": False,
        "exact": False,
        "offset": 2,
        "sort": None,
        "reverse": False,
    }
    assert type(request.k) is int
    for wrong in (
        {"k": 0},
        {"k": True},
        {"offset": -1},
        {"k": MAX_K, "offset": 1},
        {"where": 3},
        {"target": "video"},
        {"min_score": "most"},
        {"min_score": float("nan")},
    ):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            SearchRequest(query=query, **wrong)
