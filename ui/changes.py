"""What the buttons of the Search tab change in a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .context import Context
from .given_images import read_image
from .render import item_name
from .spec import MAX_CHIPS, MEANT_LETTERS, Chip, SearchSpec, clamp_weight, pack_vector

__all__ = ["changed"]


def changed(spec: SearchSpec, data: Mapping[str, Any], context: Context) -> SearchSpec:
    """The search as a button, a slider or a given image of the page changes it.

    Args:
        spec: The search on show.
        data: What the page's script sent: `do` says what to do.
        context: Where items and models come from.

    Raises:
        ClipSearchError: The item is not there, or the image cannot be read.
    """
    do = data.get("do")
    place = int(data.get("place", -1))
    chips = list(spec.chips)
    if do == "vote":
        return _voted(_seen(spec, data), int(data["id"]), str(data["way"]))
    if do == "undo":
        return replace(spec, liked=(), unliked=())
    if do == "least":
        return replace(spec, min_score=_least(data.get("value")))
    if do in ("more", "less"):
        return _with_item(spec, int(data["id"]), 1.0 if do == "more" else -1.0, context)
    if do == "picture":
        return _with_image(spec, data, context)
    if do == "add" and str(data.get("text", "")).strip():
        chips.append(Chip("text", str(data["text"]).strip()[:300], clamp_weight(data["weight"])))
    elif 0 <= place < len(chips):
        if do == "remove":
            del chips[place]
        elif do == "weight":
            chips[place] = replace(chips[place], weight=clamp_weight(data.get("weight")))
    return replace(spec, chips=tuple(chips[:MAX_CHIPS]))


def _with_item(
    spec: SearchSpec,
    id: int,  # noqa: A002 - the word of Item.id
    weight: float,
    context: Context,
) -> SearchSpec:
    name = item_name(context.library.index(spec.index).item(id))[:40]
    others = [c for c in spec.chips if (c.kind, c.value) != ("item", str(id))]
    return replace(spec, chips=(*others, Chip("item", str(id), weight, name))[:MAX_CHIPS])


def _with_image(spec: SearchSpec, data: Mapping[str, Any], context: Context) -> SearchSpec:
    given = read_image(data, context.settings, context.words)
    encoder = context.library.index(spec.index).encoder
    vector = encoder.encode_images([given.image])[0]
    packed = pack_vector(vector, encoder.fingerprint)
    chip = Chip("vector", packed, 1.0, given.name, given.thumb)
    return replace(spec, chips=(*spec.chips, chip)[:MAX_CHIPS])


def _seen(spec: SearchSpec, data: Mapping[str, Any]) -> SearchSpec:
    """The search, which remembers the image that was seen under an id."""
    meant = str(data.get("meant", ""))[:MEANT_LETTERS]
    others = [pair for pair in spec.meant if pair[0] != int(data["id"])]
    return replace(spec, meant=(*others, (int(data["id"]), meant))) if meant else spec


def _voted(spec: SearchSpec, id: int, way: str) -> SearchSpec:  # noqa: A002
    """A mark set, or taken back where it is set already."""
    liked = [other for other in spec.liked if other != id]
    unliked = [other for other in spec.unliked if other != id]
    if way == "up" and id not in spec.liked:
        liked.append(id)
    if way == "down" and id not in spec.unliked:
        unliked.append(id)
    return replace(spec, liked=tuple(liked), unliked=tuple(unliked))


def _least(value: Any) -> Any:
    if value == "auto":
        return "auto"
    try:
        return min(max(float(value), -1.0), 1.0)
    except (TypeError, ValueError):
        return None
