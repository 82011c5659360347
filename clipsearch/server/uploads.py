"""Uploaded files, within the limits."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request, UploadFile

from .problems import Problem

__all__ = ["read_uploads"]


def read_uploads(request: Request, uploads: Sequence[UploadFile]) -> list[bytes]:
    """The bytes of uploaded files, in order. What they are called is never looked at.

    Raises:
        Problem: There are too many.
    """
    most = request.app.state.engine.settings.max_images
    if len(uploads) > most:
        raise Problem(413, "too_many_images", f"a request may have {most} images at most")
    return [upload.file.read() for upload in uploads]
