"""What the page's own routes have in common: who asks in which language, and how they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from clipsearch import ClipSearchError
from clipsearch.server.door import query_fields

from .context import Context
from .problems import explained
from .strings import LANGUAGES

__all__ = ["MOST_LINK", "UNKEPT", "PageRoutes", "fields_of", "sent_fields"]

UNKEPT = {"Cache-Control": "no-store"}
MOST_LINK = 20_000  # characters


class PageRoutes:
    """Routes that answer in the language that `lang` names.

    Args:
        contexts: By language.
    """

    def __init__(self, contexts: Mapping[str, Context]) -> None:
        self._contexts = contexts

    def context(self, request: Request) -> Context:
        """What the visitor's language is, and all else that an answer needs."""
        asked = fields_of(request).get("lang", [""])[0]
        return self._contexts.get(asked, self._contexts[LANGUAGES[0]])

    def answer(self, request: Request, work: Callable[[Context], Any]) -> Response:
        """The answer, or what went wrong in the visitor's words."""
        context = self.context(request)
        try:
            return JSONResponse(work(context), headers=UNKEPT)
        except ClipSearchError as exc:
            return JSONResponse({"problem": explained(exc, context.words)}, headers=UNKEPT)


def fields_of(request: Request) -> dict[str, list[str]]:
    """The fields of a request's address."""
    return query_fields(request.url.query[:MOST_LINK])


def sent_fields(body: bytes) -> dict[str, Any]:
    """The JSON object that was sent; empty for anything else."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return sent if isinstance(sent, dict) else {}
