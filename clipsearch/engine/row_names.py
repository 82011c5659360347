"""Which item a vector belongs to, where the row that it is stored under is not the item's own."""

from __future__ import annotations

import numpy as np

from ..vectors import Rows, is_in

__all__ = ["NO_RENAMED", "RowNames"]

NO_RENAMED: tuple[Rows, Rows] = (np.empty(0, np.int64), np.empty(0, np.int64))


class RowNames:
    """The pairs of rows that differ; all other vectors are stored under the row of their item.

    Args:
        vectors: Rows of vectors, int64 [n], ascending.
        items: Rows of the items that they belong to, int64 [n].
    """

    def __init__(self, vectors: Rows, items: Rows) -> None:
        order = np.argsort(items)
        self._by_vector = vectors, items
        self._by_item = items[order], vectors[order]

    def __bool__(self) -> bool:
        return bool(self._by_vector[0].size)

    def of_items(self, rows: Rows) -> Rows:
        """Rows of the items that vectors belong to, in the order of the vectors' rows."""
        return _replaced(rows, *self._by_vector)

    def of_vectors(self, rows: Rows) -> Rows:
        """Rows of the vectors of items, in the order of the items' rows; 0 for what is no item."""
        no_items = is_in(rows, self._by_vector[0])
        return _replaced(np.where(no_items, 0, rows), *self._by_item)


def _replaced(rows: Rows, old: Rows, new: Rows) -> Rows:
    if not old.size:
        return rows
    at = np.searchsorted(old, rows)
    at[at == old.size] = 0
    found: Rows = np.where(old[at] == rows, new[at], rows)
    return found
