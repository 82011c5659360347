"""Annotations of COCO and of those that write like it, as rows of a table."""

from __future__ import annotations

import re
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
        for one in document.get("categories") or ()
        if isinstance(one, dict)
    }
    for one in document.get("annotations") or ():
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("caption"), str) and one["caption"].strip():
            captions.setdefault(one.get("image_id"), []).append(one["caption"].strip())
        if one.get("category_id") in names:
            of_image = categories.setdefault(one.get("image_id"), {})
            of_image[names[one["category_id"]]] = None
    return [
        _row(image, captions.get(image.get("id"), []), list(categories.get(image.get("id"), {})))
        for image in document["images"]
        if isinstance(image, dict)
    ]


def _row(image: dict[str, Any], captions: list[str], categories: list[str]) -> dict[str, Any]:
    name = image.get("file_name") or image.get("filename")
    folder = image.get("filepath")
    found = [*captions, *(
        str(one["raw"]).strip()
        for one in image.get("sentences") or ()
        if isinstance(one, dict) and one.get("raw")
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
