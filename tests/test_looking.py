"""What the front end shows, computed by the library: heat maps, thumbnails, maps, outliers."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clipsearch import Index, Query
from clipsearch.classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS
from clipsearch.engine.segments import Segment
from clipsearch.errors import ImageDecodeError, InvalidInputError
from clipsearch.explore.explain import explain, overlay
from clipsearch.explore.feedback import LIKED_WEIGHT, UNLIKED_WEIGHT, refine
from clipsearch.explore.map_groups import map_groups
from clipsearch.explore.map_points import by_score, packed
from clipsearch.explore.nearest import name_groups, nearest_words
from clipsearch.explore.outliers import outliers
from clipsearch.explore.projection import make_map
from clipsearch.explore.score_histogram import spread
from clipsearch.explore.thumbnails import THUMBNAIL_SIDE, thumbnail
from clipsearch.types import Facets

from .fakes import FakeEncoder, fill, record


@pytest.fixture(scope="module")
def album(encoder, photos, tmp_path_factory):
    index = Index.create(tmp_path_factory.mktemp("album") / "album", encoder)
    index.add(photos)
    yield index
    index.close()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))


def named(photos, name):
    return next(photo for photo in photos if photo.name == name)


def side_by_side(photos, *names):
    whole = Image.new("RGB", (512, 512))
    for place, name in enumerate(names):
        half = Image.open(named(photos, name)).convert("RGB").resize((256, 512))
        whole.paste(half, (256 * place, 0))
    return whole


def share_on_the_left(found):
    half = found.heat.shape[1] // 2
    return float(found.heat[:, :half].sum() / found.heat.sum())


@pytest.mark.parametrize("names", [("chelsea.png", "coffee.png"), ("coffee.png", "chelsea.png")])
@pytest.mark.parametrize("method", ["layers", pytest.param("covering", marks=pytest.mark.slow)])
def test_the_heat_lies_on_the_half_that_shows_the_text(encoder, photos, names, method, monkeypatch):
    if method == "covering":
        monkeypatch.setattr("clipsearch.explore.saliency.region_scores", lambda *_given: None)
    picture = side_by_side(photos, *names)
    texts = {"chelsea.png": "a cat", "coffee.png": "a cup of coffee"}
    left = explain(encoder, picture, texts[names[0]])
    right = explain(encoder, picture, texts[names[1]])
    assert left.method == right.method == method
    assert share_on_the_left(left) > 0.65
    assert share_on_the_left(right) < 0.35
    assert left.heat.dtype == np.float32
    assert 0 <= left.heat.min() <= left.heat.max() <= 1
    assert overlay(left).size == (512, 512)


def test_heat_is_as_strong_as_the_score_and_says_what_is_not_there(encoder, photos):
    picture = named(photos, "chelsea.png")
    cat, dog, ship = (explain(encoder, picture, text) for text in ("a cat", "a dog", "a submarine"))
    assert [found.found for found in (cat, dog, ship)] == [True, False, False]
    assert cat.heat.max() > 0.9
    assert dog.heat.max() < 0.5 * cat.heat.max()
    assert ship.heat.max() < 0.1
    assert cat.score > dog.score > ship.score


def test_pictures_explained_at_once_do_not_get_each_others_heat(encoder, photos):
    asked = [(named(photos, name), text) for name in ("chelsea.png", "coffee.png") for text in "ab"]
    alone = [explain(encoder, *pair).heat for pair in asked]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda pair: explain(encoder, *pair).heat, asked * 2))
    for number, heat in enumerate(together):
        np.testing.assert_allclose(heat, alone[number % len(asked)], atol=1e-4)


def test_patches_of_a_vision_transformer_are_projected_into_the_joint_space():
    """Against a hand-made tower in which only the right half's patches point at the text."""
    import torch
    from open_clip.transformer import VisionTransformer

    from clipsearch.explore.saliency import region_scores
    from clipsearch.images import Preprocessing

    torch.manual_seed(0)
    tower = VisionTransformer(
        image_size=64, patch_size=16, width=64, layers=2, heads=4, mlp_ratio=2, output_dim=32
    ).eval()

    class Fake:
        preprocessing = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3)
        precision = "fp32"
        _model = type("Model", (), {"visual": tower})

    dark_and_light = np.zeros((64, 64, 3), np.uint8)
    dark_and_light[:, 32:] = 255
    only_light = np.full((64, 64, 3), 255, np.uint8)
    with torch.inference_mode():
        flat = region_scores(Fake(), only_light, np.eye(32, dtype=np.float32)[0])
    assert flat.shape == (4, 4)
    # The direction in which light patches differ from dark ones, measured with the same tower.
    directions = np.eye(32, dtype=np.float32)
    light = np.array([region_scores(Fake(), only_light, d).mean() for d in directions])
    dark = np.array(
        [region_scores(Fake(), np.zeros_like(only_light), d).mean() for d in directions]
    )
    scores = region_scores(Fake(), dark_and_light, (light - dark).astype(np.float32))
    assert scores[:, 2:].mean() > scores[:, :2].mean()


