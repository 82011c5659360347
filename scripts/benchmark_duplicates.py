"""How well copies are told from look-alikes: planted copies of photos, and drawings all different.

1,000 photos, of which 100 have copies (smaller, compressed, cropped, brighter, as PNG, rotated
with an EXIF tag), and 60 documents and logos, every one another, are indexed together with the
bundled model and grouped by `Index.duplicates` as it is by default. Precision: of the members of
groups, the share that shows the same picture as its leader. Recall: of the copies, the share that
is in the group of its original.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

PRECISION, RECALL = 0.98, 0.9
WITHOUT_BAR = ("a quarter of the size",)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_WORDS = """
    apple basket bread candle coffee door drawer elbow engine feather flour garden glass hammer
    honey ink island jacket jam kettle key lamp lemon milk mirror nail napkin olive oven paper
    pencil quilt ribbon rope soap sugar table tea umbrella urn vase velvet window wool zipper
""".split()  # noqa: SIM905 - a list of them would take a screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("CLIPSEARCH_DATA"),
        help="folder of photos; by default $CLIPSEARCH_DATA",
    )
    parser.add_argument("--photos", type=int, default=1000, help="number of photos")
    parser.add_argument("--copied", type=int, default=100, help="of these, with planted copies")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    from clipsearch import Index, load_encoder

    if arguments.data is None:
        raise SystemExit("give --data DIR, a folder of photos, or set CLIPSEARCH_DATA")
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        library = Path(temporary) / "library"
        library.mkdir()
        photos = _chosen(Path(arguments.data).expanduser(), arguments.photos, rng)
        copied = set(rng.sample(range(len(photos)), min(arguments.copied, len(photos))))
        planted = 0
        for number, path in enumerate(photos):
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
            image.save(library / f"photo{number:05}.original.jpg", quality=95)
            if number in copied:
                planted += plant(image, library, f"photo{number:05}", rng)
        drawn = list(drawings(rng))
        for number, image in enumerate(drawn):
            image.save(library / f"drawing{number:03}.original.png")
        encoder = load_encoder("clipsearch-mini", device="cpu")
        with Index.create(Path(temporary) / "index", encoder) as index:
            index.add(library)
            started = time.perf_counter()
            groups = index.duplicates()
            seconds = time.perf_counter() - started
    print(f"{len(photos)} photos, {planted} copies of {len(copied)}, {len(drawn)} drawings")
    return _reported(groups, seconds, copied)


def _chosen(folder: Path, count: int, rng: random.Random) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    rng.shuffle(found)
    photos: list[Path] = []
    for path in found:
        try:
            with Image.open(path) as image:
                image.verify()
                if min(image.size) >= 150 and image.mode in ("RGB", "L"):
                    photos.append(path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        if len(photos) == count:
            break
    return photos


def plant(image: Image.Image, folder: Path, name: str, rng: random.Random) -> int:
    """Write the copies of a photo; returns how many."""
    width, height = image.size
    box_width, box_height = round(width * 0.92), round(height * 0.92)
    left, top = rng.randint(0, width - box_width), rng.randint(0, height - box_height)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    copies = {
        "half the size": (image.resize((width // 2, height // 2)), "jpg", {"quality": 88}),
        "a quarter of the size": (image.resize((width // 4, height // 4)), "jpg", {"quality": 88}),
        "JPEG quality 40": (image, "jpg", {"quality": 40}),
        "crop to 92 %": (
            image.crop((left, top, left + box_width, top + box_height)),
            "jpg",
            {"quality": 88},
        ),
        "brighter": (ImageEnhance.Brightness(image).enhance(1.3), "jpg", {"quality": 88}),
        "darker": (ImageEnhance.Brightness(image).enhance(0.7), "jpg", {"quality": 88}),
        "as PNG": (image, "png", {}),
        "rotated, with EXIF": (
            image.transpose(Image.Transpose.ROTATE_90),
            "jpg",
            {"quality": 95, "exif": rotated},
        ),
    }
    for what, (copy, suffix, options) in copies.items():
        copy.save(folder / f"{name}.{what}.{suffix}", **options)
    return len(copies)


def _reported(groups: list, seconds: float, copied: set[int]) -> int:
    right, wrong = 0, []
    group_of: dict[str, int] = {}
    for number, group in enumerate(groups):
        pictures = [Path(member.item.path or "").name.split(".")[0] for member in group]
        for member, picture in zip(group, pictures, strict=True):
            group_of[Path(member.item.path or "").stem] = number
            if member.kind != "leader":
                if picture == pictures[0]:
                    right += 1
                else:
                    wrong.append(f"{Path(group[0].item.path).name} with {member.item.path}")
    found: dict[str, list[bool]] = defaultdict(list)
    names = ("half the size", "a quarter of the size", "JPEG quality 40", "crop to 92 %")
    names += ("brighter", "darker", "as PNG", "rotated, with EXIF")
    for number in copied:
        original = group_of.get(f"photo{number:05}.original")
        for what in names:
            copy = group_of.get(f"photo{number:05}.{what}", -1)
            found[what].append(copy == original)
    precision = right / (right + len(wrong)) if right + len(wrong) else 1.0
    print(f"{len(groups)} groups in {seconds:.1f} s")
    lines = [("precision", precision, PRECISION)]
    lines += [
        (f"recall, {what}", sum(ends) / len(ends), None if what in WITHOUT_BAR else RECALL)
        for what, ends in found.items()
    ]
    missed = 0
    for what, value, bar in lines:
        verdict = "" if bar is None else "met" if value >= bar else "missed"
        missed += verdict == "missed"
        print(f"{what:32} {value:.3f}  {'' if bar is None else f'bar {bar}'}  {verdict}")
    for pair in wrong[:20]:
        print(f"wrong: {pair}")
    return int(missed > 0)


# --- drawings -----------------------------------------------------------------------------------


def drawings(rng: random.Random) -> Iterator[Image.Image]:
    """60 documents and logos, every one another."""
    for _ in range(12):
        yield receipt(rng)
    for _ in range(12):
        yield page(rng)
    for _ in range(8):
        yield slide(rng)
    for number in range(8):
        yield screenshot(rng, number // 4)
    for color in ((255, 255, 255), (15, 15, 15)):
        for _ in range(7):
            yield logo(rng, color)
    for _ in range(6):
        yield line_art(rng)


def receipt(rng: random.Random) -> Image.Image:
    """The receipt of a shop, with other items and prices each time."""
    image = Image.new("RGB", (600, 900), "white")
    draw = ImageDraw.Draw(image)
    draw.text((180, 30), "CORNER SHOP", font=_font(36), fill="black")
    draw.text((180, 80), "12 Main Street", font=_font(22), fill="black")
    top = 150
    for _ in range(16):
        draw.text((50, top), f"{_some(rng, 2)}", font=_font(26), fill="black")
        price = f"{rng.randint(1, 99)}.{rng.randint(0, 99):02}"
        draw.text((460, top), price, font=_font(26), fill="black")
        top += 36
    draw.line((50, top, 550, top), fill="black", width=2)
    draw.text((50, top + 20), "TOTAL", font=_font(32), fill="black")
    draw.text((430, top + 20), f"{rng.randint(50, 400)}.00", font=_font(32), fill="black")
    return image


def page(rng: random.Random) -> Image.Image:
    """A page of text."""
    image = Image.new("RGB", (800, 1100), "white")
    draw = ImageDraw.Draw(image)
    for line in range(34):
        draw.text((70, 70 + 28 * line), _some(rng, 9), font=_font(20), fill="black")
    return image


def slide(rng: random.Random) -> Image.Image:
    """A slide of one template."""
    image = Image.new("RGB", (960, 540), (245, 247, 250))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 960, 80), fill=(30, 60, 120))
    draw.text((40, 20), _some(rng, 3).title(), font=_font(40), fill="white")
    for line in range(4):
        top = 130 + 80 * line
        draw.ellipse((60, top + 10, 72, top + 22), fill=(30, 60, 120))
        draw.text((90, top), _some(rng, 5), font=_font(28), fill=(40, 40, 40))
    return image


def screenshot(rng: random.Random, of: int) -> Image.Image:
    """A window; those of one number differ in one line each."""
    same = random.Random(of)
    image = Image.new("RGB", (1280, 720), (250, 250, 250))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 1280, 50), fill=(60, 60, 70))
    draw.rectangle((0, 50, 220, 720), fill=(235, 235, 240))
    for line in range(12):
        draw.text((20, 80 + 40 * line), same.choice(_WORDS), font=_font(20), fill=(70, 70, 70))
    own = rng.randrange(18)
    for line in range(18):
        text, other = _some(same, 9), _some(rng, 9)
        text = other if line == own else text
        draw.text((260, 80 + 34 * line), text, font=_font(20), fill=(20, 20, 20))
    return image


def logo(rng: random.Random, color: tuple[int, int, int], size: int = 400) -> Image.Image:
    """A shape of one color on a transparent ground."""
    image = Image.new("RGBA", (size, size), (*color, 0))
    draw = ImageDraw.Draw(image)
    points = rng.randint(3, 9)
    start, inner = rng.uniform(0, 6), rng.uniform(0.08, 0.36)
    star = [
        (
            size / 2 + size * (inner if n % 2 else 0.42) * math.cos(start + n * math.pi / points),
            size / 2 + size * (inner if n % 2 else 0.42) * math.sin(start + n * math.pi / points),
        )
        for n in range(2 * points)
    ]
    draw.polygon(star, fill=(*color, 255))
    for _ in range(rng.randint(1, 3)):
        left, top, side = rng.randint(20, 260), rng.randint(20, 260), rng.randint(40, 120)
        draw.rounded_rectangle((left, top, left + side, top + side), 16, fill=(*color, 255))
    return image


def line_art(rng: random.Random, size: int = 500) -> Image.Image:
    """Black lines on white."""
    image = Image.new("L", (size, size), 255)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(6, 12)):
        line = [(rng.randint(20, size - 20), rng.randint(20, size - 20)) for _ in range(3)]
        draw.line(line, fill=0, width=rng.randint(2, 5), joint="curve")
        x, y, radius = rng.randint(50, 400), rng.randint(50, 400), rng.randint(10, 70)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=3)
    return image


def _some(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
