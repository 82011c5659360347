"""Where the files that a source names lie: a local folder, or an fsspec URL.

URLs are for the operator at the command line or in Python. Nothing that a caller of the server
sends may reach this module.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from ..errors import InvalidInputError, MissingExtraError, SourceError
from ..files import expanded, open_regular
from ..limits import MAX_IMAGE_BYTES, over

__all__ = ["LocalPlace", "Place", "RemotePlace", "file_named", "is_url", "open_place"]

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
_PART_BYTES = 1024 * 1024
# What a path of a table may have that a file of this machine is seldom named with.
_ODD = re.compile(r"[\\%]|^\s|\s$|^[A-Za-z]:")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def is_url(text: str) -> bool:
    """Whether a source is named by a URL rather than a path."""
    return "://" in text


class Place:
    """A file that was named as a source, with the folder that relative paths start from."""

    name: str  # absolute path or URL of the file

    def open(self) -> IO[bytes]:
        """The file itself, as a stream.

        Raises:
            SourceError: It cannot be opened.
        """
        raise NotImplementedError

    def image(self, path: str, *, outside: bool) -> tuple[str | bytes | None, str | None]:
        """The image at a path that the file names: (path or bytes, None) or (None, reason).

        Args:
            path: Relative to the file's folder, or absolute.
            outside: Whether it may lie outside that folder.
        """
        raise NotImplementedError


class LocalPlace(Place):
    """A file on this machine."""

    def __init__(
        self, path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None
    ) -> None:
        self.name = str(expanded(path).absolute())
        folder = os.path.dirname(self.name) if root is None else expanded(root).absolute()
        self._folder = os.path.normpath(folder)

    def open(self) -> IO[bytes]:
        """The file itself, as a stream."""
        try:
            return open_regular(self.name)
        except OSError as exc:
            raise SourceError(f"cannot read {self.name}: {exc.strerror or exc}") from exc

    def image(self, path: str, *, outside: bool) -> tuple[str | bytes | None, str | None]:
        """The absolute path, which is not opened here."""
        named, refused = file_named(path, self._folder)
        if named is None:
            return None, refused
        full = os.path.normpath(os.path.join(self._folder, named))
        inside = full.startswith(self._folder.rstrip(os.sep) + os.sep)
        if not (inside or outside):
            return None, "outside the table's folder; --allow-outside lets it in"
        return full, None


class RemotePlace(Place):
    """A file behind an fsspec URL; images beside it are read as bytes.

    Raises:
        MissingExtraError: The back end of that scheme is not installed.
        SourceError: There is no such scheme.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._fs, self._path = _file_system(url)
        self._folder = posixpath.dirname(self._path.rstrip("/"))

    def open(self) -> IO[bytes]:
        """The file itself, as a stream; remote errors become a `SourceError`."""
        try:
            stream: IO[bytes] = self._fs.open(self._path, "rb")
        except Exception as exc:  # every back end has errors of its own
            raise SourceError(f"cannot read {self.name}: {_said(exc)}") from exc
        return stream

    def image(self, path: str, *, outside: bool) -> tuple[str | bytes | None, str | None]:
        """The bytes of the file."""
        if is_url(path):
            return None, "a URL; only files beside the table are read"
        path = path.strip().replace("\\", "/")
        server, folder = _split(self._folder)
        full = posixpath.normpath(posixpath.join(folder, path))
        if not (outside or full.startswith(folder + "/")):
            return None, "outside the table's folder; --allow-outside lets it in"
        if server and not full.startswith(folder.partition("/")[0] + "/"):
            return None, "on another server than the table"
        return self._read(server + full)

    def _read(self, path: str) -> tuple[bytes | None, str | None]:
        """The bytes of a file, read in parts, for a server may say anything of their number."""
        # Else HTTP asks for the size first, and then for ranges, which a server may ignore.
        whole = {"block_size": 0, "size": 1} if "http" in self._fs.protocol else {}
        data = bytearray()
        try:
            with self._fs.open(path, "rb", **whole) as file:
                while part := file.read(_PART_BYTES):
                    data += part
                    if len(data) > MAX_IMAGE_BYTES:
                        return None, over(MAX_IMAGE_BYTES)
        except Exception as exc:  # as above; it costs this file alone
            return None, f"cannot be read: {_said(exc)}"
        return bytes(data), None

    def is_folder(self) -> bool:
        """Whether the URL names a folder of files.

        Raises:
            SourceError: Nothing is there, or it cannot be reached.
        """
        try:
            if self._fs.isdir(self._path):
                return True
            if self._fs.exists(self._path):
                return False
        except Exception as exc:
            raise SourceError(f"cannot reach {self.name}: {_said(exc)}") from exc
        raise SourceError(f"nothing is at {self.name}")

    def files(self) -> Iterator[str]:
        """Paths below the folder, relative to it, sorted."""
        try:
            found: list[str] = sorted(self._fs.find(self._path))
        except Exception as exc:
            raise SourceError(f"cannot list {self.name}: {_said(exc)}") from exc
        start = self._path.rstrip("/") + "/"
        for path in found:
            yield path.removeprefix(start)

    def read(self, relative: str) -> tuple[bytes | None, str | None]:
        """The bytes of a file below the folder, or the reason why there are none."""
        return self._read(posixpath.join(self._path, relative))


