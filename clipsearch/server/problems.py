"""Errors as RFC 9457 problem documents with stable codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from .. import errors

__all__ = ["PROBLEM_TYPE", "Problem", "come_back", "of_error", "problem_response"]

PROBLEM_TYPE = "application/problem+json"

_RETRY_AFTER_S = 1


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer that is no success, raised anywhere in the server."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def come_back(status: int, code: str, detail: str, *, after_s: int) -> Problem:
    """A problem that is gone after some seconds, which the answer says in `Retry-After`."""
    return Problem(status, code, detail, headers={"Retry-After": str(after_s)})


def of_error(error: errors.ClipSearchError) -> Problem:
    """A known error as a problem.

    A message about the request is sent as it is. One about the server's own files is not, for it
    names paths; the log has it.
    """
    status = error.http_status
    busy = status == HTTPStatus.SERVICE_UNAVAILABLE
    if status < 500:
        default = str(error)
    elif busy:
        default = "try again soon"
    else:
        default = "something on the server is broken; its log says what"
    detail = error.public_detail or default
    if busy:
        return come_back(status, error.code, detail, after_s=_RETRY_AFTER_S)
    return Problem(status, error.code, detail)


def problem_response(problem: Problem, request_id: str = "") -> Response:
    """The HTTP answer of a problem."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if request_id:
        document["request_id"] = request_id
    body = json.dumps(document, ensure_ascii=True).encode()  # lone surrogates stay escaped
    return Response(body, problem.status, problem.headers, PROBLEM_TYPE)
