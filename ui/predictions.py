"""The labels of images with their probabilities, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from clipsearch import Prediction

from .dataurls import csv_url
from .given_images import EncodedImage
from .render import escape
from .strings import Words

__all__ = ["bars", "table"]

_LISTED = 3  # labels per image in the table


def bars(image: EncodedImage, found: Sequence[Prediction], words: Words) -> str:
    """Probabilities of one image as bars."""
    rows = "".join(
        f'<li{" class=cs-best" if place == 0 else ""}><span class="cs-barlabel">'
        f"{escape(_said(p.label, words))}</span>"
        f'<span class="cs-bartrack"><span style="width:{100 * p.probability:.1f}%"></span></span>'
        f'<span class="cs-barvalue">{100 * p.probability:.1f} %</span></li>'
        for place, p in enumerate(found)
    )
    return (
        f'<figure class="cs-barfigure"><img src="{image.thumb}" alt="{escape(image.name)}">'
        f"<figcaption>{escape(image.name)}{_why(image, found, words)}</figcaption></figure>"
        f'<ol class="cs-bars" aria-label="{words("classify.probabilities")}">{rows}</ol>'
    )


def table(
    images: Sequence[EncodedImage], found: Sequence[Sequence[Prediction]], words: Words
) -> str:
    """The best labels of many images, with a CSV file to download."""
    file: list[tuple[str, ...]] = [("picture", "label", "probability", "score")]
    rows = []
    for image, predictions in zip(images, found, strict=True):
        for p in predictions:
            file.append((image.name, p.label, f"{p.probability:.6f}", f"{p.score:.6f}"))
        cells = "".join(
            f"<td>{escape(_said(p.label, words))} <span class='cs-score'>"
            f"{100 * p.probability:.0f} %</span></td>"
            for p in predictions[:_LISTED]
        )
        rows.append(
            f'<tr><th scope="row"><img src="{image.thumb}" alt=""> {escape(image.name)}'
            f"{_why(image, predictions, words)}</th>{cells}</tr>"
        )
    heads = "".join(
        f'<th scope="col">{words(f"classify.column_{place}")}</th>' for place in range(_LISTED + 1)
    )
    return (
        f'<div class="cs-tablebox" tabindex="0" role="region" '
        f'aria-label="{words("classify.probabilities")}"><table class="cs-table"><thead><tr>{heads}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<a class="cs-button" download="classification.csv" href="{csv_url(file)}">'
        f"{words('classify.csv')}</a>"
    )


def _why(image: EncodedImage, found: Sequence[Prediction], words: Words) -> str:
    """A button that shows where the image fits its best label; the page still has the image."""
    label = next((p.label for p in found if p.label != "none of these"), "")
    said = words("classify.why", name=escape(image.name))
    return (
        f' <button type="button" class="cs-link" data-why="{escape(image.key)}" '
        f'data-text="{escape(label)}" aria-label="{said}">{words("item.why")}</button>'
        if image.key
        else ""
    )


def _said(label: str, words: Words) -> str:
    return words("classify.none_label") if label == "none of these" else label
