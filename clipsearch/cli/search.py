"""`clipsearch search`: find images by words, by image, or by both."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import typer

import clipsearch

from ..documents import hit_document, hits_document
from ..errors import InvalidInputError
from ..locations import existing_index
from ..models import load_text_encoder
from ..ordering import Sort
from ..query import Query, Term
from ..request import SearchRequest
from ..types import Hits, Modality
from . import given
from .formats import HitsFormat, HitsOutput, ReportOutput
from .options import Device, IndexName, TrustModel, Wait
from .output import note, print_hit_table, print_item_table, print_json, print_paths, print_table
from .trust import may_load

__all__ = ["open_for_search", "print_hits", "saved_app", "search"]


def search(
    text: Annotated[
        str | None,
        typer.Argument(help="What to look for, in words, or the path or URL of an image."),
    ] = None,
    name: IndexName = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            help="Find images similar to this image: a file, an http(s) URL, or - for standard "
            "input. Repeatable.",
        ),
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
        typer.Option("--subtract-image", help="An image to steer away from. Repeatable."),
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
    sort: Annotated[
        Sort | None,
        typer.Option(
            help="Sort the hits: newest, largest, by name, or best first. Without a query, all "
            "that satisfies --where is sorted, by date unless told otherwise."
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort the other way round.")] = False,
    offset: Annotated[int, typer.Option(help="Number of hits to skip, for a next page.")] = 0,
    null: Annotated[
        bool,
        typer.Option(
            "-0", "--null", help="Print paths as they are, each ended by NUL, for xargs -0."
        ),
    ] = False,
    save: Annotated[
        str | None, typer.Option(help="Keep this search in the index under a name.")
    ] = None,
    saved: Annotated[
        str | None, typer.Option(help="Search again for what was kept under a name.")
    ] = None,
    device: Device = "auto",
    trust_model: TrustModel = False,
) -> None:
    """Search an index by words, by image, or by both; or list items by a filter alone.

    The value of a flag may end in ^ and a weight; without one its weight is 1, like that of TEXT.

    clipsearch search "a red bus" -i photos

    clipsearch search --image cat.jpg -i photos -k 5

    clipsearch search "a beach" -a "at sunset" -s people -i photos

    clipsearch search "a street" --image night.jpg^0.5 -s cars^0.3 -i photos

    curl -s https://example.org/cat.jpg | clipsearch search --image - -i photos

    clipsearch search --where "camera like '%iphone%'" --sort date -i photos

    clipsearch search "a red car" --where "width >= 800" --save "red cars" -i photos

    clipsearch search --saved "red cars" -i photos

    clipsearch search "a receipt" -f paths -0 | xargs -0 cp -t receipts/
    """
    query = build_query(
        text,
        images=image or [],
        items=item or [],
        add=add or [],
        subtract=subtract or [],
        subtract_images=subtract_image or [],
    )
    if saved is not None and (query is not None or where is not None or save is not None):
        raise InvalidInputError("--saved stands alone; it has words and a filter of its own")
    if query is None and where is None and sort is None and saved is None:
        raise InvalidInputError(
            "nothing to look for; give words, --image FILE, --item ID or --add WORDS, or list "
            "items with --where FILTER"
        )
    with open_for_search(name, device, trust_model=trust_model) as index:
        if saved is None:
            request = SearchRequest(
                query=query,
                k=k,
                where=where,
                target=target,
                min_score=parse_min_score(min_score),
                hybrid=hybrid,
                offset=offset,
                sort=sort,
                reverse=reverse,
            )
        else:
            request = replace(index.saved_search(saved), k=k, offset=offset)
            query, target, hybrid = request.query, request.target, request.hybrid
        hits = index.answer(request)
        if save is not None:
            with index.writer() as writer:
                writer.save_search(save, replace(request, k=10, offset=0))
            note(f"saved; search again with: --saved {save!r}")
        by_caption = target == "caption" and not index.info()["captions"]
        if by_caption or (hybrid and not index.items("caption is not null", limit=1)):
            note(f"{index.path.name} holds no captions to match")
        print_hits(hits, "paths" if null else output, query, null=null)


def build_query(
    text: str | None,
    *,
    images: Sequence[str] = (),
    items: Sequence[str] = (),
    add: Sequence[str] = (),
    subtract: Sequence[str] = (),
    subtract_images: Sequence[str] = (),
) -> Query | None:
    """One query of the words, images and items that the flags name, with their weights.

    Returns:
        The query, or None where nothing is named.
    """
    wanted = [given.words(text, weighed=False)] if text is not None else []
    wanted += [*map(given.words, add), *map(given.image, images), *map(given.item, items)]
    unwanted = [*map(given.words, subtract), *map(given.image, subtract_images)]
    if not wanted and unwanted:
        raise InvalidInputError(
            "nothing to look for, only something to steer away from; give words, --image FILE, "
            "--item ID or --add WORDS"
        )
    return Query.combine(wanted, unwanted) if wanted else None


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


def open_for_search(
    name: str | None, device: str = "auto", *, trust_model: bool = False
) -> clipsearch.Index:
    """Open an index; its model is loaded only when something has to be encoded."""

    def load(model: str, fingerprint: str) -> clipsearch.Encoder:
        trust = may_load(model, trust_model)
        return load_text_encoder(model, fingerprint, device=device, trust=trust)

    return clipsearch.Index.open(existing_index(name), load=load)


def print_hits(hits: Hits, output: HitsFormat, query: Query | None, *, null: bool = False) -> None:
    """Print hits on stdout in the format asked for; that nothing fits well is said on stderr."""
    if output == "json":
        terms = query.terms if query is not None else ()
        document = hits_document(hits, hit_document)
        print_json({"query": [_term_document(term) for term in terms], **document})
        return
    if output == "jsonl":
        for hit in hits:
            print_json(hit_document(hit), indent=None)
    elif output == "paths":
        print_paths([hit.item.path or hit.item.key for hit in hits], null=null)
    elif not hits:
        note("no hits")
    elif query is None:
        print_item_table(hit.item for hit in hits)
    else:
        print_hit_table(hits)
    if hits.weak:
        sys.stdout.flush()
        note("nothing fits well: the best hits score no better than unrelated images do")


def _term_document(term: Term) -> dict[str, Any]:
    """A part of a query as JSON."""
    value = term.value
    if term.kind == "image":
        value = value.name if isinstance(value, given.ReceivedImage) else str(value)
    return {term.kind: value, "weight": term.weight}


saved_app = typer.Typer(
    no_args_is_help=True, help="List and delete the searches that `search --save` keeps."
)


@saved_app.command("list")
def list_command(name: IndexName = None, output: ReportOutput = "table") -> None:
    """List the saved searches of an index.

    clipsearch saved list -i photos

    clipsearch search --saved "red cars" -i photos
    """
    with clipsearch.Index.open(existing_index(name)) as index:
        searches = index.saved_searches()
    if output == "json":
        print_json({"searches": [asdict(one) for one in searches]})
    elif searches:
        rows = [[one.name, _told(one.request), one.saved_at] for one in searches]
        print_table(["search", "looks for", "saved"], rows)
    else:
        note('there are no saved searches; keep one with: clipsearch search "a dog" --save dogs')


@saved_app.command("delete")
def delete(
    search: Annotated[str, typer.Argument(metavar="NAME", help="Name of the saved search.")],
    name: IndexName = None,
    wait: Wait = False,
) -> None:
    """Delete a saved search.

    clipsearch saved delete "red cars" -i photos
    """
    with (
        clipsearch.Index.open(existing_index(name)) as index,
        index.writer(wait=wait) as writer,
    ):
        writer.delete_search(search)
    note(f"deleted the saved search {search}")


def _told(request: Mapping[str, Any]) -> str:
    """What a saved search looks for, in one line."""
    parts = [
        f"{'-' if term.get('weight', 1) < 0 else ''}{next(iter(term.values()))}"
        if "vector" not in term
        else "a vector"
        for term in request.get("terms", ())
    ]
    named = [f"{name}: {value}" for name, value in request.items() if name != "terms"]
    return ", ".join(parts + named)
