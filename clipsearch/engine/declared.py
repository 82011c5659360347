"""What tables have said of their columns: for what they are, and their Arrow types."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from .columns import type_of_text, type_text, unified

__all__ = ["FRAME", "TABLES", "arrow_types", "declare", "undeclared"]

# The document with the columns of every table by the table's name: `image`, `caption`, `ids`.
TABLES = "tables"
# The name of a table that is no file: keys of its rows begin so, or are the paths of their files.
FRAME = "table"

Types = Mapping[str, tuple[str | None, str | None]]  # Arrow type and type in filters, by column


def arrow_types(conn: sqlite3.Connection) -> dict[str, str | None]:
    """Arrow types of the extra columns, as `columns.type_text` writes them, in their order."""
    return dict(conn.execute("SELECT name, arrow FROM extra_fields ORDER BY position, name"))


def undeclared(conn: sqlite3.Connection, types: Types) -> dict[str, tuple[str, str | None]]:
    """Those of some columns that the catalog does not know so yet, with the type they have now."""
    known = arrow_types(conn)
    new: dict[str, tuple[str, str | None]] = {}
    for name, (arrow, kind) in types.items():
        if arrow is None or known.get(name) == arrow:
            continue
        old = known.get(name)
        if old is not None:
            both = unified(type_of_text(old), type_of_text(arrow))
            if both is None or (text := type_text(both)) == old:
                continue  # an export looks at the values
            arrow = text
        new[name] = (arrow, kind)
    return new


def declare(conn: sqlite3.Connection, types: Mapping[str, tuple[str, str | None]]) -> None:
    """Keep the types of columns; what values have said of one stays true."""
    (last,) = conn.execute("SELECT coalesce(max(position), 0) FROM extra_fields").fetchone()
    conn.executemany(
        "INSERT INTO extra_fields (name, type, arrow, position) VALUES (?, ?, ?, ?) "
        # Texts that were kept before are what they are declared to be now; numbers get wider.
        "ON CONFLICT (name) DO UPDATE SET arrow = excluded.arrow, type = CASE "
        "WHEN type = 'text' AND extra_fields.arrow IS NULL "
        "AND excluded.type IN ('decimal', 'time') "
        "OR type IN ('integer', 'number') AND excluded.type = 'decimal' "
        "OR type = 'integer' AND excluded.type = 'number' THEN excluded.type ELSE type END",
        (
            (name, kind or "", arrow, position)
            for position, (name, (arrow, kind)) in enumerate(types.items(), last + 1)
        ),
    )
