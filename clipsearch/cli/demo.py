"""`clipsearch demo`: index, search and classify real photos, in under a minute and offline."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from time import perf_counter

import clipsearch

from ..errors import MissingExtraError
from ..locations import index_path
from ..models import BUNDLED_MODEL
from ..names import shown
from ..types import Hits
from .index import progress_bar, summarise
from .output import print_table, short_path

__all__ = ["demo", "demo_photos"]

# Photos that installed packages carry: package, folder, files.
_PHOTOS = (
    (
        "gradio",
        "media_assets/images",
        "bus.png cheetah.jpg cheetah1.jpg groot.jpeg lion.jpg tower.jpg",
    ),
    (
        "skimage",
        "data",
        "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png "
        "coins.png grass.png gravel.png horse.png hubble_deep_field.jpg ihc.png moon.png "
        "motorcycle_left.png page.png retina.jpg rocket.jpg text.png",
    ),
    ("sklearn", "datasets/images", "china.jpg flower.jpg"),
)
_SEARCHES = ("a cat", "a cup of coffee", "a rocket launch", "wild animals", "a temple in China")
_LABELS = (
    "cat",
    "dog",
    "flower",
    "rocket",
    "a person: astronaut, woman, man",
    "coffee",
    "bus",
    "lion",
)


def demo_photos() -> list[Path]:
    """The sample photos of installed packages, in a fixed order."""
    photos = []
    for package, folder, names in _PHOTOS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        base = Path(spec.origin).parent / folder
        photos += [base / name for name in names.split() if (base / name).is_file()]
    return photos


def demo() -> None:
    """Index, search and classify the sample photos of installed packages.

    clipsearch demo
    """
    started = perf_counter()
    photos = demo_photos()
    if len(photos) < 10:
        raise MissingExtraError(
            f"only {len(photos)} sample photos are installed; pip install 'clipsearch[demo]'"
        )
    print(f"1. Indexing {len(photos)} photos of the installed packages with {BUNDLED_MODEL}\n")
    encoder = clipsearch.load_encoder(BUNDLED_MODEL)
    path = index_path("demo")
    with clipsearch.Index.create(path, encoder, exist_ok=True) as index:
        with progress_bar() as progress:
            report = index.add(photos, progress=progress)
        print("\n".join(map(shown, summarise(report))))
        print("\n2. Searching by words: these photos have no captions\n")
        found = [(f"“{words}”", index.search(words, k=3)) for words in _SEARCHES]
        print_table(["you type", "best", "second", "third"], [_row(*row) for row in found])
        print("The numbers are similarities: 1 would be a perfect match, 0.2 is a weak one.\n")
        lion = next(photo for photo in photos if photo.name == "lion.jpg")
        print("3. Searching by an image, and by an image and words\n")
        with_words = (
            clipsearch.Query.image(lion)
            + clipsearch.Query.text("spots")
            - clipsearch.Query.text("mane")
        )
        by_image = [
            ("lion.jpg", index.search(clipsearch.Query.image(lion), k=4)),
            ("lion.jpg + “spots” - “mane”", index.search(with_words, k=4)),
        ]
        print_table(["you give", "best", "second", "third"], [_row(*row) for row in by_image])
        print("4. Classifying images without training (zero-shot)\n")
        names = ("chelsea.png", "flower.jpg", "coffee.png", "lion.jpg")
        chosen = [photo for photo in photos if photo.name in names]
        classifier = clipsearch.ZeroShotClassifier(encoder, _LABELS)
        print_table(
            ["image", "label", "next"],
            [
                [photo.name, *(f"{p.label} {p.probability:.0%}" for p in predictions)]
                for photo, predictions in zip(chosen, classifier.classify(chosen, k=2), strict=True)
            ],
        )
    print(f"Done in {perf_counter() - started:.1f} s. Now try:\n")
    commands = [
        ('clipsearch search "an animal" -i demo', "search these photos"),
        ("clipsearch ui -i demo", "search them in the browser"),
        ("clipsearch index ~/Pictures -i photos", "index your own photos"),
        ('clipsearch search "a dog on the beach" -i photos', "search your own photos"),
        ("clipsearch models list", "list better models than the bundled one"),
    ]
    if shutil.which("clipsearch") is None:  # as after `make demo`
        commands.insert(0, (f"source {short_path(sys.prefix)}/bin/activate", "once per terminal"))
    for command, purpose in commands:
        print(f"  {command:<52}# {purpose}")
    print(f"  clipsearch classify -l lion -l tiger -l cat {short_path(str(lion))}")


def _row(query: str, hits: Hits) -> list[str]:
    """A query and its three best hits, without the image of the query."""
    others = [hit for hit in hits if Path(hit.item.path or "").name != query.split(" ")[0]][:3]
    told = [f"{Path(hit.item.path or '').name}  {hit.score:.2f}" for hit in others]
    return [query, *told, *[""] * (3 - len(told))]
