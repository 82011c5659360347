"""Zero-shot classification against a ten-line reference, packs, calibration and few examples."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from clipsearch import ZeroShotClassifier, cache
from clipsearch.classification.calibration import _fit_platt as fit_platt
from clipsearch.classification.calibration import cross_validated
from clipsearch.classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS, contrast_rows
from clipsearch.classification.heads import NONE_LABEL, ClassHead
from clipsearch.classification.labelpack import load_pack
from clipsearch.classification.labels import label_groups, parse_labels, read_labels
from clipsearch.classification.prompts import fill, resolve_templates
from clipsearch.errors import EncoderMismatchError, InvalidInputError

LABELS = ["cat", "rocket: spaceship, launch", "flower", "cup of coffee"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))


class FakeEncoder:
    """Deterministic unit vectors, to test arithmetic with."""

    name = "fake"
    dim = 8
    fingerprint = "f" * 64
    preprocessing = None
    logit_scale = 20.0
    logit_bias: float | None = None

    def __init__(self):
        self.calls = 0

    def encode_texts(self, texts):
        self.calls += 1
        rows = [np.random.default_rng(abs(hash_of(text))).normal(size=self.dim) for text in texts]
        return unit(np.array(rows, np.float32))

    def encode_images(self, images):
        raise AssertionError("the tests give vectors")

    encode_pixels = encode_images


def hash_of(text):
    return int.from_bytes(text.encode()[:64].ljust(64, b"\0"), "little") % (2**63)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def some_vectors(n=50, seed=0, dim=8):
    return unit(np.random.default_rng(seed).normal(size=(n, dim)))


@pytest.mark.parametrize("templates", ["openai", "simple", "none", ["una foto de {}."]])
def test_class_vectors_are_those_of_the_paper(encoder, templates):
    classifier = ZeroShotClassifier(encoder, LABELS, templates=templates, cache=False)
    for row, names in enumerate(parse_labels(LABELS).values()):
        sentences = [s for name in names for s in fill(resolve_templates(templates), name)]
        mean = encoder.encode_texts(sentences).mean(axis=0)
        np.testing.assert_allclose(classifier.weights[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_probabilities_are_the_softmax_of_scaled_cosines(encoder, photos):
    classifier = ZeroShotClassifier(encoder, LABELS, templates="simple")
    vectors = encoder.encode_images(photos[:4])
    logits = encoder.logit_scale * (vectors.astype(np.float64) @ classifier.weights.T)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.probabilities(vectors), expected, atol=1e-6)


def test_real_photos_get_their_labels(encoder, photos):
    wanted = {"chelsea.png": "cat", "rocket.jpg": "rocket", "flower.jpg": "flower"}
    chosen = [photo for photo in photos if photo.name in wanted]
    predictions = ZeroShotClassifier(encoder, LABELS, templates="simple").classify(chosen, k=2)
    assert [row[0].label for row in predictions] == [wanted[photo.name] for photo in chosen]
    assert all(len(row) == 2 and row[0].probability >= row[1].probability for row in predictions)


def test_sigmoid_models_judge_each_label_for_itself():
    encoder = FakeEncoder()
    encoder.logit_bias = -3.0
    classifier = ZeroShotClassifier(encoder, ["a", "b"], templates="none")
    vectors = some_vectors()
    expected = 1 / (1 + np.exp(-(20.0 * vectors @ classifier.weights.T - 3.0)))
    np.testing.assert_allclose(classifier.probabilities(vectors), expected, atol=1e-5)
    with_none = classifier.probabilities(vectors, none_of_these=True)
    np.testing.assert_allclose(with_none.sum(axis=1), 1)


def test_none_takes_its_share_from_all_labels():
    classifier = ZeroShotClassifier(FakeEncoder(), ["a", "b", "c"], templates="none")
    vectors = some_vectors()
    plain = classifier.probabilities(vectors)
    none = classifier.probabilities(vectors, none_of_these=True)
    assert none.shape == (50, 4)
    np.testing.assert_allclose(none.sum(axis=1), 1)
    np.testing.assert_allclose(none[:, :3], plain * (1 - none[:, 3:]), atol=1e-9)
    answers = classifier.predict_vectors(vectors, k=1, none_of_these=True)
    assert any(row[0].label == NONE_LABEL for row in answers)


def test_none_is_right_on_photos_of_other_things(encoder, photos):
    names = {"chelsea.png": "cat", "rocket.jpg": None, "coffee.png": None, "bus.png": None}
    chosen = [photo for photo in photos if photo.name in names]
    classifier = ZeroShotClassifier(encoder, ["cat", "giraffe"], templates="simple")
    answers = classifier.predict(chosen, k=1, none_of_these=True)
    expected = [names[photo.name] or NONE_LABEL for photo in chosen]
    right = sum(row[0].label == want for row, want in zip(answers, expected, strict=True))
    assert right >= 3


@pytest.mark.slow
def test_none_is_right_on_held_out_classes(encoder, shared_data):
    """Half the classes are labels; photos of the others must get none. Chance is 0.5."""
    vectors, labels = caltech_vectors(encoder, shared_data, per_class=8)
    classes = sorted(set(labels.tolist()))
    balanced = []
    for seed in range(5):
        known = set(np.random.default_rng(seed).permutation(classes)[:10].tolist())
        classifier = ZeroShotClassifier(encoder, sorted(known), templates="simple")
        none = classifier.head.labels and classifier.probabilities(vectors, none_of_these=True)
        says_none = none[:, -1] > 0.5
        out = np.array([label not in known for label in labels])
        balanced.append((says_none[out].mean() + (~says_none[~out]).mean()) / 2)
    assert np.mean(balanced) > 0.7


def test_multi_label_lets_several_or_no_labels_fit():
    classifier = ZeroShotClassifier(FakeEncoder(), ["a", "b"], templates="none")
    middle = unit(classifier.weights.sum(axis=0)[None])
    vectors = np.concatenate([middle, -middle])
    answers = classifier.predict_vectors(vectors, multi_label=True, threshold=0.5)
    assert {p.label for p in answers[0]} == {"a", "b"}
    assert answers[1] == []


def test_abstention_gives_an_empty_answer():
    classifier = ZeroShotClassifier(FakeEncoder(), ["a", "b"], templates="none")
    between = unit(classifier.weights.sum(axis=0)[None])
    assert classifier.predict_vectors(between, threshold=0.9) == [[]]
    assert len(classifier.predict_vectors(between, threshold=0.1)[0]) == 2
    with pytest.raises(InvalidInputError):
        classifier.predict_vectors(between, threshold=1.5)


def test_contrast_leaves_out_synonyms_of_labels():
    rng = np.random.default_rng(0)
    contrast = unit(rng.normal(size=(200, 64)))
    kept = contrast_rows(contrast, contrast[[3, 50]])
    assert len(kept) < 200
    assert not ((kept == contrast[3]).all(axis=1) | (kept == contrast[50]).all(axis=1)).any()
    assert len(set(CONTRAST_WORDS)) == len(CONTRAST_WORDS) > 250


# --- labels -------------------------------------------------------------------------------------


def test_labels_in_every_form(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("# animals\ncat: kitten, tabby\n\ndog\n", encoding="utf-8")
    assert label_groups(read_labels(file)) == {"cat": ["cat", "kitten", "tabby"], "dog": ["dog"]}
    assert label_groups({"pet": ["cat", "dog"]}) == {"pet": ["cat", "dog"]}


@pytest.mark.parametrize("wrong", [[], ["cat", "cat"], [" "], "cat", {"a": []}, [NONE_LABEL]])
def test_bad_labels_are_refused(wrong):
    with pytest.raises(InvalidInputError):
        ZeroShotClassifier(FakeEncoder(), wrong, templates="none")


# --- cache --------------------------------------------------------------------------------------


def test_class_vectors_are_cached_and_a_broken_cache_is_ignored():
    encoder = FakeEncoder()
    first = ZeroShotClassifier(encoder, ["a", "b"], templates="none").weights
    assert encoder.calls == 1
    np.testing.assert_array_equal(
        ZeroShotClassifier(encoder, ["a", "b"], templates="none").weights, first
    )
    assert encoder.calls == 1
    ZeroShotClassifier(encoder, ["b", "a"], templates="none")
    assert encoder.calls == 2
    for file in (cache.cache_folder() / "classes").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    np.testing.assert_array_equal(
        ZeroShotClassifier(encoder, ["a", "b"], templates="none").weights, first
    )
    assert encoder.calls == 3
    encoder.fingerprint = "0" * 64
    ZeroShotClassifier(encoder, ["a", "b"], templates="none")
    assert encoder.calls == 4


def test_an_unusable_cache_folder_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "file"))
    assert ZeroShotClassifier(FakeEncoder(), ["a"], templates="none").labels == ("a",)


# --- packs --------------------------------------------------------------------------------------


def taught(n=60):
    """A classifier with calibration and adapter, with what it was taught."""
    classifier = ZeroShotClassifier(FakeEncoder(), ["a", "b", "c"], templates="none")
    centres = some_vectors(3, seed=9)
    truth = np.arange(n) % 3
    vectors = unit(centres[truth] + 0.3 * np.random.default_rng(1).normal(size=(n, 8)))
    names = [classifier.labels[t] for t in truth]
    return classifier, vectors, names


def test_a_pack_answers_as_the_classifier_that_wrote_it(tmp_path):
    classifier, vectors, names = taught()
    classifier.fit(vectors, names)
    classifier.calibrate(vectors, names, target_accuracy=0.8)
    classifier.save(tmp_path / "own.clip")
    again = ZeroShotClassifier.load(tmp_path / "own.clip", FakeEncoder())
    probes = some_vectors(20, seed=5)
    for options in ({}, {"none_of_these": True}, {"multi_label": True}):
        np.testing.assert_array_equal(
            again.probabilities(probes, **options), classifier.probabilities(probes, **options)
        )
    assert again.threshold == classifier.threshold
    assert ZeroShotClassifier.load((tmp_path / "own.clip").read_bytes(), FakeEncoder()).labels


def test_a_pack_of_another_model_is_refused(tmp_path):
    classifier, *_ = taught()
    classifier.save(tmp_path / "own.clip")
    other = FakeEncoder()
    other.fingerprint = "0" * 64
    told = r"with fake \(.*\), not with the version of it at hand \(0+\); make the pack again"
    with pytest.raises(EncoderMismatchError, match=told):
        ZeroShotClassifier.load(tmp_path / "own.clip", other)
    other.name = "other"
    with pytest.raises(EncoderMismatchError, match=r"not with other \(0+\); use -m fake, or make"):
        ZeroShotClassifier.load(tmp_path / "own.clip", other)


def test_damaged_packs_are_refused(tmp_path):
    classifier, vectors, names = taught()
    classifier.fit(vectors, names)
    classifier.save(tmp_path / "own.clip")
    data = (tmp_path / "own.clip").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    broken = [b"", data[:5], data[: length // 2], data[:-4], b"\xff" * 64, b"PK\x03\x04" + data]
    for change in ('"temperature": 0', '"temperature": "NaN"', '"groups": []', '"blend": 1e999'):
        key = change.split(":")[0].strip('"')
        pack = json.loads(header["__metadata__"]["pack"])
        pack.update(json.loads("{" + change + "}"))
        assert key in pack
        changed = {**header, "__metadata__": {**header["__metadata__"], "pack": json.dumps(pack)}}
        text = json.dumps(changed).encode()
        broken.append(len(text).to_bytes(8, "little") + text + data[8 + length :])
    for bad in broken:
        with pytest.raises(InvalidInputError):
            load_pack(bad)


# --- calibration --------------------------------------------------------------------------------


def overconfident_head():
    return ClassHead(labels=("a", "b"), weights=np.eye(2, 4, dtype=np.float32), logit_scale=60.0)


def test_calibration_finds_the_temperature_that_made_the_labels():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(4000, 4)))
    head = overconfident_head()
    honest = head.probabilities(vectors)
    logits = np.log(np.clip(honest, 1e-300, 1)) / 12  # the truth is twelve times less certain
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (rng.random(4000) > chance[:, 0]).astype(np.int64)
    report = cross_validated(head, vectors, truth, target=0.95)
    assert report.temperature == pytest.approx(12, rel=0.1)
    assert report.after.ece < 0.03 < report.before.ece
    assert report.after.accuracy == report.before.accuracy
    assert report.after.coverage < 1
    assert report.after.answered_accuracy == pytest.approx(0.95, abs=0.02)


def test_sigmoid_calibration_makes_probabilities_honest():
    rng = np.random.default_rng(0)
    head = ClassHead(
        labels=("a", "b"), weights=np.eye(2, 4, dtype=np.float32), logit_scale=10, logit_bias=-15
    )
    truth = rng.integers(0, 2, 3000)
    vectors = unit(head.weights[truth] + 0.8 * rng.normal(size=(3000, 4)))
    report = cross_validated(head, vectors, truth, target=0.9)
    assert report.after.ece < report.before.ece / 2


@pytest.mark.parametrize("scale", [0.5, 10.0, 120.0])
def test_sigmoid_calibration_finds_what_made_the_labels(scale):
    """Newton's method without a line search once ended anywhere, far from the optimum."""
    rng = np.random.default_rng(0)
    logits = scale * rng.normal(size=(3000, 3)) - scale
    truth = rng.integers(0, 3, 3000)
    temperature, shift = fit_platt(logits, truth)
    assert temperature > 5 * scale  # labels that have nothing to do with the logits: nearly flat
    chance = 1 / (1 + np.exp(-(logits + shift) / temperature))
    assert chance.mean() == pytest.approx(1 / 3, abs=0.01)
    sure = np.full((3000, 3), -scale)
    sure[np.arange(3000), truth] = scale
    noise = rng.random(3000) < 0.25
    sure[noise] = -scale
    temperature, shift = fit_platt(sure, truth)
    high, low = (1 / (1 + np.exp(-(x + shift) / temperature)) for x in (scale, -scale))
    wrong = noise.sum() / (9000 - (~noise).sum())
    assert high > 0.99
    assert low == pytest.approx(wrong, rel=0.05)


