"""Which failures may pass: they speak of the moment or of a limit, not of the bytes of a file.

What failed so is tried again in the next run. The number of a system error decides, not its words.
"""

from __future__ import annotations

import errno
import signal
from typing import Literal

__all__ = ["PASSING_SIGNALS", "TROUBLE", "Passing", "passing_of"]

# "gone": the file is not there; "limit": an option decides; "trouble": a drive, the network, memory
# or permissions fail, which may be so of all files of a source.
Passing = Literal["gone", "limit", "trouble"]

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
TROUBLE = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
        errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EAGAIN, errno.EBUSY,
        errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOMEDIUM, errno.ESHUTDOWN,
        errno.ENOTCONN, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.EPIPE,
        errno.ECOMM, errno.EPROTO, errno.ENOLINK, errno.ENOLCK, errno.EDEADLK, errno.ETXTBSY,
        errno.ECANCELED, errno.EACCES, errno.EPERM, errno.EKEYEXPIRED, errno.ENOKEY,
        errno.EKEYREVOKED, errno.EUCLEAN, errno.EROFS,
    }
)  # fmt: skip
# That others send to a decoder, the kernel among them when memory runs out.
PASSING_SIGNALS = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGXCPU}
)


def passing_of(error: BaseException | None) -> Passing | None:
    """Whether a failure may pass, by the error or by what caused it."""
    while error is not None:
        if isinstance(error, MemoryError | TimeoutError | ConnectionError):
            return "trouble"
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in _GONE:
                return "gone"
            if error.errno in TROUBLE:
                return "trouble"
        error = error.__cause__ or error.__context__
    return None
