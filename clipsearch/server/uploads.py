"""Forms with uploaded files, within the limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request, UploadFile
from pydantic import BaseModel

from ..errors import InvalidInputError
from .problems import Problem

__all__ = ["check_form", "read_uploads"]

_REPEATED = frozenset({"images", "labels", "template", "add", "subtract"})


async def check_form(request: Request) -> None:
    """Refuse fields that a route does not know, and several where it takes one.

    Raises:
        InvalidInputError: There is one; otherwise it would be left out of the answer unseen.
    """
    known = [
        name for field in request.scope["route"].dependant.body_params for name in _names(field)
    ]
    given = [name for name, _ in (await request.form()).multi_items()]
    for name in given:
        if name not in known:
            raise InvalidInputError(f"unknown field; the fields are: {', '.join(known)}")
        if given.count(name) > 1 and name not in _REPEATED:
            raise InvalidInputError(f"{name} is given twice")


def _names(field: Any) -> list[str]:
    """The form fields of a route's parameter: its own name, or those of its model."""
    model = field.field_info.annotation
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return list(model.model_fields) if is_model else [field.alias]


def read_uploads(request: Request, uploads: Sequence[UploadFile]) -> list[bytes]:
    """The bytes of uploaded files, in order. What they are called is never looked at.

    Raises:
        Problem: There are too many.
    """
    most = request.app.state.engine.settings.max_images
    if len(uploads) > most:
        raise Problem(413, "too_many_images", f"a request may have {most} images at most")
    return [upload.file.read() for upload in uploads]
