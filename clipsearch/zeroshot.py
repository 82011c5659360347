"""Zero-shot classification: images against the names of classes.

A class vector is the normalised mean of the normalised text vectors of all its names in all
templates, as in Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision" (2021), section 3.1.4, and in open_clip's `build_zero_shot_classifier`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from .cache import cached_key, cached_vectors
from .classification.adapters import FitReport, fit_adapter
from .classification.calibration import (
    DEFAULT_TARGET_ACCURACY,
    CalibrationReport,
    calibrated,
    cross_validated,
    fitted_margin,
)
from .classification.chances import softmax
from .classification.contrast import CONTRAST_TEMPLATE, CONTRAST_WORDS, contrast_rows
from .classification.heads import NONE_LABEL, ClassHead
from .classification.labelpack import LabelPack, load_pack, save_pack
from .classification.labels import Groups, label_groups
from .classification.prompts import fill, resolve_templates
from .classification.renamed import asked_of_classify
from .encoder import Encoder
from .errors import EncoderMismatchError, InvalidInputError
from .images import ImageInput, check_images
from .types import Prediction
from .vectors import Floats, check_vectors

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["NONE_LABEL", "ZeroShotClassifier", "class_vectors"]

# In logits. What `scripts/evaluate_none.py` finds on one half of the classes of Caltech-101 and the
# ImageNet sample is 0.5, which on the other half is better than 0 by 0.7 points of balanced
# accuracy (docs/benchmarks.md); `calibrate` with images that no label fits finds the best for one's
# own.
DEFAULT_NONE_MARGIN = 0.0


# Images, or their vectors [n, dim].
Examples = Sequence[ImageInput] | Iterable[Any] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Named:
    """The model of a classifier that was unpickled, which is loaded on first need."""

    name: str
    fingerprint: str

    def load(self) -> Encoder:
        from .models import load_text_encoder

        loaded = load_text_encoder(self.name, self.fingerprint)
        if loaded.fingerprint != self.fingerprint:
            raise EncoderMismatchError(
                f"the classifier was made with {self.name} ({self.fingerprint[:12]}), not with the "
                f"version of it at hand ({loaded.fingerprint[:12]}); make it again"
            )
        return loaded


class ZeroShotClassifier:
    """Classifies images by how well they agree with the names of classes.

    `fit` and `calibrate` improve it by labelled images; `save` keeps it as a label pack.

    It is a classifier of scikit-learn's (`fit`, `predict`, `predict_proba`, `score`), ready without
    `fit`, for pipelines, scorers and cross-validation, where X are images or their vectors. A copy
    by `sklearn.base.clone` shares the model. A pickle holds the name of the model, which is loaded
    again when images or texts are first to be encoded.

    Args:
        encoder: The model.
        labels: Class names; "name: synonym, synonym" adds synonyms; or a mapping from each name
            to its synonyms (the name itself is then used only if it is among them).
        templates: "openai", "simple", "none" or sentences with `{}`; see `prompts`.
        cache: Whether class vectors are kept on disk, by model, labels and templates.

    Raises:
        InvalidInputError: No labels, an empty or repeated one, or an unknown template.
    """

    _estimator_type = "classifier"  # for scikit-learn before 1.6
    fit_report_: FitReport  # what the last `fit` learned

    def __init__(
        self,
        encoder: Encoder,
        labels: Sequence[str] | Groups,
        *,
        templates: str | Sequence[str] = "openai",
        cache: bool = True,
    ) -> None:
        # As they were given, for scikit-learn.
        self._given = {"labels": labels, "templates": templates, "cache": cache}
        groups = label_groups(labels)
        if NONE_LABEL in groups:
            raise InvalidInputError(f"{NONE_LABEL!r} is the answer when no label fits; rename it")
        resolved = resolve_templates(templates)
        self._encoder: Encoder | _Named = encoder
        self._cache = cache
        head = ClassHead(
            labels=tuple(groups),
            weights=class_vectors(encoder, groups, resolved, cache=cache),
            logit_scale=encoder.logit_scale,
            logit_bias=encoder.logit_bias,
            none_margin=DEFAULT_NONE_MARGIN,
        )
        self._pack = LabelPack(head, encoder.name, encoder.fingerprint, groups, resolved)

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes, encoder: Encoder) -> ZeroShotClassifier:
        """A classifier from a label pack: a file, or its bytes.

        Raises:
            InvalidInputError: Not a label pack, or a damaged one.
            EncoderMismatchError: It was made with another model.
        """
        pack = load_pack(source)
        if pack.fingerprint != encoder.fingerprint:
            is_updated = pack.model == encoder.name
            other = "the version of it at hand" if is_updated else encoder.name
            way = "" if is_updated else f"use -m {pack.model}, or "
            raise EncoderMismatchError(
                f"the label pack was made with {pack.model} ({pack.fingerprint[:12]}), not with "
                f"{other} ({encoder.fingerprint[:12]}); {way}make the pack again"
            )
        loaded = cls.__new__(cls)
        loaded._encoder = encoder
        loaded._cache = True
        loaded._pack = pack
        loaded._given = {"labels": pack.groups, "templates": pack.templates, "cache": True}
        return loaded

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Keep labels, calibration and adapter as a label pack, usually `NAME.clip`.

        Args:
            path: The file; a pack that is there is replaced.
            overwrite: Whether a file that is no pack is replaced, too.

        Raises:
            InvalidInputError: `path` is another file.
            StorageError: The file cannot be written.
        """
        self._with_contrast()
        save_pack(path, self._pack, overwrite=overwrite)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order given."""
        return self._pack.head.labels

    @property
    def weights(self) -> Floats:
        """Class vectors, float32 [classes, dim], unit length."""
        return self._pack.head.weights

    @property
    def head(self) -> ClassHead:
        """The arithmetic: class vectors, scale, calibration and adapter."""
        return self._pack.head

    @property
    def encoder(self) -> Encoder:
        """The model.

        Raises:
            ModelLoadError, ModelNotFoundError, EncoderMismatchError: It was unpickled, and its
                model cannot be had; see `Index.encoder`.
        """
        if isinstance(self._encoder, _Named):
            self._encoder = self._encoder.load()
        return self._encoder

    @property
    def classes_(self) -> npt.NDArray[np.str_]:
        """The class names in the order of `predict_proba`: sorted, as scikit-learn has them."""
        return np.array(sorted(self.labels))

    @property
    def threshold(self) -> float | None:
        """Probability below which calibration says that no answer is better than a guess."""
        return self._pack.head.threshold

    def scores(self, vectors: Floats) -> Floats:
        """Cosines of unit image vectors [n, dim] with every class, float32 [n, classes]."""
        return self.head.cosines(vectors)

    def probabilities(
        self, vectors: Floats, *, multi_label: bool = False, none_of_these: bool = False
    ) -> npt.NDArray[np.float64]:
        """Probabilities for unit image vectors [n, dim]; see `ClassHead.probabilities`."""
        needs_contrast = none_of_these or (multi_label and self.head.logit_bias is None)
        head = self._with_contrast() if needs_contrast else self.head
        return head.probabilities(vectors, multi_label=multi_label, none_of_these=none_of_these)

    @overload
    def predict(self, images: Examples) -> npt.NDArray[np.str_]: ...
    @overload
    def predict(
        self,
        images: Examples,
        *,
        k: int | None = None,
        multi_label: bool | None = None,
        none_of_these: bool | None = None,
        threshold: float | None = None,
    ) -> Any: ...
    def predict(
        self,
        images: Examples,
        *,
        k: int | None = None,
        multi_label: bool | None = None,
        none_of_these: bool | None = None,
        threshold: float | None = None,
    ) -> Any:
        """The likeliest label of every image; `classify` says more, and can abstain.

        Args:
            images: As for `classify`.
            k: Deprecated, as are all others: with any of them, `classify` answers.
            multi_label: Deprecated.
            none_of_these: Deprecated.
            threshold: Deprecated.

        Returns:
            Texts [n], each of `classes_`; ties in their order.

        Raises:
            ImageDecodeError, InvalidInputError: As `classify`.
        """
        options = asked_of_classify(
            k=k, multi_label=multi_label, none_of_these=none_of_these, threshold=threshold
        )
        if options:
            return self.classify(images, **options)
        return self.classes_[self.predict_proba(images).argmax(axis=1)]

    def predict_proba(self, images: Examples) -> npt.NDArray[np.float64]:
        """Probabilities of images [n, classes], in the order of `classes_`; rows sum to 1.

        Those of a sigmoid (SigLIP) model are scaled for that; `probabilities` has its own.
        """
        vectors, head = self._vectors(images), self.head
        if head.logit_bias is None:
            found = head.probabilities(vectors)
        else:
            found = softmax(-np.logaddexp(0.0, -head.logits(vectors)))
        return found[:, np.argsort(np.array(self.labels))]

    def score(
        self, images: Examples, labels: Sequence[str], sample_weight: Sequence[float] | None = None
    ) -> float:
        """Share of the images to which `predict` gives the right label."""
        right = self.predict(images) == np.asarray(labels, object)
        return float(np.average(right, weights=sample_weight))

    def classify(
        self,
        images: Examples,
        *,
        k: int = 5,
        multi_label: bool = False,
        none_of_these: bool = False,
        threshold: float | None = None,
    ) -> list[list[Prediction]]:
        """The k best labels of every image, best first; ties in the order of the labels.

        Args:
            images: Paths, bytes, Pillow images or uint8 arrays, or vectors [n, dim].
            k: How many labels; fewer come back when there are fewer.
            multi_label: Judge each label for itself, so that none, one or several may fit.
            none_of_these: Let "none of these" compete: the image fits an everyday word that is
                no label better than every label.
            threshold: Abstain, with an empty list, where the best probability is lower; with
                `multi_label`, leave out every label below it. By default what `calibrate` found,
                if it was called.

        Raises:
            ImageDecodeError: An image cannot be decoded.
            InvalidInputError: `k` is below 1, `threshold` is outside [0, 1], or vectors are of
                another length.
        """
        return self.predict_vectors(
            self._vectors(images),
            k=k,
            multi_label=multi_label,
            none_of_these=none_of_these,
            threshold=threshold,
        )

    def predict_vectors(
        self,
        vectors: Floats,
        *,
        k: int = 5,
        multi_label: bool = False,
        none_of_these: bool = False,
        threshold: float | None = None,
    ) -> list[list[Prediction]]:
        """`classify` for unit image vectors [n, dim] that are already there."""
        if k < 1:
            raise InvalidInputError(f"k must be at least 1, not {k}")
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidInputError(f"the threshold is a probability, 0 to 1, not {threshold}")
        if threshold is None and not multi_label:
            threshold = self.threshold
        least = threshold or 0.0
        names = (*self.labels, NONE_LABEL)
        cosines = self.scores(vectors)
        probabilities = self.probabilities(
            vectors, multi_label=multi_label, none_of_these=none_of_these
        )
        if none_of_these:  # its score is what the best label scored, and still did not fit
            cosines = np.concatenate([cosines, cosines.max(axis=1, keepdims=True)], axis=1)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        rows: list[list[Prediction]] = []
        for row, best in enumerate(order):
            if multi_label:
                best = best[probabilities[row, best] >= least]
            elif probabilities[row, best[0]] < least:
                best = best[:0]
            rows.append(
                [
                    Prediction(names[c], float(probabilities[row, c]), float(cosines[row, c]))
                    for c in best
                ]
            )
        return rows

    def calibrate(
        self,
        images: Examples,
        labels: Sequence[str | None],
        *,
        target_accuracy: float = DEFAULT_TARGET_ACCURACY,
    ) -> CalibrationReport:
        """Calibrate the probabilities on labelled images, and find the abstention threshold.

        Args:
            images: Images, or their vectors float32 [n, dim].
            labels: The right label of each, among `labels`; None for an image that none fits.
                With some of those, the readiness to say "none of these" is fitted as well.
            target_accuracy: What images with an answer shall reach; decides the threshold.

        Returns:
            Figures before and after; those after come from cross-validation.

        Raises:
            InvalidInputError: Fewer than ten images, or a label that is not one of ours.
        """
        vectors, truth = self._examples(images, labels)
        named = truth >= 0
        head = self.head
        if not named.all():
            head = fitted_margin(self._with_contrast(), vectors, named)
        vectors, truth = vectors[named], truth[named]
        report = cross_validated(head, vectors, truth, target=target_accuracy)
        head = calibrated(head, vectors, truth, target=target_accuracy)
        self._pack = replace(self._pack, head=head)
        return report

    def fit(self, images: Examples, labels: Sequence[str]) -> Self:
        """Learn from labelled images; an earlier fit and calibration are forgotten.

        Args:
            images: Images, or their vectors [n, dim]; not every label needs one.
            labels: The right label of each, among `labels`.

        Returns:
            The classifier; `fit_report_` says what was learned.

        Raises:
            InvalidInputError: A label that is not one of ours.
        """
        vectors, truth = self._examples(images, labels)
        if (truth < 0).any():
            raise InvalidInputError("every example needs a label")
        head = _as_made(self.head)
        adapter, self.fit_report_ = fit_adapter(head, vectors, truth)
        self._pack = replace(self._pack, head=replace(head, adapter=adapter))
        return self

    def _examples(
        self, images: Examples, labels: Sequence[str | None]
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        rows: dict[str | None, int] = {label: row for row, label in enumerate(self.labels)}
        rows[None] = -1
        labels = list(labels)
        unknown = sorted({str(label) for label in labels if label not in rows})
        if unknown:
            raise InvalidInputError(
                f"no such label: {', '.join(map(repr, unknown[:5]))}; an example has the name of "
                "one of the classifier's labels"
            )
        given: Any = images if hasattr(images, "__len__") else list(images)
        if len(given) != len(labels):
            raise InvalidInputError(f"{len(given)} images came with {len(labels)} labels")
        truth = np.array([rows[label] for label in labels], np.int64)
        return self._vectors(given), truth

    def _vectors(self, images: Any) -> Floats:
        """Unit vectors [n, dim] of images, which may be vectors already."""
        if hasattr(images, "to_numpy"):  # a DataFrame or a Series
            images = images.to_numpy()
        if isinstance(images, np.ndarray) and images.ndim == 2:
            if images.dtype.kind == "f":
                return check_vectors(images, self.weights.shape[1], what="the vectors")
            if images.shape[1] == 1 and images.dtype.kind in "OU":  # a column of paths
                images = images[:, 0]
        check_images(images)
        images = list(images)
        if images and all(isinstance(one, np.ndarray) and one.ndim == 1 for one in images):
            return self._vectors(np.stack(images).astype(np.float32))
        if not images:
            return np.empty((0, self.weights.shape[1]), np.float32)
        return self.encoder.encode_images(images)

    # --- scikit-learn ---------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What it was made of: `encoder`, `labels`, `templates` and `cache`."""
        return {"encoder": self._encoder, **self._given}

    def set_params(self, **params: Any) -> Self:
        """Make it of something else; what was learned is forgotten.

        Raises:
            InvalidInputError: It is made of no such thing, or as the constructor.
        """
        if unknown := params.keys() - {"encoder", *self._given}:
            raise InvalidInputError(
                f"a zero-shot classifier has no parameter {', '.join(sorted(unknown))}; there are: "
                f"encoder, {', '.join(self._given)}"
            )
        if params:
            if "encoder" not in params:
                params["encoder"] = self.encoder
            self.__dict__ = ZeroShotClassifier(**{**self._given, **params}).__dict__
        return self

    def __sklearn_clone__(self) -> Self:
        """A classifier of the same labels that has learned nothing."""
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        head = replace(_as_made(self.head), none_margin=DEFAULT_NONE_MARGIN)
        new._pack = replace(self._pack, head=head)
        new.__dict__.pop("fit_report_", None)
        return new

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(one_d_array=True, two_d_array=True, string=True),
        )

    def __getstate__(self) -> dict[str, Any]:
        named = _Named(self._pack.model, self._pack.fingerprint)
        return {**self.__dict__, "_encoder": named}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"ZeroShotClassifier({self._pack.model!r}, {list(self.labels)!r})"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What the report of `fit` had when that was what `fit` returned."""
            report = self.__dict__.get("fit_report_")
            if report is None or name not in FitReport.__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            warnings.warn(
                f"fit returns the classifier; ask for its fit_report_.{name}",
                DeprecationWarning,
                stacklevel=2,
            )
            return getattr(report, name)

    def _with_contrast(self) -> ClassHead:
        """The head with its generic texts, which are encoded when they are first needed."""
        head = self.head
        if head.contrast is None:
            words = {word: [word] for word in CONTRAST_WORDS}
            contrast = class_vectors(self.encoder, words, (CONTRAST_TEMPLATE,), cache=self._cache)
            names = [name for group in self._pack.groups.values() for name in group]
            named = self.encoder.encode_texts(fill_each(CONTRAST_TEMPLATE, names))
            head = replace(head, contrast=contrast_rows(contrast, named))
            self._pack = replace(self._pack, head=head)
        return head


def _as_made(head: ClassHead) -> ClassHead:
    """A head that has learned nothing and is not calibrated."""
    return replace(head, adapter=None, temperature=1.0, shift=0.0, threshold=None)


def fill_each(template: str, names: Sequence[str]) -> list[str]:
    """One sentence for every name."""
    return [fill((template,), name)[0] for name in names]


def class_vectors(
    encoder: Encoder, groups: Groups, templates: Sequence[str], *, cache: bool = True
) -> Floats:
    """Class vectors by encoding every name in every template, or from the cache on disk.

    Returns:
        float32 [classes, dim], unit length, in the order of `groups`.
    """

    def encode() -> Floats:
        sentences = [
            text for names in groups.values() for name in names for text in fill(templates, name)
        ]
        flat = encoder.encode_texts(sentences)
        counts = [len(names) * len(templates) for names in groups.values()]
        means = np.stack([part.mean(axis=0) for part in np.split(flat, np.cumsum(counts)[:-1])])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)

    if not cache:
        return encode()
    key = cached_key(encoder.fingerprint, list(groups.items()), list(templates))
    return cached_vectors("classes", key, encode, shape=(len(groups), encoder.dim))
