"""The catalog's schema: creating it, recognising it, migrating it.

`PRAGMA application_id` says that a file is a catalog of ours and `PRAGMA user_version` in which
format version it is written. `indexes/README.md` explains every table.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping

from ..errors import IndexCorruptError, IndexVersionError
from ..names import stored
from ..passing import TROUBLE
from . import digests
from .file_facts import REMEDY
from .identity import advance, new_id
from .keywords import indexed

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "WORDS",
    "create",
    "definition",
    "migrate",
    "version_of",
]

APPLICATION_ID = 0x434C5053  # "CLPS"
FORMAT_VERSION = 5
_FILE_STATE = {"ctime_ns": "INTEGER", "inode": "INTEGER"}

_ITEMS = """
CREATE TABLE items (
    row INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    path TEXT,
    place TEXT,
    caption TEXT,
    sha256 TEXT,
    size_bytes INTEGER,
    mtime_ns INTEGER,
    ctime_ns INTEGER,
    inode INTEGER,
    device INTEGER,
    caption_from TEXT,
    beside TEXT,
    width INTEGER,
    height INTEGER,
    format TEXT,
    taken_at TEXT,
    camera TEXT,
    latitude REAL,
    longitude REAL,
    frame INTEGER,
    extra TEXT,
    has_image INTEGER NOT NULL,
    has_caption INTEGER NOT NULL,
    caption_row INTEGER,
    caption_words TEXT
) STRICT;
CREATE INDEX items_by_sha256 ON items (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX items_by_path ON items (path) WHERE path IS NOT NULL;
"""

_CAPTION_ROWS = """
CREATE UNIQUE INDEX IF NOT EXISTS items_by_caption_row ON items (caption_row)
    WHERE caption_row IS NOT NULL;
"""

WORDS = """
CREATE VIRTUAL TABLE words USING fts5 (
    caption, content = 'captions', content_rowid = 'row',
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
)
"""

# What keyword search reads: a caption with its words apart (`keywords.indexed`), or as it is.
_WORDS = (
    """
CREATE VIEW captions AS
SELECT row, coalesce(caption_words, caption) AS caption FROM items WHERE caption IS NOT NULL
""",
    WORDS,
    """
CREATE TRIGGER words_insert AFTER INSERT ON items WHEN new.caption IS NOT NULL BEGIN
    INSERT INTO words (rowid, caption) VALUES (new.row, coalesce(new.caption_words, new.caption));
END
""",
    """
CREATE TRIGGER words_delete AFTER DELETE ON items WHEN old.caption IS NOT NULL BEGIN
    INSERT INTO words (words, rowid, caption)
    VALUES ('delete', old.row, coalesce(old.caption_words, old.caption));
END
""",
    """
CREATE TRIGGER words_update AFTER UPDATE OF caption, caption_words ON items BEGIN
    INSERT INTO words (words, rowid, caption)
    SELECT 'delete', old.row, coalesce(old.caption_words, old.caption)
    WHERE old.caption IS NOT NULL;
    INSERT INTO words (rowid, caption)
    SELECT new.row, coalesce(new.caption_words, new.caption) WHERE new.caption IS NOT NULL;
END
""",
)

_FILES = """
CREATE TABLE segments (
    name TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    modality TEXT NOT NULL,
    first_row INTEGER NOT NULL,
    last_row INTEGER NOT NULL,
    count INTEGER NOT NULL,
    vectors_size_bytes INTEGER NOT NULL,
    vectors_sha256 TEXT NOT NULL,
    vectors_mtime_ns INTEGER NOT NULL,
    rows_size_bytes INTEGER NOT NULL,
    rows_sha256 TEXT NOT NULL,
    rows_mtime_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE tombstones (
    modality TEXT NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (modality, row)
) STRICT, WITHOUT ROWID;
CREATE TABLE ann (
    fingerprint TEXT NOT NULL,
    modality TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    covered_to INTEGER NOT NULL,
    count INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    mtime_ns INTEGER NOT NULL,
    parameters TEXT NOT NULL,
    recall_at_10 REAL NOT NULL,
    built_at TEXT NOT NULL,
    head_bytes INTEGER,
    head_sha256 TEXT,
    PRIMARY KEY (fingerprint, modality)
) STRICT;
"""

_META = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    key TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

# `meta.fingerprint` says which of these is the index's model; the vectors of others may be kept.
_MODELS = """
CREATE TABLE models (
    fingerprint TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    dim INTEGER NOT NULL,
    details TEXT NOT NULL,
    left_at TEXT
) STRICT, WITHOUT ROWID;
"""

_TAGS_AND_FIELDS = """
CREATE TABLE tags (
    row INTEGER NOT NULL,
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    probability REAL,
    PRIMARY KEY (row, name, label)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_label ON tags (label, row);
CREATE TABLE extra_fields (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    arrow TEXT,
    position INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
"""

_SCORES = """
CREATE TABLE probes (
    fingerprint TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (fingerprint, text)
) STRICT, WITHOUT ROWID;
CREATE TABLE backgrounds (
    fingerprint TEXT NOT NULL,
    kind TEXT NOT NULL,
    modality TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (fingerprint, kind, modality)
) STRICT, WITHOUT ROWID;
"""

# What could not be read, by key.
_SKIPPED = """
CREATE TABLE skipped_files (
    key TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    size_bytes INTEGER,
    mtime_ns INTEGER,
    ctime_ns INTEGER,
    inode INTEGER,
    sha256 TEXT
) STRICT, WITHOUT ROWID;
"""


# What is kept of the structure of images, by the hash of their bytes.
_THUMBPRINTS = """
CREATE TABLE thumbprints (
    sha256 TEXT PRIMARY KEY,
    luma BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""

# By which altered rows are noticed; `digests.py` keeps them.
_DIGESTS = """
CREATE TABLE digests (
    name TEXT NOT NULL,
    block INTEGER NOT NULL,
    digest INTEGER NOT NULL,
    PRIMARY KEY (name, block)
) STRICT, WITHOUT ROWID;
"""


# Items whose file cannot be found; the topmost path that is not there.
_AWAY = """
CREATE TABLE away (
    row INTEGER PRIMARY KEY,
    missing TEXT NOT NULL
) STRICT;
"""


# What people put together; see `marks.py`.
_ALBUMS = """
CREATE TABLE albums (
    name TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE album_items (
    row INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (row, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX album_items_by_name ON album_items (name, row);
CREATE TABLE saved_searches (
    name TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    saved_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""


# What was removed and can be put back; see `removed.py`.
_REMOVED = """
CREATE TABLE removed_items (
    row INTEGER PRIMARY KEY,
    removed_at TEXT NOT NULL,
    image_row INTEGER,
    caption_row INTEGER,
    known TEXT NOT NULL
) STRICT;
"""


def create(conn: sqlite3.Connection, meta: Mapping[str, str | int]) -> None:
    """Create an empty catalog of the current version.

    Args:
        conn: A connection to an empty database, in autocommit mode.
        meta: What the index is, as `catalog.meta` tells it: the model and the times.
    """
    conn.executescript(
        f"BEGIN; PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {FORMAT_VERSION};{definition()}"
    )
    counters = {"generation": 0, "next_row": 1, "items": 0, "images": 0, "captions": 0}
    of_model = ("model_name", "dim", "model_details")
    own = {key: value for key, value in meta.items() if key not in of_model}
    ids = {"index_id": new_id(), "commit_id": new_id()}
    conn.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", (counters | ids | own).items())
    conn.execute(
        "INSERT INTO models VALUES (?, ?, ?, ?, NULL)",
        (meta["fingerprint"], *(meta[key] for key in of_model)),
    )
    digests.fill(conn, FORMAT_VERSION)
    conn.execute("COMMIT")


def definition() -> str:
    """The statements that make every table, index, view and trigger of a catalog."""
    words = "".join(f"{statement};" for statement in _WORDS)
    items = f"{_ITEMS}{_CAPTION_ROWS}{words}"
    files = f"{_FILES}{_SKIPPED}{_THUMBPRINTS}{_AWAY}{_ALBUMS}{_REMOVED}{_DIGESTS}"
    return f"{_META}{_MODELS}{items}{files}{_TAGS_AND_FIELDS}{_SCORES}"


def version_of(conn: sqlite3.Connection, where: str) -> int:
    """Format version of a catalog.

    Args:
        conn: A connection to it.
        where: Its path, for messages.

    Raises:
        IndexCorruptError: It is an SQLite file, but no catalog of ours.
        IndexVersionError: It is newer than this version of clipsearch can read.
    """
    (application,) = conn.execute("PRAGMA application_id").fetchone()
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise IndexCorruptError(f"{where} is damaged or not a catalog of clipsearch. {REMEDY}")
    # The next versions differ by more than one bit, or have another schema.
    one_bit = (version ^ FORMAT_VERSION).bit_count() == 1
    if one_bit and digests.is_schema_of(conn, FORMAT_VERSION):
        raise IndexCorruptError(
            f"{where} is damaged: it says that its format version is {version}, but it is "
            f"{FORMAT_VERSION}. {REMEDY}"
        )
    if version < 1:
        raise IndexCorruptError(f"{where} is damaged: it has no format version {version}")
    if version > FORMAT_VERSION:
        raise IndexVersionError(
            f"{where} has format version {version}; this clipsearch reads up to version "
            f"{FORMAT_VERSION}. Update it: pip install -U clipsearch"
        )
    return int(version)


def migrate(conn: sqlite3.Connection, version: int) -> None:
    """Bring an older catalog to the current version, in one transaction.

    Args:
        conn: A connection of the one writer, in autocommit mode.
        version: The version it has now.
    """
    conn.execute("BEGIN IMMEDIATE")
    try:
        if version < 2:
            _migrate_1_to_2(conn)
        if version < 3:
            _migrate_2_to_3(conn)
        if version < 4:
            _migrate_3_to_4(conn)
        if version < 5:
            _migrate_4_to_5(conn)
        advance(conn)
        conn.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        digests.fill(conn, FORMAT_VERSION)
        conn.execute("COMMIT")
    except BaseException:
        conn.execute("ROLLBACK")
        raise


def _migrate_1_to_2(conn: sqlite3.Connection) -> None:
    """Version 1 had no tags, no list of extra fields and no score distributions."""
    _run(conn, _TAGS_AND_FIELDS)
    conn.execute("CREATE TABLE probes (text TEXT, vector BLOB)")  # as far as the next step needs
    conn.execute("CREATE TABLE backgrounds (kind TEXT, modality TEXT, json TEXT)")
    conn.execute(
        """
        INSERT INTO extra_fields (name, type)
        SELECT j.key, CASE
            WHEN sum(j.type NOT IN ('integer', 'true', 'false', 'null')) = 0 THEN 'integer'
            WHEN sum(j.type NOT IN ('integer', 'real', 'true', 'false', 'null')) = 0 THEN 'number'
            ELSE 'text' END
        FROM items, json_each(items.extra) AS j WHERE items.extra IS NOT NULL GROUP BY j.key
        """
    )


def _migrate_2_to_3(conn: sqlite3.Connection) -> None:
    """Version 2 held the vectors of one model, which was described in `meta`."""
    (fingerprint,) = conn.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
    before = ("segments", "tombstones", "ann", "probes", "backgrounds")
    for table in before:
        conn.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    _run(conn, _MODELS + _FILES + _SCORES)
    for table in before:
        columns = ", ".join(f[1] for f in conn.execute(f"PRAGMA table_info(old_{table})"))
        if table == "tombstones":
            conn.execute(f"INSERT INTO {table} SELECT * FROM old_{table}")
        else:
            conn.execute(
                f"INSERT INTO {table} (fingerprint, {columns}) "
                f"SELECT ?, {columns} FROM old_{table}",
                (fingerprint,),
            )
        conn.execute(f"DROP TABLE old_{table}")
    conn.execute(
        "INSERT INTO models SELECT ?, "
        "(SELECT value FROM meta WHERE key = 'model_name'), "
        "(SELECT value FROM meta WHERE key = 'dim'), "
        "(SELECT value FROM meta WHERE key = 'model_details'), NULL",
        (fingerprint,),
    )
    conn.execute("DELETE FROM meta WHERE key IN ('model_name', 'dim', 'model_details')")


def _migrate_3_to_4(conn: sqlite3.Connection) -> None:
    """Version 3 told indexes and states apart by times and numbers."""
    conn.execute("INSERT INTO meta (key, value) VALUES ('index_id', ?)", (new_id(),))


def _migrate_4_to_5(conn: sqlite3.Connection) -> None:
    """Version 4 knew a file by size and time alone, and changed no caption in place."""
    conn.execute("UPDATE OR IGNORE tags SET name = 'keywords (own)' WHERE name = 'keywords'")
    texts = dict.fromkeys(("caption_from", "beside", "caption_words", "place"), "TEXT")
    integers = dict.fromkeys(("ctime_ns", "inode", "device", "frame", "caption_row"), "INTEGER")
    there = {fields[1] for fields in conn.execute("PRAGMA table_info(items)")}
    for column, kind in (texts | integers).items():
        if column not in there:
            conn.execute(f"ALTER TABLE items ADD COLUMN {column} {kind}")
    conn.execute(_CAPTION_ROWS)
    there = {fields[1] for fields in conn.execute("PRAGMA table_info(ann)")}
    if "head_bytes" not in there:  # versions 1 and 2 get the table anew
        conn.execute("ALTER TABLE ann ADD COLUMN head_bytes INTEGER")
        conn.execute("ALTER TABLE ann ADD COLUMN head_sha256 TEXT")
    there = {fields[1] for fields in conn.execute("PRAGMA table_info(extra_fields)")}
    if "arrow" not in there:  # version 1 gets the table anew
        conn.execute("ALTER TABLE extra_fields ADD COLUMN arrow TEXT")
        conn.execute("ALTER TABLE extra_fields ADD COLUMN position INTEGER NOT NULL DEFAULT 0")
    _rebuild_words(conn)
    _remember_all_skips(conn)
    _write_names_anew(conn)
    new = ("thumbprints", "away", "albums", "album_items", "saved_searches", "removed_items")
    for table in (*new, "digests"):
        conn.execute(f"DROP TABLE IF EXISTS {table}")
    _run(conn, _THUMBPRINTS + _AWAY + _ALBUMS + _REMOVED + _DIGESTS)


def _rebuild_words(conn: sqlite3.Connection) -> None:
    """Version 4 knew no words in captions without spaces."""
    for trigger in ("words_insert", "words_delete", "words_update"):
        conn.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    conn.execute("DROP TABLE IF EXISTS words")
    conn.execute("DROP VIEW IF EXISTS captions")
    last = 0
    while True:
        page = conn.execute(
            "SELECT row, caption FROM items WHERE row > ? AND caption IS NOT NULL "
            "ORDER BY row LIMIT 10000",
            (last,),
        ).fetchall()
        if not page:
            break
        last = page[-1][0]
        words = ((indexed(caption), row) for row, caption in page if not caption.isascii())
        conn.executemany("UPDATE items SET caption_words = ? WHERE row = ?", words)
    for statement in _WORDS:
        conn.execute(statement)
    conn.execute("INSERT INTO words (words) VALUES ('rebuild')")


def _remember_all_skips(conn: sqlite3.Connection) -> None:
    """Version 4 remembered only files that could not be decoded, in a table made on first need."""
    query = "SELECT 1 FROM sqlite_master WHERE name = 'skipped_files'"
    if conn.execute(query).fetchone() is None:
        _run(conn, _SKIPPED)
        return
    conn.execute("ALTER TABLE skipped_files RENAME TO old_skipped_files")
    _run(conn, _SKIPPED)
    conn.execute(
        "INSERT INTO skipped_files (key, reason, size_bytes, mtime_ns) "
        "SELECT key, reason, size_bytes, mtime_ns FROM old_skipped_files"
    )
    conn.execute("DROP TABLE old_skipped_files")
    passing = {os.strerror(number) for number in TROUBLE} | {"crashed the decoder (SIGKILL)"}
    conn.executemany(  # which it took for broken for good
        "UPDATE skipped_files SET size_bytes = NULL, mtime_ns = NULL WHERE reason = ?",
        [(reason,) for reason in passing],
    )


def _write_names_anew(conn: sqlite3.Connection) -> None:
    r"""Version 4 held names as they are, also those in which `\xHH` stands literally."""
    for table, columns in (("items", ("key", "path")), ("skipped_files", ("key",))):
        for column in columns:  # the longest first: none gets a name that is still another's
            names = conn.execute(
                f"SELECT DISTINCT {column} FROM {table} WHERE instr({column}, '\\x') "
                f"ORDER BY length({column}) DESC"
            ).fetchall()
            conn.executemany(
                f"UPDATE {table} SET {column} = ? WHERE {column} = ?",
                [(new, name) for (name,) in names if (new := stored(name)) != name],
            )


def _run(conn: sqlite3.Connection, script: str) -> None:
    """Run statements one by one: `executescript` would commit."""
    for statement in script.split(";\n"):
        if statement.strip():
            conn.execute(statement)
