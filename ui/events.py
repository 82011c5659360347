"""What the page's events may hold, and how one fails that holds something else."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any

import gradio as gr

from clipsearch.server.problems import Problem

__all__ = ["FAILED", "Page", "check_event"]

FAILED = "this event could not be answered"

_log = logging.getLogger("clipsearch.server")
_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
_FALSE = ("batched", "simple_format")  # ways to call Gradio that the page does not use


class Page(gr.Blocks):
    """A page whose events fail in one line, for most that fail were sent by no page of ours."""

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Answer an event; see `gradio.Blocks`."""
        try:
            return await super().process_api(*arguments, **options)
        except Exception as exc:
            at = traceback.extract_tb(exc.__traceback__)[-1]
            # No message, which may hold what somebody typed.
            _log.error("an event failed: %s at %s:%d", type(exc).__name__, at.filename, at.lineno)
            raise gr.Error(FAILED, print_exception=False) from None


def check_event(body: bytes, inputs: Mapping[int, int]) -> str | None:
    """Refuse an event that no page of ours sends.

    Args:
        body: Of the request.
        inputs: The number of inputs of each event.

    Returns:
        The session that it is of.

    Raises:
        Problem: It is no event, or names a file, which Gradio would copy or fetch.
    """
    try:
        event = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Problem(400, "bad_request", "an event is JSON") from None
    if not isinstance(event, dict):
        raise _malformed("an object")
    number, data = event.get("fn_index"), event.get("data")
    if type(number) is not int or number not in inputs:
        raise _malformed("the number of an event as fn_index")
    if not isinstance(data, list) or len(data) != inputs[number]:
        raise _malformed(f"{inputs[number]} values as data")
    session = event.get("session_hash")
    if session is not None and not (isinstance(session, str) and _SESSION.fullmatch(session)):
        raise _malformed("a session as session_hash")
    if not isinstance(event.get("event_data"), dict | int | float | None):  # a slider's number
        raise _malformed("an object or a number as event_data")
    if type(event.get("trigger_id")) not in (int, type(None)) or any(map(event.get, _FALSE)):
        raise _malformed("no other way to call it")
    if _names_a_file(event):
        raise Problem(400, "bad_request", "files are not taken here")
    return session


def _malformed(wanted: str) -> Problem:
    return Problem(422, "invalid_input", f"this is no event of the page, which has {wanted}")


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _names_a_file(event: Any) -> bool:
    """Whether it holds an object with a `path`."""
    left = [event]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "path" in value:
                return True
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False
