"""A search as a value, which every kind of index answers."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from .errors import InvalidInputError
from .ordering import SORTS, Sort
from .query import Query
from .types import Hits, Modality
from .vectors import check_vectors

if TYPE_CHECKING:
    from .query import QueryLike

__all__ = ["MAX_K", "SearchOptions", "SearchRequest", "Searchable", "queries_of"]

MAX_K = 100_000  # hits with their items are held in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """Everything that a search asks; `Searchable.search` says what each part means.

    Raises:
        InvalidInputError: A value is outside what a search accepts.
    """

    query: Query | None = None  # None lists what satisfies `where`
    k: int = 10
    where: str | None = None
    target: Modality = "image"
    min_score: float | Literal["auto"] | None = None
    hybrid: bool = False
    exact: bool = False
    offset: int = 0
    sort: Sort | None = None
    reverse: bool = False

    def __post_init__(self) -> None:
        self._check_listing()
        if self.where is not None and not isinstance(self.where, str):
            raise InvalidInputError(
                f"where must be a text such as 'width >= 800', got {self.where!r}"
            )
        for name in ("k", "offset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise InvalidInputError(f"{name} must be a whole number, got {value!r}")
            object.__setattr__(self, name, int(value))
        if self.k < 1 or self.offset < 0 or self.k + self.offset > MAX_K:
            raise InvalidInputError(
                f"k must be at least 1, offset at least 0 and their sum at most {MAX_K}, got "
                f"k={self.k} and offset={self.offset}"
            )
        if self.target not in get_args(Modality):
            raise InvalidInputError(f"target must be 'image' or 'caption', got {self.target!r}")
        limit = self.min_score
        if limit not in (None, "auto") and (
            isinstance(limit, str | bool) or not math.isfinite(float(limit))
        ):
            raise InvalidInputError(f"min_score must be a number or 'auto', got {limit!r}")

    def _check_listing(self) -> None:
        if self.sort is not None and self.sort not in SORTS:
            raise InvalidInputError(f"sort must be one of {', '.join(SORTS)}, got {self.sort!r}")
        if not isinstance(self.reverse, bool):
            raise InvalidInputError(f"reverse must be true or false, got {self.reverse!r}")
        if self.query is not None:
            return
        if self.sort is None and (self.where is None or not str(self.where).strip()):
            raise InvalidInputError(
                "nothing to look for; give words, an image or an item, or a filter to list what "
                "satisfies it"
            )
        if self.sort == "score" or self.min_score is not None or self.hybrid:
            raise InvalidInputError(
                "a list without a query has no scores; sort it by date, size or name, without "
                "min_score and hybrid"
            )

    @property
    def looked_for(self) -> Query:
        """The query.

        Raises:
            InvalidInputError: There is none.
        """
        if self.query is None:
            raise InvalidInputError("nothing to look for; give words, an image or an item")
        return self.query

    @property
    def order(self) -> Sort:
        """How the hits are sorted."""
        return self.sort or ("date" if self.query is None else "score")

    @property
    def sorts_all(self) -> bool:
        """Whether all hits are sorted that score enough, and not only the k best."""
        return self.query is not None and self.order != "score" and self.min_score is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the query, by name; requests that agree in it are answered together."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def to_dict(self) -> dict[str, Any]:
        """The search as JSON-able data, which `POST .../search` takes as well.

        Raises:
            InvalidInputError: The query holds an image.
        """
        query = {} if self.query is None else self.query.to_dict()
        said = self.parameters
        return {**query, **{name: said[name] for name in said if said[name] != _DEFAULTS[name]}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchRequest:
        """Read what `to_dict` wrote.

        Raises:
            InvalidInputError: The data is not of that form, or asks what no search does.
        """
        query = Query.from_dict(data) if "terms" in data else None
        said = {name: value for name, value in data.items() if name != "terms"}
        if unknown := said.keys() - _DEFAULTS.keys():
            raise InvalidInputError(f"a search knows no {', '.join(sorted(unknown))}")
        return cls(query=query, **said)


_DEFAULTS = {field.name: field.default for field in fields(SearchRequest) if field.name != "query"}
PARAMETERS = tuple(_DEFAULTS)


class SearchOptions(TypedDict, total=False):
    """What `search` takes besides the query and `k`, for those who hand it on."""

    where: str | None
    target: Modality
    min_score: float | Literal["auto"] | None
    hybrid: bool
    exact: bool
    offset: int
    sort: Sort | None
    reverse: bool


def queries_of(queries: Iterable[QueryLike | None] | npt.NDArray[Any]) -> list[Query | None]:
    """Several queries, or the rows of a matrix of vectors [n, dim], one by one.

    Raises:
        InvalidInputError: A single query is not in a list, or one is of no known kind.
    """
    return [None if query is None else Query.of(query) for query in _several(queries)]


def _several(queries: Iterable[QueryLike | None] | npt.NDArray[Any]) -> list[QueryLike | None]:
    if isinstance(queries, str | bytes | Mapping | os.PathLike | Query):
        raise InvalidInputError("search_many takes a list of queries; wrap a single one in [ ]")
    if not hasattr(queries, "shape") or np.asarray(queries).dtype.kind not in "fiu":
        return list(queries)
    matrix = np.asarray(queries)
    if matrix.ndim != 2:
        raise InvalidInputError(
            f"a matrix of query vectors has the shape [n, dim], not {list(matrix.shape)}; "
            "search takes a single vector"
        )
    return list(check_vectors(matrix, matrix.shape[1], what="the vectors of the queries"))


class Searchable(ABC):
    """What can be searched: an index here, on a server or on a cluster."""

    @abstractmethod
    def answer(self, request: SearchRequest) -> Hits:
        """Answer a request; `search` makes one of its arguments."""

    def answer_many(self, requests: Sequence[SearchRequest]) -> list[Hits]:
        """Answer several requests, in order."""
        return [self.answer(request) for request in requests]

    def search(
        self,
        query: QueryLike | None = None,
        k: int = 10,
        *,
        where: str | None = None,
        target: Modality = "image",
        min_score: float | Literal["auto"] | None = None,
        hybrid: bool = False,
        exact: bool = False,
        offset: int = 0,
        sort: Sort | None = None,
        reverse: bool = False,
    ) -> Hits:
        """Find the items that fit a query best.

        Args:
            query: A text, a `Query`, a vector [dim], a PIL image, the `Path` or bytes of an image
                file, or what `Query.to_dict` gave. None lists all that satisfies `where`, by date.
            k: Maximum number of hits, at least 1.
            where: Only items that satisfy this expression, such as
                `width >= 800 and taken_at >= '2024-01-01'`; see `fields`.
            target: Whether image or caption vectors are searched.
            min_score: Minimum similarity (-1 to 1); "auto" drops hits that score no better than
                unrelated pairs do (with `hybrid`, unless a rare word is in their captions).
            hybrid: Whether to fuse the ranking with a keyword ranking of the captions. Hits are
                then ordered by that fusion, not by score. Words that most captions have do not
                count.
            exact: Whether to compare with every vector, not by the approximate (ANN) index.
            offset: Number of hits to skip, for a next page.
            sort: "date" (newest first), "size" (largest file first), "name" (A to Z) or "score".
                With a query and `min_score`, all hits that score enough are sorted as a whole;
                without `min_score` the k best hits are found first and then sorted, so each page
                is sorted by itself. A list without a query is sorted as a whole. Items without a
                date or size come last.
            reverse: Whether to sort the other way round.

        Returns:
            As many hits as there are, at most k: best first unless `sort` says otherwise, ties by
            ascending id, all of one committed state. `hits.weak` says that nothing fits well.

        Raises:
            InvalidInputError: A bad query, expression or number.
            ItemNotFoundError: The query names an item that is not there.
            ImageDecodeError: An image of the query cannot be read.
            ClipSearchError: The index cannot be read or reached.
        """
        return self.search_many(
            [query],
            k,
            where=where,
            target=target,
            min_score=min_score,
            hybrid=hybrid,
            exact=exact,
            offset=offset,
            sort=sort,
            reverse=reverse,
        )[0]

    def search_many(
        self,
        queries: Iterable[QueryLike | None] | npt.NDArray[Any],
        k: int = 10,
        *,
        where: str | None = None,
        target: Modality = "image",
        min_score: float | Literal["auto"] | None = None,
        hybrid: bool = False,
        exact: bool = False,
        offset: int = 0,
        sort: Sort | None = None,
        reverse: bool = False,
    ) -> list[Hits]:
        """`search` for several queries; an `Index` encodes and scores them together.

        They may be a matrix of vectors [n, dim], which need not be normalised.

        Returns:
            What `search` returns, for each query in order.

        Raises:
            InvalidInputError: As `search`, or a single query is not in a list.
        """
        return self.answer_many(
            [
                SearchRequest(
                    query=query,
                    k=k,
                    where=where,
                    target=target,
                    min_score=min_score,
                    hybrid=hybrid,
                    exact=exact,
                    offset=offset,
                    sort=sort,
                    reverse=reverse,
                )
                for query in queries_of(queries)
            ]
        )
