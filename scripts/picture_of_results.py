"""Draw `docs/images/search.png`: the demo's photos that real searches find.

python scripts/picture_of_results.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipsearch import Index, Query, load_encoder
from clipsearch.cli.demo import demo_photos
from clipsearch.images import load_image

QUERIES = ["a cat", "a cup of coffee", "a rocket launch", "wild animals", "a temple in China"]
TILE, GAP, LABEL = 200, 12, 240
OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "search.png"


def main() -> None:
    """Search the demo's photos and draw the three best of each query in a row."""
    encoder = load_encoder()
    with (
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder) / "photos", encoder) as index,
    ):
        index.add(demo_photos())
        rows = [(f"“{text}”", index.search(text, k=3)) for text in QUERIES]
        lion = next(photo for photo in demo_photos() if photo.name == "lion.jpg")
        query = Query.image(lion) + Query.text("spots") - Query.text("mane")
        found = [hit for hit in index.search(query, k=4) if hit.item.path != str(lion)]
        rows.append(("lion.jpg + “spots”\nminus “mane”", found[:3]))
    sheet = Image.new(
        "RGB", (LABEL + 3 * (TILE + GAP) + GAP, len(rows) * (TILE + GAP) + GAP), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(22), ImageFont.load_default(15)
    for y, (text, hits) in enumerate(rows):
        top = GAP + y * (TILE + GAP)
        draw.multiline_text((GAP, top + TILE // 2 - 16), text, "black", font)
        for x, hit in enumerate(hits):
            left = LABEL + x * (TILE + GAP)
            tile = ImageOps.fit(load_image(hit.item.path or ""), (TILE, TILE))
            sheet.paste(tile, (left, top))
            draw.rectangle((left, top + TILE - 22, left + 48, top + TILE), "white")
            draw.text((left + 6, top + TILE - 20), f"{hit.score:.2f}", "black", small)
    sheet.quantize(256).save(OUT, optimize=True)
    print(OUT)


if __name__ == "__main__":
    OUT.parent.mkdir(parents=True, exist_ok=True)
    main()
