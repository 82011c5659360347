"""Commands that curate a data set: weak pairs, near-duplicates, export and import."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

import clipsearch

from ..deletions import COLUMNS, deletion_document, deletion_rows, deletions
from ..documents import duplicate_document, hit_document
from ..errors import InvalidInputError
from ..files import expanded
from ..locations import existing_index
from ..types import KeepReason, Modality
from .formats import RowsOutput, print_csv
from .index import open_or_create, summarise
from .options import IndexName, NewIndexName, TrustModel, Wait
from .output import (
    human_bytes,
    note,
    print_hit_table,
    print_json,
    print_table,
    short_path,
)
from .search import open_for_search
from .shards import Chosen, export_shards

__all__ = ["duplicates", "export", "import_command", "pairs"]

_SHA256_SHOWN = 12  # digits in a table; CSV and JSON have all
_AHEAD: dict[KeepReason, str] = {
    "pixels": "most pixels",
    "size": "largest file",
    "known": "most is known of it",
    "path": "shortest path",
}
_ExportFormat = Literal["parquet", "faiss", "webdataset"]


class _Kind(StrEnum):
    """Kinds of duplicates; Typer takes a list of an enumeration, not of literals."""

    bytes = "bytes"
    pixels = "pixels"
    looks = "looks"


_FORMATS: dict[str, _ExportFormat] = {
    ".parquet": "parquet",
    ".faiss": "faiss",
    ".tar": "webdataset",
}


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
        float | None,
        typer.Option(
            help="Similarity from which two images are compared (0 to 1); by default 0.8, and "
            "0.6 where their structure is equal."
        ),
    ] = None,
    kinds: Annotated[
        list[_Kind] | None,
        typer.Option(
            "--kind",
            help="List only this kind: same bytes, same pixels, or images that look alike. "
            "Repeatable.",
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Look only at items that satisfy this filter.")
    ] = None,
    output: RowsOutput = "table",
) -> None:
    """List groups of near-duplicate images, largest group first.

    The largest image leads its group, the one indexed first if several are equally large. Each
    other member is compared with the leader: kind `bytes` has the same file content, `pixels` the
    same decoded pixels, `looks` shows the same picture smaller, compressed, cropped or brighter.

    One of each group is suggested to be kept: the one with the most pixels, then the largest file,
    then the one with caption, tags or albums, then the one with the shortest path. JSON and CSV
    say of the others whether a copy that stays is on disk now (`safe`, `why`). Nothing is deleted.

    clipsearch duplicates -i photos

    clipsearch duplicates -i photos --kind bytes -f csv > copies.csv
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        groups = index.duplicates(threshold, kinds=kinds or list(_Kind), where=where)
        spare = deletions(index, groups) if output != "table" else {}
    members = [(number, member) for number, group in enumerate(groups, 1) for member in group]
    unchecked = sum(not member.checked for _, member in members)
    if unchecked:
        note(
            f"not checked: {unchecked:,} {'member' if unchecked == 1 else 'members'}, because an "
            "image cannot be read now; the embeddings alone say that they look alike"
        )
    if output == "json":
        print_json(
            {
                "groups": [
                    [
                        duplicate_document(member)
                        | (
                            deletion_document(spare[id_])
                            if (id_ := member.item.id) in spare
                            else {}
                        )
                        for member in group
                    ]
                    for group in groups
                ]
            }
        )
        return
    if not groups:
        limit = "" if threshold is None else f" with a similarity of {threshold:g} or more"
        of_kind = f" of kind {' or '.join(dict.fromkeys(kinds))}" if kinds else ""
        note(f"no near-duplicates{of_kind}{limit}")
    if output == "csv":
        print_csv(COLUMNS, deletion_rows(groups, spare, every=True))
    elif members:
        print_table(
            ["group", "kind", "score", "id", "pixels", "size", "keep", "sha256", "image"],
            [_duplicate_row(number, member) for number, member in members],
            right=["group", "id", "pixels", "size"],
        )


def _duplicate_row(number: int, member: clipsearch.Duplicate) -> tuple[str, ...]:
    item = member.item
    return (
        str(number),
        member.kind if member.checked else f"{member.kind} (not checked)",
        f"{member.score:.3f}",
        str(item.id),
        f"{item.width} x {item.height}" if item.width else "",
        "" if item.size_bytes is None else human_bytes(item.size_bytes),
        "" if member.keep is None else f"yes ({_AHEAD[member.keep]})",
        (item.sha256 or "")[:_SHA256_SHOWN],
        short_path(item.path or item.key),
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
    query: Annotated[
        str | None, typer.Option(help="WebDataset: only the best hits for these words.")
    ] = None,
    saved: Annotated[
        str | None, typer.Option(help="WebDataset: only the best hits of this saved search.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits of --query or --saved.")] = 1000,
    where: Annotated[
        str | None, typer.Option(help="WebDataset: only items that satisfy this filter.")
    ] = None,
    album: Annotated[str | None, typer.Option(help="WebDataset: only items of this album.")] = None,
    shard_items: Annotated[
        int | None, typer.Option(help="Maximum number of samples per shard. [default: 10000]")
    ] = None,
    shard_mb: Annotated[
        int | None, typer.Option(help="Maximum size of a shard in megabytes. [default: 1000]")
    ] = None,
    trust_model: TrustModel = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is no such export, or shards.")
    ] = False,
) -> None:
    """Export an index as a Parquet table, as a plain FAISS file or as WebDataset shards.

    Parquet: one row per item with ID, metadata and vectors. FAISS: an IndexIDMap2 over
    IndexFlatIP whose IDs are item IDs. WebDataset: the images as they are, captions, and metadata
    with scores, in train-000000.tar and so on, all or those of a filter, an album or a search.

    clipsearch export photos.parquet -i photos

    clipsearch export photos.faiss -i photos --target caption

    clipsearch export train.tar -i photos --query "a dog" -k 5000 --where "width >= 512"
    """
    kind = output or _FORMATS.get(file.suffix.lower())
    if kind is None:
        raise InvalidInputError(
            f"{file.name} does not end in .parquet, .faiss or .tar; give -f parquet, -f faiss or "
            "-f webdataset"
        )
    chosen = Chosen(query=query, saved=saved, k=k, where=where, album=album)
    limits = {"--shard-items": shard_items, "--shard-mb": shard_mb}
    if kind == "webdataset":
        with open_for_search(name, trust_model=trust_model) as index:
            export_shards(index, file, chosen, shard_items, shard_mb, overwrite=force)
        return
    asked = {**chosen.flags(), **limits}
    if given := [flag for flag, value in asked.items() if value is not None]:
        raise InvalidInputError(f"{', '.join(given)} works with -f webdataset only")
    with clipsearch.Index.open(existing_index(name)) as index:
        count = index.export(file, kind, modality=target, overwrite=force)
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
    trust_model: TrustModel = False,
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

    path = expanded(folder)
    dim = vectors_dim(path) if path.is_file() and is_export(path) else embeddings_dim(path)
    with open_or_create(name, model, "auto", "auto", dim=dim, trust_model=trust_model) as index:
        report = index.import_embeddings(folder, wait=wait)
        lines = summarise(report)
        note(f"{report.indexed:,} items from {folder} in {report.seconds:.1f} s")
        for line in lines[1:]:
            note(line)
        note(f"{len(index):,} items in {short_path(str(index.path))}")