def test_an_empty_text_explains_nothing(encoder, photos):
    with pytest.raises(InvalidInputError, match="empty"):
        explain(encoder, photos[0], " ")


def test_a_thumbnail_is_small_upright_without_exif_and_kept(album, tmp_path):
    item = album.search("a cat", 1)[0].item
    data = thumbnail(item)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    assert max(image.size) == THUMBNAIL_SIDE
    assert not image.getexif()
    assert len(list((tmp_path / "cache" / "thumbnails").rglob("*.jpg"))) == 1
    assert thumbnail(item) == data
    with pytest.raises(InvalidInputError):
        thumbnail(item, 100)


def test_a_file_replaced_by_a_link_or_a_pipe_is_not_shown(encoder, photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shown = folder / "cat.png"
    shown.write_bytes(named(photos, "chelsea.png").read_bytes())
    with Index.create(tmp_path / "index", encoder) as index:
        index.add(folder)
        item = index.items()[0]
        shown.unlink()
        os.symlink(named(photos, "astronaut.png"), shown)
        with pytest.raises(ImageDecodeError, match="changed"):
            thumbnail(item)
        shown.unlink()
        os.mkfifo(shown)  # which nobody writes to: reading it would wait for ever
        with pytest.raises(ImageDecodeError, match="changed"):
            thumbnail(item)
        shown.unlink()
        with pytest.raises(ImageDecodeError, match="gone"):
            thumbnail(item)


def test_marks_follow_rocchio(album):
    liked, unliked = [1, 2], [3]
    query = Query.text("a cat") + Query.text("lying", 0.5)
    moved = refine(query, liked, unliked).resolve(album.encoder, album)
    asked = album.encoder.encode_texts(["a cat", "lying"])
    wanted = (asked[0] + 0.5 * asked[1]) / np.sqrt(1.25)
    wanted = wanted + LIKED_WEIGHT * album.vectors(liked).mean(axis=0)
    wanted = wanted - UNLIKED_WEIGHT * album.vectors(unliked).mean(axis=0)
    np.testing.assert_allclose(moved, wanted / np.linalg.norm(wanted), atol=1e-5)
    with pytest.raises(InvalidInputError, match="fitting"):
        refine(query, [1], [1])
    with pytest.raises(InvalidInputError, match="too many"):
        refine(query, list(range(70)))
    with pytest.raises(InvalidInputError, match="nothing to look for"):
        refine(None, [], [1])


def test_liking_a_result_lifts_what_is_like_it(album):
    before = [hit.item.id for hit in album.search("an animal", 27)]
    lion = album.search("a lion", 1)[0].item.id
    after = [h.item.id for h in album.search(refine(Query.text("an animal"), [lion]), 27)]
    assert after.index(lion) <= before.index(lion)
    assert after[0] == lion


def test_a_sample_is_the_whole_where_it_fits_and_always_the_same(album):
    rows, vectors = album.sample(1000)
    assert len(rows) == len(album)
    np.testing.assert_array_equal(vectors, album.vectors(rows.tolist(), "image"))
    few, _ = album.sample(5)
    again, _ = album.sample(5)
    assert len(few) == 5
    assert set(few.tolist()) <= set(rows.tolist())
    np.testing.assert_array_equal(few, again)
    with pytest.raises(InvalidInputError, match="at least 1"):
        album.sample(0)


def test_a_sample_reads_only_what_it_returns(tmp_path, monkeypatch):
    encoder = FakeEncoder()
    with Index.create(tmp_path / "index", encoder) as index:
        fill(index, encoder, 2000, commits=3)
        index.remove([1, 700, 2000])
        read = []
        take = Segment.take
        monkeypatch.setattr(
            Segment, "take", lambda self, at: read.append(at.size) or take(self, at)
        )
        monkeypatch.setattr(Segment, "blocks", lambda *_given, **_options: pytest.fail("a scan"))
        rows, vectors = index.sample(100)
        assert 90 <= len(rows) == sum(read) <= 100
        assert not {1, 700, 2000} & set(rows.tolist())
        assert (np.diff(rows) > 0).all()
        np.testing.assert_array_equal(vectors, index.vectors(rows.tolist()))


def test_the_spread_counts_every_vector_once(album):
    _, vectors = album.sample(1000)
    query = album.encoder.encode_texts(["a cat"])[0]
    found = spread(vectors, query)
    assert sum(found.counts) == found.sampled == len(album)
    scores = vectors @ query
    assert found.low < scores.min() < scores.max() < found.high
    assert spread(vectors[:0], query).sampled == 0


def test_a_map_has_a_place_for_every_picture_and_is_kept(album, tmp_path):
    made = make_map(album)
    assert len(made.rows) == len(album)
    assert made.places.shape == (len(album), 2)
    assert 0 <= made.places.min() <= made.places.max() <= 1
    sizes = np.bincount(made.clusters)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert len(list((tmp_path / "cache" / "maps").glob("*.npz"))) == 1
    np.testing.assert_array_equal(make_map(album).places, made.places)
    for damaged in (tmp_path / "cache" / "maps").glob("*.npz"):
        damaged.write_bytes(b"PK damaged")
    np.testing.assert_array_equal(make_map(album).places, made.places)


def test_umap_lays_out_a_sample_and_all_others_between_its_nearest(album, monkeypatch):
    pytest.importorskip("umap", reason="pip install 'clipsearch[map]'")
    monkeypatch.setattr("clipsearch.explore.projection._SAMPLE", 20)
    made = make_map(album, method="umap")
    assert made.places.shape == (len(album), 2)
    assert np.isfinite(made.places).all()
    assert len(np.unique(made.places, axis=0)) == len(album)
    np.testing.assert_array_equal(make_map(album, method="umap").places, made.places)


def test_umap_that_is_not_installed_is_asked_for_by_name(album, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert len(make_map(album).rows) == len(album)
    with pytest.raises(InvalidInputError, match=r"clipsearch\[map\]"):
        make_map(album, method="umap")


def test_pictures_of_one_kind_lie_in_one_cluster(album):
    made = make_map(album)
    rows = made.rows.tolist()
    cluster = {
        name: made.clusters[rows.index(album.search(text, 1)[0].item.id)]
        for name, text in {"cheetah": "a cheetah", "lion": "a lion", "china": "a pagoda"}.items()
    }
    assert cluster["china"] != cluster["lion"]


def test_groups_and_pictures_are_named_by_everyday_words(album):
    kinds = ("cat", "rocket", "coffee")
    rows = [album.search(f"a photo of {kind}", 1)[0].item.id for kind in kinds]
    vectors = album.vectors(rows, "image")
    for kind, vector in zip(kinds, vectors, strict=True):
        assert nearest_words(album.encoder, vector)[0][0] == kind
    assert name_groups(album.encoder, vectors[[0, 2]], words=1) == [("cat",), ("coffee",)]


def test_a_group_of_one_rocket_is_named_rocket(album):
    rows = [album.search(text, 1)[0].item.id for text in ("a cat", "a rocket")]
    names = name_groups(album.encoder, album.vectors(rows, "image"), words=1)
    assert names[0] == ("cat",)
    assert names[1] == ("rocket",)


def test_groups_of_a_map_have_names_of_their_own_that_fit(album):
    made = make_map(album)
    groups = map_groups(album, made)
    assert len({group.name for group in groups}) == len(groups) == len(made.centres)
    assert sum(group.size for group in groups) == len(album)
    baseline = album.score_baseline("text")
    texts = [CONTRAST_TEMPLATE.format(word) for word in CONTRAST_WORDS]
    vectors = album.encoder.encode_texts(texts)
    for group in groups:
        members = made.rows[made.clusters == group.number - 1]
        means = (album.vectors(members.tolist(), "image") @ vectors.T).mean(axis=0)
        for word in group.name.split(", ") if group.named_by == "words" else []:
            mean = means[CONTRAST_WORDS.index(word)]
            assert baseline.percentile(float(mean)) > 90, f"{word} does not fit {group}"
            assert (means > mean).sum() < 2, f"other words fit {group} better than {word}"
            assert mean > np.median(means) + 3 * (np.quantile(means, 0.84) - np.median(means))
    assert any(group.named_by == "words" for group in groups)


def test_a_group_that_no_word_fits_is_named_by_a_central_caption_or_a_number(tmp_path):
    encoder = FakeEncoder(dim=64)
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(encoder.dim, encoder.dim)))[0][:3]
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            for place in range(30):
                vector = centres[place % 3] + rng.normal(scale=0.01, size=encoder.dim)
                caption = "the same  words" if place % 3 < 2 else None
                writer.put(
                    replace(record(f"{place}.png"), caption=caption),
                    image=(vector / np.linalg.norm(vector)).astype(np.float32),
                )
        found = map_groups(index, make_map(index))
    assert [group.named_by for group in found].count("caption") == 1
    for group in found:  # several have the same captions, of which one is named by it
        is_caption = group.named_by == "caption"
        assert group.name == ("the same words" if is_caption else f"group {group.number}")


