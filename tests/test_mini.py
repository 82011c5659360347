"""The bundled model, asked as a user would, on photos that installed packages carry."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from clipsearch import Index
from clipsearch.models import BUNDLED_MODEL
from tests.conftest import ROOT

FOLDER = ROOT / "clipsearch" / "models" / BUNDLED_MODEL


@pytest.fixture(scope="module")
def demo_index(encoder, photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("mini") / "index"
    with Index.create(path, encoder) as index:
        index.add([str(photo) for photo in photos])
        yield index


@pytest.mark.parametrize(
    ("text", "photo"),
    [
        ("a cat", "chelsea"),
        ("un gato", "chelsea"),
        ("a cup of coffee", "coffee"),
        ("una taza de café", "coffee"),
        ("a rocket launch", "rocket"),
        ("a flower", "flower"),
        ("una flor", "flower"),
        ("a motorcycle", "motorcycle"),
    ],
)
def test_words_find_the_photo(demo_index, text, photo):
    found = [hit.item.path for hit in demo_index.search(text, k=3)]
    assert any(photo in path.rsplit("/", 1)[-1] for path in found), found


@pytest.mark.parametrize("text", ["xqzvwj plorf", "wugzibble trunqax", "zzkrv"])
def test_a_nonsense_word_finds_nothing(demo_index, text):
    assert not demo_index.search(text, k=5, min_score="auto")


@pytest.mark.parametrize(
    ("text", "same"),
    [("a red bus", "A RED BUS"), ("a red bus", " a red bus. "), ("two dogs", "Two dogs .  ")],
)
def test_capitals_spaces_and_full_stops_change_nothing(encoder, text, same):
    a, b = encoder.encode_texts([text, same])
    assert a @ b == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["café", "pájaro", "avión", "montaña", "camión"])
def test_accents_may_be_left_out(encoder, text):
    plain = text.translate(str.maketrans("áéíóúñ", "aeioun"))
    a, b, other = encoder.encode_texts([text, plain, "a photo of a wall"])
    assert a @ b > 0.7 > a @ other


@pytest.mark.slow
def test_plain_open_clip_loads_the_folder_once_the_tower_is_known():
    code = (
        "import clipsearch.encoders.minitower, open_clip, torch\n"
        f"name = {f'local-dir:{FOLDER}'!r}\n"
        "model, _, preprocess = open_clip.create_model_and_transforms(name)\n"
        "tokens = open_clip.get_tokenizer(name)(['a cat'])\n"
        "with torch.no_grad(): v = model.eval().encode_text(tokens, normalize=True)\n"
        "print(*v[0].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    from clipsearch import load_encoder

    ours = load_encoder(BUNDLED_MODEL, device="cpu").encode_texts(["a cat"])[0]
    assert ours @ np.array(done.stdout.split(), np.float32) > 0.99999


def test_it_is_small_enough_to_ship():
    size = sum(file.stat().st_size for file in FOLDER.iterdir())
    assert size <= 50_000_000