def test_calibration_refuses_what_it_cannot_use():
    classifier, vectors, names = taught(6)
    with pytest.raises(InvalidInputError, match="at least 10"):
        classifier.calibrate(vectors, names)
    with pytest.raises(InvalidInputError, match="no such label"):
        classifier.calibrate(vectors, ["z"] * 6)


def test_images_that_no_label_fits_move_the_margin():
    classifier, vectors, names = taught()
    sentences = [CONTRAST_TEMPLATE.replace("{}", word) for word in CONTRAST_WORDS[:40]]
    strangers = FakeEncoder().encode_texts(sentences)
    before = classifier.head.none_margin
    classifier.calibrate(np.concatenate([vectors, strangers]), [*names, *[None] * 40])
    assert classifier.head.none_margin != before
    chance = classifier.probabilities(np.concatenate([vectors, strangers]), none_of_these=True)[
        :, -1
    ]
    assert ((chance[:60] <= 0.5).mean() + (chance[60:] > 0.5).mean()) / 2 >= 0.6


# --- few examples -------------------------------------------------------------------------------


def test_no_example_is_zero_shot():
    classifier, vectors, _ = taught()
    before = classifier.probabilities(vectors)
    report = classifier.fit(np.empty((0, 8), np.float32), [])
    assert report.examples == 0
    np.testing.assert_array_equal(classifier.probabilities(vectors), before)