def test_the_scale_of_scores_begins_and_ends_with_chance(album):
    made = make_map(album)
    codes, scale = by_score(album, made, "a cat")
    best = album.search("a cat", 1)[0]
    assert made.rows[codes.argmax()] == best.item.id
    assert scale.best == pytest.approx(best.score, abs=1e-5)
    assert scale.low < scale.chance < scale.high
    assert int((codes >= scale.chance_code).sum()) == len(album.search("a cat", min_score="auto"))
    none, scale = by_score(album, made, "a submarine")
    assert scale.best < scale.chance
    assert none.max() < scale.chance_code


def test_points_of_a_map_are_packed_as_ids_and_places(album):
    made = make_map(album)
    data = packed(made)
    np.testing.assert_array_equal(np.frombuffer(data, "<f8", len(album)), made.rows)
    places = np.frombuffer(data, "<f4", offset=8 * len(album)).reshape(-1, 2)
    np.testing.assert_array_equal(places, made.places)


def test_an_outlier_is_least_like_its_neighbours():
    rng = np.random.default_rng(0)
    crowd = rng.normal(size=(30, 16)) * 0.1 + np.eye(16)[0]
    vectors = np.vstack([crowd, -np.eye(16)[0]]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(100, 131)
    found = outliers(rows, vectors, 3)
    assert found[0][0] == 130
    nearest = np.sort(vectors[:30] @ vectors[30])[-5:].mean()
    assert found[0][1] == pytest.approx(nearest, abs=1e-5)
    assert outliers(rows[:1], vectors[:1]) == []


def test_facets_are_what_the_items_have(album):
    found = album.facets()
    assert found.has_sizes
    assert found.captions == 1  # that of the cheetah, which is within its file
    assert found.tags == ()


def test_facets_are_of_all_items_however_many(tmp_path):
    """Most frequent first; the newest items count as well, the removed ones do not."""
    encoder = FakeEncoder()
    vector = encoder.vector("any")
    with Index.create(tmp_path / "index", encoder) as index:
        with index.writer() as writer:
            for number in range(20_500):
                name, camera = f"{number:05}", "Old One" if number < 20_100 else "New One"
                facts = {"camera": camera, "taken_at": f"{2000 + number // 1000}-05-01T10:00:00"}
                writer.put(record(name, **facts), image=vector)
            last = writer.put(record("last", camera="Gone", taken_at="2031-01-01"), image=vector)
            writer.put(record("none", camera="", width=40), image=vector, caption=vector)
            writer.commit()
            writer.set_tags([1, 2, 20_400], ["dog", "cat", "cat"], name="one")
            writer.set_tags([1], ["dog"], name="other")
            writer.remove([last])
        assert index.tags([1, 2, 3, 99_999]) == {1: ("dog",), 2: ("cat",)}
        found = index.facets()
    assert found == Facets(
        cameras=("Old One", "New One"),
        tags=("cat", "dog"),
        first_taken="2000-05-01",
        last_taken="2020-05-01",
        has_sizes=True,
        captions=1,
    )
