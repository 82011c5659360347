"""CLIP's text transformer in numpy, with its weights memory-mapped from a folder.

A text query in a new process then needs neither torch nor a model file: only the few rows of the
token embedding that the words name are read, and only as many positions are computed as the
longest text has tokens (attention is causal, so what follows the end mark has no influence).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]

from .cores import Cores
from .tokenizer import Cleaning
from .weights import float8_values

__all__ = ["Activation", "TextTower", "TowerFacts"]

Activation = Literal["gelu", "quick_gelu"]
_Floats = npt.NDArray[np.float32]

_FEW = 8  # texts up to which one thread encodes them
_GELU_ELEMENTS = 1 << 16  # at a time, so that what is computed on the way stays in a core's cache
_BATCH = 32  # texts together, after sorting by length: few, so that little is padded
# Names of the arrays; those of the blocks have the layer as their first axis.
_ARRAYS = (
    "tokens",  # [vocabulary, width]; uint8 are E4M3
    "positions",  # [context, width]
    "attention_norm",  # [layers, 2, width]: scale, shift
    "attention_in",  # [layers, width, 3 * width]: query, key, value
    "attention_in_bias",  # [layers, 3 * width]
    "attention_out",  # [layers, width, width]
    "attention_out_bias",  # [layers, width]
    "mlp_norm",  # [layers, 2, width]
    "mlp_in",  # [layers, width, hidden]
    "mlp_in_bias",  # [layers, hidden]
    "mlp_out",  # [layers, hidden, width]
    "mlp_out_bias",  # [layers, width]
    "final_norm",  # [2, width]
    "projection",  # [width, dim]
    "projection_bias",  # [dim]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerFacts:
    """What the weights do not say of a text encoder."""

    heads: int
    activation: Activation
    epsilon: float  # of the layer norms
    context_length: int
    clean: Cleaning  # of texts, before they are split into tokens


@dataclass(frozen=True, slots=True)
class TextTower:
    """A causal text transformer that pools at the end mark."""

    facts: TowerFacts
    weights: dict[str, Any]  # float32

    @property
    def dim(self) -> int:
        """Length of a text vector."""
        return int(self.weights["projection"].shape[1])

    def encode(self, tokens: npt.NDArray[np.int64], cores: Cores | None = None) -> _Floats:
        """Encode tokens, int64 [n, context], as float32 [n, dim] of unit length.

        Args:
            tokens: With marks, padded with zeros.
            cores: Where many texts are encoded; else on this thread.
        """
        if not len(tokens):
            return np.empty((0, self.dim), np.float32)
        order = tokens.argmax(axis=1).argsort(kind="stable")
        each = -(-len(tokens) // cores.count) if cores else len(tokens)
        size = min(_BATCH, max(_FEW, each))
        rows = [order[i : i + size] for i in range(0, len(order), size)]
        # A product is too small a task to share: beside other work, waiting for a second thread
        # made a query fifty times slower.
        with _blas().limit(limits=1, user_api="blas"):
            blocks = [tokens[some] for some in rows]
            spread: Any = cores.map if cores and len(blocks) > 1 else map
            found = list(spread(self._encode, blocks))
        vectors = np.empty((len(tokens), self.dim), np.float32)
        vectors[order] = np.concatenate(found)
        return vectors

    def _encode(self, tokens: npt.NDArray[np.int64]) -> _Floats:
        weights = self.weights
        ends = tokens.argmax(axis=1)  # the end mark has the greatest id; the first one counts
        length = int(ends.max()) + 1
        embedded = weights["tokens"][tokens[:, :length]]  # [n, t, width]
        if embedded.dtype == np.uint8:
            embedded = float8_values()[embedded]
        x = embedded + weights["positions"][:length]
        mask = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        layers = len(weights["mlp_in"])
        for layer in range(layers):
            seen = asking = self._norm(x, weights["attention_norm"][layer])
            if layer == layers - 1:  # of what it gives, only the end mark's is read
                at = np.arange(len(x)), ends
                x, asking, mask = x[at][:, None], seen[at][:, None], mask[ends][:, None, None]
            x += self._attention(asking, seen, layer, mask)
            x += self._mlp(self._norm(x, weights["mlp_norm"][layer]), layer)
        pooled = self._norm(x[:, 0], weights["final_norm"])  # [n, width]
        vectors = pooled @ weights["projection"] + weights["projection_bias"]  # [n, dim]
        unit: _Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _norm(self, x: _Floats, scale_shift: _Floats) -> _Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(variance + np.float32(self.facts.epsilon))
        scaled: _Floats = normal * scale_shift[0] + scale_shift[1]
        return scaled

    def _attention(self, asking: _Floats, seen: _Floats, layer: int, mask: _Floats) -> _Floats:
        """What some positions, [n, s, width], gather from others, [n, t, width]."""
        weights, heads = self.weights, self.facts.heads
        texts, length, width = asking.shape
        matrix, bias = weights["attention_in"][layer], weights["attention_in_bias"][layer]

        def by_head(x: _Floats, part: int) -> _Floats:  # [n, heads, s or t, width / heads]
            columns = slice(part * width, (part + 1) * width)
            mixed = _apply(x, matrix[:, columns], bias[columns])
            return mixed.reshape(texts, -1, heads, width // heads).swapaxes(1, 2)

        query, key, value = by_head(asking, 0), by_head(seen, 1), by_head(seen, 2)
        scores = query @ key.swapaxes(-1, -2) * np.float32(1 / math.sqrt(width // heads)) + mask
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).swapaxes(1, 2).reshape(texts, length, width)
        return _apply(mixed, weights["attention_out"][layer], weights["attention_out_bias"][layer])

    def _mlp(self, x: _Floats, layer: int) -> _Floats:
        weights = self.weights
        hidden = _apply(x, weights["mlp_in"][layer], weights["mlp_in_bias"][layer])
        if self.facts.activation == "quick_gelu":
            hidden = hidden / (1 + np.exp(-1.702 * hidden))
        else:
            rows = max(1, _GELU_ELEMENTS // hidden.shape[-1])
            flat = hidden.reshape(-1, hidden.shape[-1])
            for start in range(0, len(flat), rows):
                _gelu(flat[start : start + rows])
        return _apply(hidden, weights["mlp_out"][layer], weights["mlp_out_bias"][layer])

    def save(self, folder: Path) -> None:
        """Write the weights into a folder.

        Raises:
            OSError: The disk refused.
        """
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(self.weights[name]))

    @classmethod
    def load(cls, folder: Path, facts: TowerFacts) -> TextTower:
        """Open the weights that `save` wrote.

        Raises:
            OSError, EOFError, ValueError: They are missing or cut short.
        """
        weights = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)
            for name in _ARRAYS
        }
        return cls(facts, weights)


@functools.cache
def _blas() -> Any:
    """The libraries of this process that multiply matrices; to look for them takes milliseconds."""
    return ThreadpoolController()


def _apply(x: _Floats, matrix: _Floats, bias: _Floats) -> _Floats:
    """X [n, t, a] times [a, b] plus [b], as one matrix product."""
    flat = x.reshape(-1, x.shape[-1]) @ matrix
    flat += bias
    return flat.reshape(*x.shape[:-1], -1)


def _gelu(x: _Floats) -> None:
    """X times the normal distribution's function of it, in place, to 2e-7.

    Source: Abramowitz and Stegun, 7.1.26. Importing `scipy.special` for its error function would
    add 0.17 s and 27 MB to a text query's 0.45 s.
    """
    t = np.abs(x)
    t *= 0.3275911 * math.sqrt(0.5)
    t += 1
    np.reciprocal(t, out=t)
    series = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += coefficient
        series *= t
    np.square(x, out=t)
    t *= -0.5
    series *= np.exp(t, out=t)
    np.subtract(1, series, out=series)
    np.copysign(series, x, out=series)  # the error function of x / sqrt(2)
    series += 1
    series *= 0.5
    x *= series
