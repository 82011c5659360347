"""Annotations of COCO and of those that write like it, as rows of a table."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import PurePath
from typing import Any

__all__ = ["folders", "is_coco", "rows"]


def is_coco(document: Any) -> bool:
    """Whether a JSON document lists `images` with the names of their files."""
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        return False
    images = document["images"]
    first = images[0] if images else None
    return isinstance(first, dict) and bool({"file_name", "filename"} & set(first))


def rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """One row an image: its file, its captions, one a line, and the categories of its objects.

    Karpathy's splits, whose images hold their sentences, are read too.
    """
    captions: dict[Any, list[str]] = {}
    categories: dict[Any, dict[str, None]] = {}
    names = {
        one.get("id"): str(one.get("name"))
        for one in _objects(document.get("categories"))
        if isinstance(one.get("id"), Hashable)
    }
    for one in _objects(document.get("annotations")):
        if not isinstance(one.get("image_id"), Hashable):
            continue
        if isinstance(one.get("caption"), str) and one["caption"].strip():
            captions.setdefault(one.get("image_id"), []).append(one["caption"].strip())
        category = one.get("category_id")
        if isinstance(category, Hashable) and category in names:
            of_image = categories.setdefault(one.get("image_id"), {})
            of_image[names[category]] = None
    return [
        _row(image, captions.get(name, []), list(categories.get(name, {})))
        for image in _objects(document["images"])
        for name in (image.get("id") if isinstance(image.get("id"), Hashable) else None,)
    ]


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list, or none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _row(image: dict[str, Any], captions: list[str], categories: list[str]) -> dict[str, Any]:
    name = image.get("file_name") or image.get("filename")
    folder = image.get("filepath")
    found = [*captions, *(
        str(one["raw"]).strip()
        for one in _objects(image.get("sentences"))
        if one.get("raw")
    )]  # fmt: skip
    row: dict[str, Any] = {
        "file_name": f"{folder}/{name}" if folder else name,
        "caption": "\n".join(found) or None,
    }
    for key in ("id", "imgid", "cocoid"):
        if key in image:
            row.setdefault("id", image[key])
    for key in ("date_captured", "license", "flickr_url", "coco_url", "split"):
        if image.get(key) not in (None, ""):
            row[key] = image[key]
    if categories:
        row["categories"] = categories
    return row


def folders(name: str) -> list[str]:
    """Where the images of an annotation file usually are, relative to its folder."""
    found = re.search(r"((?:train|val|test)\w*?)(?:\.json)?$", PurePath(name).stem)
    split = [found[1]] if found else []
    return [
        ".",
        *split,
        "images",
        *(
            f"{up}{folder}{one}"
            for up in ("../", "")
            for folder in ("", "images/")
            for one in split
        ),
        "../images",
        "..",
    ]
