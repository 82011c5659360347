"""Labelled images and captioned images, as folders and tables hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SourceError
from ..files import expanded
from ..images import image_suffixes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Captioned", "Labelled", "read_captioned", "read_labelled"]

_IMAGE_COLUMNS = ("image", "path", "file", "filepath", "filename", "image_path")
_LABEL_COLUMNS = ("label", "class", "category", "target")
_CAPTION_COLUMNS = ("caption", "text", "title", "description")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images with one class each."""

    images: tuple[str, ...]  # paths
    labels: tuple[str, ...]  # of each image

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class once, sorted."""
        return tuple(sorted(set(self.labels)))


@dataclass(frozen=True, slots=True)
class Captioned:
    """Images with one or more captions each."""

    images: tuple[str, ...]  # paths, each once
    captions: tuple[str, ...]
    image_of: tuple[int, ...]  # for every caption the row of its image


def read_labelled(source: str | Path) -> Labelled:
    """Read a folder of class folders, or a table with an image and a label column.

    A folder's name is its class, `_` read as a space. Paths in a table are relative to its
    folder. CSV, TSV, Parquet and JSON lines are read; columns are found by name.

    Raises:
        SourceError: Nothing is there, or it has no classes.
    """
    path = expanded(source)
    if path.is_dir():
        return _from_folders(path)
    table = _read_table(path)
    image, label = _column(table, _IMAGE_COLUMNS, path), _column(table, _LABEL_COLUMNS, path)
    return Labelled(
        tuple(_resolved(path, table[image].astype(str))), tuple(table[label].astype(str))
    )


def read_captioned(source: str | Path) -> Captioned:
    """Read a table with an image and a caption column; an image may come in several rows.

    Raises:
        SourceError: Nothing is there, or a column is missing.
    """
    path = expanded(source)
    if path.is_dir():
        tables = [path / name for name in ("captions.tsv", "captions.csv", "captions.parquet")]
        path = next((table for table in tables if table.is_file()), path / "captions.tsv")
    table = _read_table(path)
    image, caption = _column(table, _IMAGE_COLUMNS, path), _column(table, _CAPTION_COLUMNS, path)
    table = table[table[caption].astype(str).str.strip() != ""]
    rows: dict[str, int] = {}
    files = _resolved(path, table[image].astype(str))
    image_of = [rows.setdefault(file, len(rows)) for file in files]
    if not rows:
        raise SourceError(f"{path} contains no captions")
    return Captioned(tuple(rows), tuple(table[caption].astype(str)), tuple(image_of))


def _from_folders(folder: Path) -> Labelled:
    suffixes = image_suffixes()
    images, labels = [], []
    for below in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for file in sorted(below.rglob("*")):
            if file.suffix.lower() in suffixes and not below.name.startswith("."):
                images.append(str(file))
                labels.append(below.name.replace("_", " "))
    if not images:
        raise SourceError(
            f"{folder} has no subfolders with images; give a folder with one subfolder per class, "
            "or a table with the columns image and label"
        )
    return Labelled(tuple(images), tuple(labels))


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        raise SourceError(f"no folder or table at {path}")
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        if suffix in (".jsonl", ".ndjson"):
            return pd.read_json(path, lines=True, dtype=False)
        if suffix in (".csv", ".tsv", ".txt"):
            separator = "," if suffix == ".csv" else "\t"
            return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (OSError, ValueError, ImportError) as exc:
        raise SourceError(f"cannot read the table {path}: {exc}") from exc
    raise SourceError(f"cannot read {path.name} as a table; use .csv, .tsv, .parquet or .jsonl")


def _column(table: pd.DataFrame, names: Sequence[str], path: Path) -> str:
    found = {str(column).lower(): str(column) for column in table.columns}
    for name in names:
        if name in found:
            return found[name]
    raise SourceError(
        f"{path.name} needs a column named {' or '.join(names[:3])}; its columns are: "
        f"{', '.join(map(str, table.columns))}"
    )


def _resolved(table: Path, files: pd.Series[str]) -> list[str]:
    return [str(table.parent / file) for file in files]
