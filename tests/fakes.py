"""A deterministic stand-in for an encoder, for unit tests of the index alone."""

from __future__ import annotations

import hashlib

import numpy as np

from clipsearch.types import Record

DIM = 16


class FakeEncoder:
    """Texts and images become random unit vectors, always the same for the same content."""

    logit_scale = 100.0
    logit_bias = None
    preprocessing = None

    def __init__(self, name: str = "fake", dim: int = DIM) -> None:
        self.name = name
        self.dim = dim
        self.fingerprint = hashlib.sha256(f"{name}/{dim}".encode()).hexdigest()
        self.encoded = 0

    def vector(self, content: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(self.dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def encode_texts(self, texts):
        self.encoded += len(texts)
        return np.stack([self.vector(f"text {text}") for text in texts])

    def encode_images(self, images):
        self.encoded += len(images)
        return np.stack([self.vector(f"image {image}") for image in images])

    def encode_pixels(self, pixels):
        return self.encode_images([p.tobytes() for p in pixels])


def record(name: str, **facts) -> Record:
    path = f"/photos/{name}.jpg"
    return Record(**{"key": path, "path": path, "sha256": f"sha-{name}", **facts})


def put(writer, encoder, name: str, *, caption: str | None = None, image=True, **facts) -> int:
    """Stage one item whose image vector depends on its name."""
    return writer.put(
        record(name, caption=caption, **facts),
        image=encoder.vector(f"image {name}") if image else None,
        caption=None if caption is None else encoder.vector(f"text {caption}"),
    )


def fill(index, encoder, count: int, *, first: int = 0, commits: int = 1, captions=False) -> None:
    """Add `count` items in some commits."""
    names = np.array_split(np.arange(first, first + count), commits)
    with index.writer() as writer:
        for part in names:
            for i in part.tolist():
                put(writer, encoder, f"{i:05}", caption=f"caption {i}" if captions else None)
            writer.commit()