def open_place(
    name: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None
) -> Place:
    """The place that a path or URL names.

    Args:
        name: The path or URL.
        root: The folder that relative paths start from; by default that of the file.

    Raises:
        InvalidInputError: A root for a URL.
    """
    text = os.fspath(name)
    if not is_url(text):
        return LocalPlace(text, root=root)
    if root is not None:
        raise InvalidInputError("a folder of images can be named for a table on this machine only")
    return RemotePlace(text)


def file_named(text: str, folder: str) -> tuple[str | None, str | None]:
    """The path of a file that a table names, as this machine does: (path, None) or (None, reason).

    What is there as it is written stays as it is. Otherwise blanks around it go, backslashes become
    slashes, percent-escapes are undone, and letters with accents may be in one character or two, if
    a file is found so.

    Args:
        text: A path, relative to `folder` or absolute, or a `file:` URI.
        folder: An absolute path.
    """
    if text.strip().lower().startswith("file:"):
        parts = urlsplit(text.strip())
        if parts.netloc not in ("", "localhost"):
            return None, f"a file on another machine ({parts.netloc})"
        text = unquote(parts.path)
    elif is_url(text):
        return None, "a URL; only files are read"
    if not _ODD.search(text) and text.isascii():
        return text, None
    if os.path.lexists(os.path.join(folder, text)):
        return text, None
    plain = text.strip()
    if _DRIVE.match(plain):
        return None, "a path on a Windows drive or share, which this machine does not have"
    forms = [plain, plain.replace("\\", "/"), unquote(plain), unquote(plain).replace("\\", "/")]
    forms += [unicodedata.normalize(form, one) for one in forms for form in ("NFC", "NFD")]
    there = (form for form in forms if os.path.lexists(os.path.join(folder, form)))
    return next(there, forms[1]), None


def _file_system(url: str) -> tuple[Any, str]:
    scheme = urlsplit(url).scheme
    extra = _EXTRAS.get(scheme)
    try:
        import fsspec  # type: ignore[import-untyped, unused-ignore]

        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as exc:
        what = f"pip install 'clipsearch[{extra}]'" if extra else "a back end of fsspec"
        raise MissingExtraError(f"reading {scheme}:// needs: {what} ({exc})") from exc
    except ValueError as exc:
        raise SourceError(f"cannot read {url}: {exc}") from exc
    return fs, str(path)


def _split(path: str) -> tuple[str, str]:
    """The part of a path up to its `://`, which HTTP keeps and others do not, and the rest."""
    scheme, mark, rest = path.partition("://")
    return (scheme + mark, rest) if mark else ("", path)


def _said(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200] or type(exc).__name__
