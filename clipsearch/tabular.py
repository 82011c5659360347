"""Items as the columns of a table: their names, their types, and the DataFrame made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["arrow_type", "column_names", "data_frame", "frame_of_table"]


def column_names(extra: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """What the extra columns of items are called beside an item's own columns.

    One that is named like an item's own column is called `extra.NAME`, as in filters.
    """
    taken, names = set(own), dict[str, str]()
    for column in extra:
        name = column
        while name in taken:
            name = f"extra.{name}"
        taken.add(name)
        names[column] = name
    return names


def arrow_type(kind: Any) -> pa.DataType:
    """The Arrow type of an item's own column, which is a text, number, truth value or texts."""
    import pyarrow as pa

    known = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    found = next(
        (arrow for python, arrow in known.items() if kind in (python, python | None)), None
    )
    return pa.list_(pa.string()) if found is None else found


def data_frame(
    own: Mapping[str, Sequence[Any]],
    kinds: Mapping[str, Any],
    extra: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:
    """A DataFrame of items.

    Args:
        own: Values of an item's own columns.
        kinds: The Python types of these.
        extra: The extra columns of each item, as JSON has them.
    """
    import pyarrow as pa

    arrays = {
        name: pa.array([list(v) if isinstance(v, tuple) else v for v in values], arrow_type(kind))
        for (name, values), kind in zip(own.items(), kinds.values(), strict=True)
    }
    others: dict[str, list[Any]] = {}
    for column, name in column_names(dict.fromkeys(c for one in extra for c in one), own).items():
        values = [one.get(column) for one in extra]
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):  # of several types, or too large
            others[name] = values
    return frame_of_table(pa.table(arrays)).assign(
        **{name: _objects(values) for name, values in others.items()}
    )


def frame_of_table(table: pa.Table) -> pd.DataFrame:
    """A DataFrame of an Arrow table; whole numbers and truth values are of pandas' nullable types.

    Beside a missing value, numbers over 2^53 would otherwise be rounded.
    """
    import pandas as pd

    kinds = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    nullable = {kind: kind.replace("int", "Int").replace("uI", "UI") for kind in kinds}
    nullable["bool"] = "boolean"

    def dtype(kind: pa.DataType) -> Any:
        name = nullable.get(str(kind))
        return None if name is None else pd.api.types.pandas_dtype(name)

    frame: pd.DataFrame = table.to_pandas(types_mapper=dtype)
    return frame


def _objects(values: Sequence[Any]) -> Any:
    import pandas as pd

    return pd.Series(values, dtype=object)
