"""Relevance feedback: a query moved towards what was liked and away from what was not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InvalidInputError
from ..query import MAX_TERMS, Query

__all__ = ["LIKED_WEIGHT", "ORIGINAL_WEIGHT", "UNLIKED_WEIGHT", "refine"]

# Source: Manning, Raghavan, Schuetze, "Introduction to Information Retrieval" (2008), section
# 9.1.1, whose values for Rocchio's formula these are.
ORIGINAL_WEIGHT = 1.0
LIKED_WEIGHT = 0.75
UNLIKED_WEIGHT = 0.15  # smaller, for what people do not want lies in all directions


def refine(query: Query | None, liked: Sequence[int] = (), unliked: Sequence[int] = ()) -> Query:
    """Rocchio's formula: the query, plus the mean of the liked, less the mean of the unliked.

    Args:
        query: What was asked; its terms together count as one vector of about unit length. None
            when only items were liked.
        liked: Ids of items that fit.
        unliked: Ids of items that do not.

    Raises:
        InvalidInputError: An item is both, there are too many, or there is nothing to look for.
    """
    both = sorted(set(liked) & set(unliked))
    if both:
        raise InvalidInputError(f"item {both[0]} is marked as fitting and as not fitting")
    terms = () if query is None else query.terms
    if len(terms) + len(liked) + len(unliked) > MAX_TERMS:
        raise InvalidInputError(
            f"{len(liked) + len(unliked)} marks are too many for one query; {MAX_TERMS} terms is "
            "the most, so start again from a result that fits"
        )
    parts: list[Query] = []
    if query is not None:
        length = math.sqrt(sum(term.weight**2 for term in terms))
        parts.append(query * (ORIGINAL_WEIGHT / length) if length else query)
    parts += [Query.item(row, LIKED_WEIGHT / len(liked)) for row in liked]
    if not any(term.weight > 0 for part in parts for term in part.terms):
        raise InvalidInputError("nothing to look for; add words, an image or a result that fits")
    return Query.combine(parts, [Query.item(row, UNLIKED_WEIGHT / len(unliked)) for row in unliked])
