"""WebDataset tar shards, written: what the next model is trained on."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..documents import PUBLIC, finite
from ..engine.columns import json_text
from ..errors import ClipSearchError, InvalidInputError
from ..files import check_output, expanded, output_file
from ..images import image_suffixes
from ..names import suffix_of
from ..tabular import column_names
from ..types import Hit, Item, Outcome, ShardReport
from .inside import lies_in
from .originals import indexed_bytes

__all__ = ["SHARD_BYTES", "SHARD_ITEMS", "write_shards"]

SHARD_ITEMS = 10_000  # as many as img2dataset puts into one
SHARD_BYTES = 1_000_000_000
_USUAL = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".gif"}


def write_shards(
    path: str | os.PathLike[str],
    found: Iterable[Item | Hit],
    *,
    roots: Collection[str],
    shard_items: int = SHARD_ITEMS,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> ShardReport:
    """Write items as samples: the bytes of the image, its caption as text, what is known as JSON.

    Args:
        path: `train.tar` for `train-000000.tar` and so on; each appears when it is complete.
        found: The items, in the order of the samples.
        roots: The only folders, links resolved, whose files are read.
        shard_items: The most samples of a shard, at least 1.
        shard_bytes: The most bytes of a shard, unless a single sample is larger.
        overwrite: Whether shards of that name are replaced; those left over are deleted, unless
            there is nothing to write.
        sources: What was indexed, into which nothing is written.

    Raises:
        InvalidInputError: Shards of that name are there, or the place or a limit is no good.
        StorageError: They cannot be written.
    """
    for name, value in (("shard_items", shard_items), ("shard_bytes", shard_bytes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInputError(f"{name} must be a whole number of at least 1, got {value!r}")
    base = expanded(path).absolute()
    stem = base.name.removesuffix(".tar")
    if not stem:
        raise InvalidInputError(f"{path} has no name; give one such as train.tar")
    before = _shards_there(base.parent, stem)
    if before and not overwrite:
        raise InvalidInputError(
            f"{before[0]} exists, and {len(before) - 1} more such shards; choose another name, "
            "delete them first, or replace them with --force (overwrite=True in Python)"
        )
    sources = list(sources)
    skipped: list[Outcome] = []
    samples = _samples(found, roots, skipped)
    sample = next(samples, None)
    written: list[Path] = []
    count = 0
    while sample is not None:
        shard = base.parent / f"{stem}-{len(written):06}.tar"
        check_output(shard, lambda _: False, overwrite=overwrite, sources=sources)
        with output_file(shard) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            items = 0
            while sample is not None and items < shard_items:
                blocks = sum(1 + -(-len(data) // tarfile.BLOCKSIZE) for _, data in sample)
                size = tarfile.BLOCKSIZE * blocks
                if items and tar.offset + size + tarfile.RECORDSIZE > shard_bytes:
                    break
                for name, data in sample:
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                items += 1
                sample = next(samples, None)
        count += items
        written.append(shard)
    for stale in set(before) - set(written) if written else ():  # else they are all that there is
        stale.unlink(missing_ok=True)
    return ShardReport(samples=count, shards=tuple(map(str, written)), skipped=tuple(skipped))


def _shards_there(folder: Path, stem: str) -> list[Path]:
    pattern = re.compile(rf"{re.escape(stem)}-\d{{6}}\.tar")
    with contextlib.suppress(OSError):
        return sorted(one for one in folder.iterdir() if pattern.fullmatch(one.name))
    return []


def _samples(
    found: Iterable[Item | Hit], roots: Collection[str], skipped: list[Outcome]
) -> Iterator[list[tuple[str, bytes]]]:
    """The members of each sample, whose key is the id; what has no image any more is skipped."""
    for one in found:
        item = one.item if isinstance(one, Hit) else one
        try:
            image = indexed_bytes(item, roots=roots)
        except ClipSearchError as exc:
            skipped.append(Outcome(item.key, "skipped", str(exc)))
            continue
        key = f"{item.id:09}"
        members = [(f"{key}{_suffix(item)}", image)]
        if item.caption:
            members.append((f"{key}.txt", item.caption.encode("utf-8", "replace")))
        members.append((f"{key}.json", json_text(_document(one)).encode()))
        yield members


def _document(one: Item | Hit) -> dict[str, Any]:
    """What is known of an item, flat, without the place of its file."""
    item = one.item if isinstance(one, Hit) else one
    known: dict[str, Any] = {name: getattr(item, name) for name in PUBLIC if name != "extra"}
    known["sha256"] = item.sha256
    if isinstance(one, Hit):
        known |= {"score": one.score, "percentile": one.percentile}
    known = {name: value for name, value in known.items() if value not in (None, ())}
    own = {*PUBLIC, "sha256", "score", "percentile"}
    names = column_names(item.extra, own)
    document: dict[str, Any] = finite(
        {**known, **{names[name]: value for name, value in item.extra.items()}}
    )
    return document


def _suffix(item: Item) -> str:
    """The ending of an image's file, if that says what it is, else that of its format."""
    name = item.path or (item.place and lies_in(item.place)[1]) or ""
    suffix = suffix_of(name)
    if suffix in image_suffixes():
        return suffix
    return _USUAL.get(item.format or "", f".{(item.format or 'img').lower()}")
