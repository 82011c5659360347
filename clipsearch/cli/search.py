"""`clipsearch search`: find images by words, by image, or by both."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import clipsearch

from ..documents import hit_document, hits_document
from ..errors import InvalidInputError
from ..locations import existing_index
from ..models import load_text_encoder
from ..query import Query, Term
from ..request import SearchRequest
from ..types import Hits, Modality
from .formats import HitsFormat, HitsOutput
from .options import Device, IndexName
from .output import note, print_hit_table, print_json

__all__ = ["open_for_search", "print_hits", "search"]


def search(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    name: IndexName = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="Find images similar to this image file. Repeatable."),
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option("--item", help="Find items similar to this item ID. Repeatable."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("-a", "--add", help="Additional words to look for. Repeatable."),
    ] = None,
    subtract: Annotated[
        list[str] | None,
        typer.Option("-s", "--subtract", help="Words to steer away from. Repeatable."),
    ] = None,
    subtract_image: Annotated[
        list[str] | None,
        typer.Option("--subtract-image", help="An image file to steer away from. Repeatable."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Filter, e.g. \"width >= 800 and path like '%/2024/%'\".")
    ] = None,
    target: Annotated[Modality, typer.Option(help="Search image or caption vectors.")] = "image",
    min_score: Annotated[
        str | None,
        typer.Option(
            help="Minimum similarity (-1 to 1), or 'auto' to hide results no better than chance."
        ),
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Also match the words of captions (BM25).")
    ] = False,
    output: HitsOutput = "table",
    null: Annotated[
        bool, typer.Option("-0", "--null", help="End paths with NUL, for xargs -0.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Search an index by words, by image, or by both.

    The value of a flag may end in ^ and a weight; without one its weight is 1, like that of TEXT.

    clipsearch search "a red bus" -i photos

    clipsearch search --image cat.jpg -i photos -k 5

    clipsearch search "a beach" -a "at sunset" -s people -i photos

    clipsearch search "a street" --image night.jpg^0.5 -s cars^0.3 -i photos

    clipsearch search "a receipt" -f paths -0 | xargs -0 cp -t receipts/
    """
    request = SearchRequest(
        query=build_query(
            text,
            images=image or [],
            items=item or [],
            add=add or [],
            subtract=subtract or [],
            subtract_images=subtract_image or [],
        ),
        k=k,
        where=where,
        target=target,
        min_score=parse_min_score(min_score),
        hybrid=hybrid,
    )
    with open_for_search(name, device) as index:
        hits = index.answer(request)
        by_caption = target == "caption" and not index.info()["captions"]
        if by_caption or (hybrid and not index.items("caption is not null", limit=1)):
            note(f"{index.path.name} holds no captions to match")
        print_hits(hits, "paths" if null else output, request.query, null=null)


def build_query(
    text: str | None,
    *,
    images: Sequence[str] = (),
    items: Sequence[str] = (),
    add: Sequence[str] = (),
    subtract: Sequence[str] = (),
    subtract_images: Sequence[str] = (),
) -> Query:
    """One query of the words, images and items that the flags name, with their weights."""
    wanted = [Query.text(text)] if text is not None else []
    wanted += [*map(_words, add), *map(_image, images), *map(_item, items)]
    if not wanted:
        raise InvalidInputError(
            "nothing to look for; give words, --image FILE, --item ID or --add WORDS"
        )
    return Query.combine(wanted, [*map(_words, subtract), *map(_image, subtract_images)])


def _words(given: str) -> Query:
    return Query.text(*_weighed(given))


def _weighed(given: str) -> tuple[str, float]:
    """Split "at sunset^0.5" into words and weight; without a weight it is 1."""
    value, mark, weight = given.rpartition("^")
    if not mark:
        return given, 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidInputError(
            f"the weight after ^ must be a number above 0, as in 'cars^0.5', not {weight!r}"
        )
    return value, number


def _image(given: str) -> Query:
    if Path(given).expanduser().is_file():  # whatever signs its name has
        return Query.image(Path(given).expanduser())
    name, weight = _weighed(given)
    path = Path(name).expanduser()
    if not path.is_file():
        raise InvalidInputError(f"no image file at {path}")
    return Query.image(path, weight)


def _item(given: str) -> Query:
    number, weight = _weighed(given)
    if not number.isdecimal():
        raise InvalidInputError(f"--item takes an item ID as search prints it, not {number!r}")
    return Query.item(int(number), weight)


def parse_min_score(value: str | None) -> float | Literal["auto"] | None:
    """A cosine, "auto" or nothing."""
    if value is None:
        return None
    if value == "auto":
        return "auto"
    try:
        return float(value)
    except ValueError as exc:
        raise InvalidInputError(f"--min-score takes a number or 'auto', not {value!r}") from exc


def open_for_search(name: str | None, device: str = "auto") -> clipsearch.Index:
    """Open an index; its model is loaded only when something has to be encoded."""
    return clipsearch.Index.open(
        existing_index(name), load=partial(load_text_encoder, device=device)
    )


def print_hits(hits: Hits, output: HitsFormat, query: Query, *, null: bool = False) -> None:
    """Print hits on stdout in the format asked for."""
    if output == "json":
        print_json(
            {
                "query": [_term_document(term) for term in query.terms],
                **hits_document(hits, hit_document),
            }
        )
    elif output == "jsonl":
        for hit in hits:
            print_json(hit_document(hit), indent=None)
    elif output == "paths":
        end = "\0" if null else "\n"
        sys.stdout.write("".join(f"{hit.item.path or hit.item.key}{end}" for hit in hits))
    elif not hits:
        note("no hits")
    else:
        print_hit_table(hits)


def _term_document(term: Term) -> dict[str, Any]:
    """A part of a query as JSON."""
    value = str(term.value) if term.kind == "image" else term.value
    return {term.kind: value, "weight": term.weight}