def test_examples_teach_and_two_classes_work():
    for classes in (2, 3):
        classifier = ZeroShotClassifier(FakeEncoder(), ["a", "b", "c"][:classes], templates="none")
        centres = some_vectors(3, seed=9)
        truth = np.arange(90) % classes
        vectors = unit(centres[truth] + 0.3 * np.random.default_rng(1).normal(size=(90, 8)))
        names = [classifier.labels[t] for t in truth]
        before = (classifier.head.logits(vectors[60:]).argmax(axis=1) == truth[60:]).mean()
        report = classifier.fit(vectors[:60], names[:60])
        after = (classifier.head.logits(vectors[60:]).argmax(axis=1) == truth[60:]).mean()
        assert report.blend > 0
        assert after > before + 0.2


def test_useless_examples_do_no_harm():
    classifier = ZeroShotClassifier(FakeEncoder(), ["a", "b"], templates="none")
    truth = np.arange(40) % 2
    vectors = classifier.weights[truth]  # zero-shot is right already
    classifier.fit(vectors, [classifier.labels[t] for t in truth])
    assert (classifier.head.logits(vectors).argmax(axis=1) == truth).all()


def caltech_vectors(encoder, shared_data, *, per_class, classes=20):
    from clipsearch.classification.labelled import read_labelled
    from clipsearch.intake.embedder import embed_files

    data = read_labelled(shared_data / "caltech101")
    chosen = []
    for label in data.classes[:classes]:
        rows = [row for row, its in enumerate(data.labels) if its == label]
        chosen += rows[:per_class]
    encoded = embed_files([data.images[row] for row in chosen], encoder)
    return encoded.vectors, np.array([data.labels[chosen[at]] for at in encoded.kept])


