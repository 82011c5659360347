"""How a text table is written: its encoding, its separator and its quotes."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

from ..limits import MAX_LINE
from ..standards.texts import decode

__all__ = ["Dialect", "encoding_of", "lines_of", "opened_text", "sniffed"]

_HEAD = 256 * 1024  # bytes that are looked at to tell a separator
_PIECE = 1024 * 1024
_LINES = 200  # of the head
_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar (|)", " ": "a space"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FEW_BAD = 0.1  # of the characters that are not ASCII: a damaged file, not another encoding


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text table is written."""

    encoding: str
    errors: str = "strict"
    separator: str = ","
    quote: str | None = '"'
    escape: str | None = None
    spaces: bool = False  # whether blanks stand between a separator and a quote
    skipped: int = 0  # lines before the header

    def rows(
        self, text: Iterator[str], unclosed_rows: list[str] | None = None
    ) -> Iterator[list[str]]:
        """The fields of a table's rows, from its header on; blank lines are left out.

        A quotation mark that is never closed would swallow what follows. The lines that it has
        taken are read one by one, each to its own end.

        Args:
            text: The lines of the table.
            unclosed_rows: Receives the first line of the first such row.
        """
        lines = _Lines(itertools.islice(text, self.skipped, None))
        reader = self._reader(lines)
        while True:
            try:
                row = next(reader, None)
            except csv.Error:
                if len(lines.taken) < 2:
                    raise
                row = []
                unclosed = True
            else:
                unclosed = len(lines.taken) > 1 and self._is_unclosed(lines.taken)
            taken = lines.taken
            lines.taken = []
            if unclosed:
                reader = self._reader(lines)
                if unclosed_rows is not None and not unclosed_rows:
                    unclosed_rows.append(taken[0])
                yield from self._one_by_one(taken)
            elif row is None:
                return
            elif row:
                yield row

    def _one_by_one(self, lines: list[str]) -> Iterator[list[str]]:
        """The fields of lines of which each ends a row; plain ones need no reader of their own."""
        marks = [mark for mark in (self.quote, self.escape) if mark is not None]
        for marked, some in itertools.groupby(
            lines, lambda line: any(mark in line for mark in marks)
        ):
            for part in ([line] for line in some) if marked else (some,):
                yield from filter(None, self._reader(iter(part)))

    def _is_unclosed(self, lines: list[str]) -> bool:
        if self.quote is None or self.escape is not None:
            return False
        return sum(line.count(self.quote) for line in lines) % 2 == 1

    def _reader(self, lines: Iterator[str]) -> Any:
        return csv.reader(
            lines,
            delimiter=self.separator,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape,
            doublequote=self.escape is None,
            skipinitialspace=self.spaces,
        )

    def told(self) -> str:
        """The separator and the encoding, for people."""
        separator = _NAMES.get(self.separator, repr(self.separator))
        return f"{separator} as separator and {shown_encoding(self.encoding)} as encoding"


class _Lines:
    """Lines, of which those that were taken since the last row are kept."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if len(line) > MAX_LINE:
            raise csv.Error(f"a line has over {MAX_LINE:,} characters")
        self.taken.append(line)
        return line


def shown_encoding(name: str) -> str:
    """An encoding's name, for people."""
    return {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252", "latin-1": "Latin-1"}.get(
        name, name.replace("_", "-").upper()
    )


def encoding_of(stream: IO[bytes]) -> tuple[str, str]:
    """The encoding of a text file, after a look at all of it, and how errors are handled.

    A byte-order mark decides, then the zeros of UTF-16 without one, then whether all is UTF-8, with
    a few damaged bytes replaced; else its letters tell.

    Args:
        stream: The file at its start.
    """
    head = stream.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, "replace"
    if (wide := _wide(head)) is not None:
        return wide, "replace"
    sample, bad, good = _strange(stream, head)
    if not bad:
        return "utf-8", "strict"
    if bad <= _FEW_BAD * good:
        return "utf-8", "replace"
    return _eight_bits(sample), "replace"


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of most texts is zero."""
    some = head[: len(head) // 2 * 2]
    even, odd = some[::2].count(0), some[1::2].count(0)
    half = len(some) // 2
    if half and odd > 0.6 * half and even < 0.1 * half:
        return "utf-16-le"
    if half and even > 0.6 * half and odd < 0.1 * half:
        return "utf-16-be"
    return None


def _whole_lines(stream: IO[bytes], head: bytes) -> Iterator[bytes]:
    """A file in blocks that end where a line does, unless that is too long."""
    parts, size_bytes = list[bytes](), 0
    piece = head
    while piece:
        end = piece.rfind(b"\n") + 1
        if end or size_bytes > MAX_LINE:
            yield b"".join((*parts, piece[:end]))
            parts, size_bytes, piece = [], 0, piece[end:]
        parts.append(piece)
        size_bytes += len(piece)
        piece = stream.read(_PIECE)
        if len(piece) == _PIECE and not piece.strip(b"\0"):
            raise csv.Error("it holds zeros, not text")
    yield b"".join(parts)


def _strange(stream: IO[bytes], head: bytes) -> tuple[bytes, int, int]:
    """Lines that are no UTF-8, how many bytes of a file are none, and how many characters are."""
    sample, bad, good = b"", 0, 0
    for block in _whole_lines(stream, head):
        if block.isascii():
            continue
        try:
            good += sum(char > "\x7f" for char in block.decode())
        except UnicodeDecodeError:
            for line in block.split(b"\n"):
                text = line.decode("utf-8", "replace")
                bad += text.count("\ufffd")
                good += sum(char > "\x7f" and char != "\ufffd" for char in text)
                if "\ufffd" in text and len(sample) < _PIECE:
                    sample += line + b"\n"
    return sample, bad, good


def _eight_bits(sample: bytes) -> str:
    """The encoding of lines that are no UTF-8, by their letters."""
    fields = [field for field in re.split(rb"[,;\t\n]", sample) if not field.isascii()]
    found = decode(b"\n".join([b"", *fields]))  # none of them begins the file with a mark
    if found is None or found.encoding.startswith("utf"):
        return "cp1252"
    return found.encoding


def opened_text(
    stream: IO[bytes], encoding: str, errors: str, *, newline: str = ""
) -> io.TextIOWrapper:
    """A file's text; the stream stays open when the text is detached."""
    return io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline=newline)


