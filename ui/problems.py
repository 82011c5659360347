"""What an error says to a visitor, in their language."""

from __future__ import annotations

from clipsearch.errors import ClipSearchError, IndexNotFoundError, InvalidInputError

from .strings import STRINGS, Words

__all__ = ["CollectionGoneError", "PageError", "explained"]


class PageError(InvalidInputError):
    """What a visitor asked for cannot be done, said with the page's own words.

    Args:
        key: Of the words.
        values: For the places in them.
    """

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(Words("en")(key, **values))
        self.key = key
        self.values = values


class CollectionGoneError(IndexNotFoundError):
    """The page shows no collection of that name, or its folder is gone.

    Args:
        name: Its short name; a visitor is told neither where it was nor which others there are.
    """

    def __init__(self, name: str) -> None:
        super().__init__(Words("en")("problem.gone", name=name))
        self.name = name


def explained(error: ClipSearchError | OSError, words: Words) -> str:
    """What to say about an error.

    The page's own errors are said in the visitor's language, and so are those whose class says it
    all. The library explains others in English; then a line in that language comes first.
    """
    if isinstance(error, PageError):
        return words(error.key, **error.values)
    if isinstance(error, CollectionGoneError):
        return words("problem.gone", name=error.name)
    key = f"problem.{getattr(error, 'code', 'storage')}"
    return words(key if key in STRINGS else "problem.other", detail=error)