@pytest.mark.slow
def test_few_examples_help_on_held_out_photos(encoder, shared_data):
    """4 examples a class are not worse than zero-shot, 16 clearly better."""
    vectors, labels = caltech_vectors(encoder, shared_data, per_class=26, classes=16)
    names = sorted(set(labels.tolist()))
    classifier = ZeroShotClassifier(encoder, names, templates="simple")
    truth = np.array([names.index(label) for label in labels])

    def accuracy(shots):
        train, test = [], []
        for row in range(len(names)):
            of_class = np.flatnonzero(truth == row)
            train += of_class[:shots].tolist()
            test += of_class[16:].tolist()
        classifier.fit(vectors[train], labels[train].tolist())
        return (classifier.head.logits(vectors[test]).argmax(axis=1) == truth[test]).mean()

    zero, four, sixteen = accuracy(0), accuracy(4), accuracy(16)
    assert four >= zero
    assert sixteen >= zero + 0.05


def test_a_temperature_does_not_move_what_is_likelier_than_not():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(400, 8)))
    head = ClassHead(
        labels=("a", "b", "c"),
        weights=unit(rng.normal(size=(3, 8))),
        logit_scale=30.0,
        contrast=unit(rng.normal(size=(50, 8))),
    )
    plain = head.probabilities(vectors, multi_label=True)
    assert 0.01 < (plain > 0.5).mean() < 0.99
    for temperature in (0.02, 0.5, 5.0):
        other = replace(head, temperature=temperature).probabilities(vectors, multi_label=True)
        np.testing.assert_array_equal(other > 0.5, plain > 0.5)