def lines_of(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a text with their ends; of one that is too long, as much as tells that."""
    while line := text.readline(MAX_LINE + 1):
        yield line
        piece = line
        while len(piece) > MAX_LINE and not piece.endswith("\n"):
            piece = text.readline(MAX_LINE + 1)


def sniffed(stream: IO[bytes], usual: str, known: Collection[str]) -> Dialect | None:
    """The dialect of a text table; None where it has no line.

    Args:
        stream: The table at its start, which can be rewound.
        usual: The separator that its name says.
        known: Names of columns, in lower case, that tell that a header was split right.
    """
    encoding, errors = encoding_of(stream)
    stream.seek(0)
    head = stream.read(_HEAD)
    whole = len(head) < _HEAD
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head, final=whole)
    lines = text.splitlines(keepends=True)
    if not whole and len(lines) > 1:
        lines.pop()  # it may be cut
    skipped = 0
    while skipped < len(lines) and not lines[skipped].strip("\ufeff \t\r\n"):
        skipped += 1
    lines = lines[skipped : skipped + _LINES]
    if not lines:
        return None
    base = Dialect(encoding, errors, skipped=skipped)
    said = re.fullmatch(r"\"?sep=(.)\"?\s*", lines[0])  # as Excel writes it
    if said:
        return _quoted(replace(base, separator=said[1], skipped=skipped + 1), lines[1:])
    choices = [_quoted(replace(base, separator=sep), lines) for sep in _SEPARATORS]
    return max(choices, key=lambda choice: _worth(choice, lines, usual, known))


def _worth(
    dialect: Dialect, lines: list[str], usual: str, known: Collection[str]
) -> tuple[bool, int, float, bool, int]:
    """How well a dialect fits: known names, then rows as wide as the header, then its width."""
    try:
        rows = list(replace(dialect, skipped=0).rows(iter(lines)))
    except csv.Error:
        return False, 0, 0.0, False, 0
    header = [name.strip(" \ufeff").lower() for name in rows[0]]
    fits = sum(len(row) == len(header) for row in rows) / len(rows)
    names = len(known & set(header)) if isinstance(known, set | frozenset) else 0
    return len(header) > 1 or names > 0, names, fits, dialect.separator == usual, len(header)


def _quoted(dialect: Dialect, lines: list[str]) -> Dialect:
    """The dialect with the quotes that its fields have."""
    separator = re.escape(dialect.separator)
    text = "".join(lines)
    spaced = re.search(rf'{separator}[ ]+"', text) is not None and dialect.separator != " "
    header = lines[0].strip("\ufeff\r\n ").split(dialect.separator)
    if all(len(name.strip()) > 1 and name.strip()[0] == name.strip()[-1] == "'" for name in header):
        return replace(dialect, quote="'")
    if '\\"' in text and '""' not in text and not re.search(r'\\[^"\\]', text):
        return replace(dialect, escape="\\", spaces=spaced)
    if dialect.separator == "\t" and not _balanced(text, dialect.separator):
        return replace(dialect, quote=None)
    return replace(dialect, spaces=spaced)


def _balanced(text: str, separator: str) -> bool:
    """Whether what begins with a quote is a field in quotes, and not a word in them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=csv.QUOTE_NONE)
    ends: Counter[bool] = Counter()
    open_field = False
    for row in reader:
        for field in row:
            if open_field:
                open_field = not field.endswith('"')
            elif field.startswith('"'):
                whole = len(field) > 1 and field.endswith('"')
                inner = field[1:-1] if whole else field[1:]
                ends[inner.replace('""', "").count('"') == 0] += 1
                open_field = not whole
        if open_field and len(ends) and sum(ends.values()) > _LINES:
            break
    return not open_field and not ends[False]
