"""Commands that curate a data set: weak pairs, near-duplicates, export and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import clipsearch

from ..documents import hit_document
from ..errors import InvalidInputError
from ..locations import existing_index
from ..types import Modality
from .formats import RowsOutput, print_csv
from .index import open_or_create, summarise
from .options import IndexName, NewIndexName, Wait
from .output import (
    note,
    print_hit_table,
    print_json,
    print_table,
    short_path,
)

__all__ = ["duplicates", "export", "import_command", "pairs"]

_ExportFormat = Literal["parquet", "faiss"]
_FORMATS: dict[str, _ExportFormat] = {".parquet": "parquet", ".faiss": "faiss"}


def pairs(
    name: IndexName = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of pairs.")] = 50,
    output: RowsOutput = "table",
) -> None:
    """List the items whose image and caption match least, worst first.

    clipsearch pairs -i pairs -k 20

    clipsearch pairs -i pairs -f csv > weak.csv
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        found = index.pairs(k)
    if output == "json":
        print_json({"pairs": [hit_document(hit) for hit in found]})
        return
    if not found:
        note("no item has both an image and a caption")
    if output == "csv":
        print_csv(
            ["score", "percentile", "id", "path", "caption"],
            [
                [
                    hit.score,
                    hit.percentile,
                    hit.item.id,
                    hit.item.path or hit.item.key,
                    hit.item.caption,
                ]
                for hit in found
            ],
        )
    elif found:
        print_hit_table(found)


def duplicates(
    name: IndexName = None,
    threshold: Annotated[
        float, typer.Option(help="Similarity from which two images are near-duplicates (0 to 1).")
    ] = 0.95,
    output: RowsOutput = "table",
) -> None:
    """List groups of near-duplicate images, largest group first.

    The item that was indexed first leads its group.

    clipsearch duplicates -i photos --threshold 0.98
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        groups = index.duplicates(threshold)
    if output == "json":
        print_json(
            {
                "groups": [
                    [{"id": i.id, "path": i.path, "key": i.key, "score": s} for i, s in group]
                    for group in groups
                ]
            }
        )
        return
    if not groups:
        note(f"no near-duplicates with a similarity of {threshold:g} or more")
    rows = [
        (number, score, item.id, item.path or item.key)
        for number, group in enumerate(groups, 1)
        for item, score in group
    ]
    if output == "csv":
        print_csv(["group", "score", "id", "path"], rows)
    elif rows:
        print_table(
            ["group", "score", "id", "image"],
            [(str(n), f"{score:.3f}", str(id_), short_path(path)) for n, score, id_, path in rows],
            right=["group", "id"],
        )


def export(
    file: Annotated[Path, typer.Argument(help="File to write, e.g. photos.parquet.")],
    name: IndexName = None,
    output: Annotated[
        _ExportFormat | None,
        typer.Option(
            "-f",
            "--format",
            help="File format; by default the one that the file's extension names.",
        ),
    ] = None,
    target: Annotated[Modality, typer.Option(help="Vectors to write to a FAISS file.")] = "image",
) -> None:
    """Export an index as a Parquet table or as a plain FAISS file.

    Parquet: one row per item with ID, metadata and vectors. FAISS: an IndexIDMap2 over
    IndexFlatIP whose IDs are item IDs.

    clipsearch export photos.parquet -i photos

    clipsearch export photos.faiss -i photos --target caption
    """
    kind = output or _FORMATS.get(file.suffix.lower())
    if kind is None:
        raise InvalidInputError(
            f"{file.name} does not end in .parquet or .faiss; give -f parquet or -f faiss"
        )
    with clipsearch.Index.open(existing_index(name)) as index:
        count = index.export(file, kind, modality=target)
    what = "items" if kind == "parquet" else f"{target} vectors"
    note(f"{count:,} {what} written to {file}")


def import_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that contains img_emb/, text_emb/ and metadata/, or an exported .parquet."
        ),
    ],
    name: NewIndexName = "photos",
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Model that made the embeddings.")
    ] = None,
    wait: Wait = False,
) -> None:
    """Import embeddings in the layout of clip-retrieval (npy and parquet files), or an export.

    They must come from the model of the index. The files of clip-retrieval do not name it, so this
    is checked for exports only.

    clipsearch import embeddings/ -i laion -m ViT-B-32/laion2b_s34b_b79k

    clipsearch import photos.parquet -i copy
    """
    from ..engine.parquet import is_export, vectors_dim
    from ..engine.transfer import embeddings_dim

    path = folder.expanduser()
    dim = vectors_dim(path) if path.is_file() and is_export(path) else embeddings_dim(path)
    with open_or_create(name, model, "auto", "auto", dim=dim) as index:
        report = index.import_embeddings(folder, wait=wait)
        lines = summarise(report)
        note(f"{report.indexed:,} items from {folder} in {report.seconds:.1f} s")
        for line in lines[1:]:
            note(line)
        note(f"{len(index):,} items in {short_path(str(index.path))}")
