"""Commands for albums: `album list`, `add`, `remove`, `rename`, `delete`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

import clipsearch

from ..errors import InvalidInputError
from ..locations import existing_index
from .formats import ReportOutput
from .options import IndexName, Wait
from .output import note, print_json, print_table

__all__ = ["album_app"]

album_app = typer.Typer(
    no_args_is_help=True,
    help="Put items into albums, which filters know: --where \"album = 'Trip'\".",
)

_Album = Annotated[str, typer.Argument(metavar="ALBUM", help="Name of the album.")]
_Items = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", help="Item IDs, as search prints them.")
]
_Where = Annotated[
    str | None, typer.Option(help="All items that satisfy this filter, as search takes it.")
]


@album_app.command("list")
def list_command(name: IndexName = None, output: ReportOutput = "table") -> None:
    """List the albums of an index.

    clipsearch album list -i photos

    clipsearch search -i photos --where "album = 'Trip'"
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        albums = index.albums()
    if output == "json":
        print_json({"albums": [asdict(album) for album in albums]})
    elif albums:
        print_table(
            ["album", "items", "away", "created"],
            [[a.name, f"{a.items:,}", f"{a.away:,}", a.created_at] for a in albums],
            right=["items", "away"],
        )
    else:
        note("there are no albums; make one with: clipsearch album add ALBUM ID...")


@album_app.command("add")
def add(
    album: _Album,
    ids: _Items = None,
    where: _Where = None,
    name: IndexName = None,
    wait: Wait = False,
) -> None:
    """Put items into an album. It is made if there is none of this name.

    clipsearch album add Trip 17 42 -i photos

    clipsearch album add Snow --where "tag = 'snow' and taken_at >= '2024'" -i photos
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        chosen = _chosen(index, ids, where)
        with index.writer(wait=wait) as writer:
            added = writer.add_to_album(album, chosen)
    note(f"added {added:,} of {len(chosen):,} items to the album {album}")


@album_app.command("remove")
def remove(
    album: _Album,
    ids: _Items = None,
    where: _Where = None,
    name: IndexName = None,
    wait: Wait = False,
) -> None:
    """Take items out of an album. They stay in the index.

    clipsearch album remove Trip 42 -i photos
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        chosen = _chosen(index, ids, where)
        with index.writer(wait=wait) as writer:
            removed = writer.remove_from_album(album, chosen)
    note(f"removed {removed:,} of {len(chosen):,} items from the album {album}")


@album_app.command("rename")
def rename(
    album: _Album,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    name: IndexName = None,
    wait: Wait = False,
) -> None:
    """Give an album another name.

    clipsearch album rename Trip "Trip to Oslo" -i photos
    """
    with (
        clipsearch.Index.open(existing_index(name)) as index,
        index.writer(wait=wait) as writer,
    ):
        writer.rename_album(album, new)
    note(f"the album {album} is called {new} now")


@album_app.command("delete")
def delete(album: _Album, name: IndexName = None, wait: Wait = False) -> None:
    """Delete an album. Its items stay in the index.

    clipsearch album delete Trip -i photos
    """
    with (
        clipsearch.Index.open(existing_index(name)) as index,
        index.writer(wait=wait) as writer,
    ):
        writer.delete_album(album)
    note(f"deleted the album {album}; its items stay")


def _chosen(index: clipsearch.Index, ids: list[int] | None, where: str | None) -> list[int]:
    """The items that a command names, by id or by a filter."""
    if bool(ids) == (where is not None):
        raise InvalidInputError("name the items either by their IDs or by --where")
    if ids:
        return ids
    return index.ids(where)
