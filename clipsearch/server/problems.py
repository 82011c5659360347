"""Errors as RFC 9457 problem documents with stable codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from .. import errors

__all__ = ["PROBLEM_TYPE", "STATUS", "Problem", "of_error", "problem_response"]

PROBLEM_TYPE = "application/problem+json"

# Every error class has its status here; a test proves it.
STATUS: dict[type[errors.ClipSearchError], int] = {
    errors.ClipSearchError: 500,
    errors.ClusterError: 503,
    errors.EncoderMismatchError: 409,
    errors.ImageDecodeError: 422,
    errors.IndexCorruptError: 500,
    errors.IndexExistsError: 409,
    errors.IndexLockedError: 503,
    errors.IndexMigratedError: 503,
    errors.IndexNotFoundError: 404,
    errors.IndexVersionError: 500,
    errors.InvalidInputError: 422,
    errors.ItemNotFoundError: 404,
    errors.MissingExtraError: 501,
    errors.ModelLoadError: 500,
    errors.ModelNotFoundError: 404,
    errors.PartialAnswerError: 503,
    errors.SourceError: 422,
    errors.StorageError: 500,
}
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


def of_error(error: errors.ClipSearchError) -> Problem:
    """A known error as a problem.

    What is wrong with the request is told as it is. What is wrong with the server's own files is
    not: those messages name paths. They belong in the log.
    """
    status = next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
    if status < 500 and not isinstance(error, errors.IndexNotFoundError):
        return Problem(status, error.code, str(error))
    told = {
        errors.IndexNotFoundError: "there is no such index; GET /v1/indexes lists them",
        errors.IndexMigratedError: "the index has another model now, which is being loaded; "
        "try again soon",
        errors.MissingExtraError: "this needs a part of clipsearch that is not installed here",
    }
    busy = status == 503
    broken = "something on the server is broken; its log says what"
    detail = told.get(type(error), "try again soon" if busy else broken)
    headers = {"Retry-After": str(_RETRY_AFTER_S)} if busy else {}
    return Problem(status, error.code, detail, headers=headers)


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