# --- scikit-learn -------------------------------------------------------------------------------


def learner(labels=("b", "c", "a")):
    """Vectors, scaled at will, that `fit` can learn, in classes whose names are not sorted."""
    classifier = ZeroShotClassifier(FakeEncoder(), list(labels), templates="none")
    truth = np.arange(90) % 3
    noise = 0.3 * np.random.default_rng(1).normal(size=(90, 8))
    vectors = 5 * (some_vectors(3, seed=9)[truth] + noise)
    return classifier, vectors, np.array(labels)[truth]


def test_it_is_a_classifier_of_scikit_learn():
    classifier, vectors, names = learner()
    assert is_classifier(classifier)
    check_is_fitted(classifier)  # zero-shot needs no fit
    assert classifier.classes_.tolist() == ["a", "b", "c"]
    assert classifier.fit(vectors, names) is classifier
    assert classifier.fit_report_.examples == 90
    chance = classifier.predict_proba(vectors)
    ours = classifier.probabilities(unit(vectors))
    np.testing.assert_allclose(chance, ours[:, [2, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(chance.sum(axis=1), 1)
    found = classifier.predict(vectors)
    assert found.tolist() == [row[0].label for row in classifier.classify(vectors, k=1)]
    assert classifier.score(vectors, names) == accuracy_score(names, found) > 0.8
    weights = np.random.default_rng(0).random(90)
    assert classifier.score(vectors, names, weights) == pytest.approx(
        accuracy_score(names, found, sample_weight=weights)
    )
    for form in (list(vectors), pd.DataFrame(vectors), vectors.astype(np.float32)):
        assert classifier.predict(form).tolist() == found.tolist()


def test_it_cross_validates_alone_and_in_a_pipeline_as_a_loop_by_hand_does():
    classifier, vectors, names = learner()
    folds = [(np.flatnonzero(part != n), np.flatnonzero(part == n)) for n in range(3)
             for part in [np.arange(90) // 3 % 3]]  # fmt: skip
    by_hand, losses = [], []
    for train, test in folds:
        fresh = ZeroShotClassifier(FakeEncoder(), ["b", "c", "a"], templates="none")
        fresh.fit(vectors[train], names[train])
        by_hand.append((fresh.predict(vectors[test]) == names[test]).mean())
        losses.append(log_loss(names[test], fresh.predict_proba(vectors[test]), labels=list("abc")))
    assert cross_val_score(classifier, vectors, names, cv=folds).tolist() == by_hand
    # Scorers take the columns for sorted labels.
    found = cross_val_score(classifier, vectors, names, cv=folds, scoring="neg_log_loss")
    np.testing.assert_allclose(-found, losses)
    piped = make_pipeline(Normalizer(), classifier)
    np.testing.assert_allclose(cross_val_score(piped, vectors, names, cv=folds), by_hand)
    scaled = make_pipeline(StandardScaler(), classifier).fit(vectors, names)
    assert scaled.predict(vectors).shape == (90,)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), classifier),
        {"zeroshotclassifier__templates": ["none", "simple"]},
        cv=folds,
    ).fit(vectors, names)
    assert len(search.cv_results_["mean_test_score"]) == 2


def test_clones_forget_and_parameters_make_it_anew():
    classifier, vectors, names = learner()
    before = classifier.predict_proba(vectors)
    calls = classifier.encoder.calls
    classifier.fit(vectors, names).calibrate(vectors, names)
    copy = clone(classifier)
    np.testing.assert_array_equal(copy.predict_proba(vectors), before)
    assert copy.encoder is classifier.encoder
    assert copy.encoder.calls == calls  # its class vectors are those that there are
    assert classifier.fit_report_.examples == 90
    assert not hasattr(copy, "fit_report_")
    params = classifier.get_params()
    assert params.pop("encoder") is classifier.encoder
    assert params == {"labels": ["b", "c", "a"], "templates": "none", "cache": True}
    assert copy.set_params(labels=["x", "y"]) is copy
    assert copy.classes_.tolist() == ["x", "y"]
    assert copy.get_params()["templates"] == "none"
    with pytest.raises(InvalidInputError, match="no parameter label; there are: encoder, labels"):
        copy.set_params(label=["x"])


def test_a_pickle_holds_the_name_of_the_model(encoder, photos, tmp_path):
    classifier, vectors, names = learner()
    classifier.fit(vectors, names)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(vectors), classifier.predict_proba(vectors))
    assert clone(again).classes_.tolist() == ["a", "b", "c"]
    real = ZeroShotClassifier(encoder, ["cat", "rocket"], templates="simple")
    data = pickle.dumps(real)
    assert len(data) < 20_000
    cat = [photo for photo in photos if photo.name == "chelsea.png"]
    assert pickle.loads(data).predict(cat).tolist() == real.predict(cat).tolist() == ["cat"]
    column = pd.DataFrame({"path": [str(photo) for photo in cat]})
    assert real.predict(column).tolist() == real.predict(column["path"]).tolist() == ["cat"]


def test_a_sigmoid_models_shares_sum_to_one():
    encoder = FakeEncoder()
    encoder.logit_bias = -3.0
    classifier = ZeroShotClassifier(encoder, ["b", "a"], templates="none")
    vectors = some_vectors()
    own = classifier.probabilities(vectors)[:, ::-1]
    np.testing.assert_allclose(
        classifier.predict_proba(vectors), own / own.sum(axis=1, keepdims=True), atol=1e-9
    )


def test_what_predict_and_fit_gave_before_still_comes_with_a_warning():
    classifier, vectors, names = learner()
    with pytest.warns(DeprecationWarning, match=r"is classify\(images, k=1\) now"):
        assert classifier.predict(vectors, k=1) == classifier.classify(vectors, k=1)
    with pytest.warns(DeprecationWarning, match=r"fit_report_\.blend"):
        assert classifier.fit(vectors, names).blend == classifier.fit_report_.blend
    with pytest.raises(AttributeError, match="no attribute 'blnd'"):
        _ = classifier.blnd


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda one, x, y: one.fit(x, np.arange(90)), "no such label: '0', '1'"),
        (lambda one, x, y: one.fit(x, y[:5]), "90 images came with 5 labels"),
        (lambda one, x, y: one.fit(x, [None] * 90), "every example needs a label"),
        (lambda one, x, y: one.predict(x[:, :3]), r"shape \[n, 8\], got \[90, 3\]"),
        (lambda one, x, y: one.predict(x * np.nan), "NaN or infinity, first in row 0"),
        (lambda one, x, y: one.predict("cat.jpg"), "wrap a single one"),
        (lambda one, x, y: one.predict(Path("cat.jpg")), "wrap a single one"),
    ],
)
def test_bad_examples_are_refused_in_one_line(call, told):
    with pytest.raises(InvalidInputError, match=told):
        call(*learner())
