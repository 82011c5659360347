"""What the Curate tab's script fetches and sends: groups, comparisons, lists."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from clipsearch.deletions import COLUMNS, deletion_lines, deletion_rows
from clipsearch.spreadsheet import write_csv

from .compared import compared
from .context import Context
from .curated import Asked, Curated
from .pageroutes import MOST_LINK, UNKEPT, PageRoutes, fields_of, sent_fields
from .problems import PageError
from .results import MOST
from .spec import from_link, read_integer

__all__ = ["curate_router"]

_MOST_GROUPS = 400  # at a time, when the page is loaded again where it was


def curate_router(contexts: Mapping[str, Context]) -> APIRouter:
    """The routes.

    Args:
        contexts: By language.
    """
    router = APIRouter(prefix="/page/curate", include_in_schema=False)
    routes = _Routes(contexts)
    router.add_api_route("", routes.groups)
    router.add_api_route("/group", routes.group)
    router.add_api_route("/rest", routes.rest)
    router.add_api_route("/difference", routes.difference)
    router.add_api_route("/list", routes.listed, methods=["POST"])
    return router


class _Routes(PageRoutes):
    """What the routes answer, in the language that `lang` names."""

    def groups(self, request: Request) -> Response:
        limit = min(_number(request, "limit"), _MOST_GROUPS)
        offset = _number(request, "offset")
        return self._with(request, lambda desk, asked: desk.answer(asked, offset, limit))

    def group(self, request: Request) -> Response:
        return self._with(
            request, lambda desk, asked: desk.group(asked, _number(request, "leader"))
        )

    def rest(self, request: Request) -> Response:
        return self._with(request, lambda desk, asked: desk.rest(asked))

    def difference(self, request: Request) -> Response:
        ids = [_number(request, name) for name in ("one", "other")]
        return self._with(
            request, lambda desk, asked: compared(desk.context, asked.spec.index, ids)
        )

    async def listed(self, request: Request) -> Response:
        """What may be deleted of what is marked, as a file."""
        sent = sent_fields(await request.body())
        text = fields_of(request).get("form") == ["txt"]
        files: list[Response] = []

        def work(desk: Curated, asked: Asked) -> Any:
            groups, found = desk.listed(asked, _marks(sent))
            if text:
                data = "".join(f"{line}\n" for line in deletion_lines(found)).encode()
            else:
                table = io.StringIO()
                write_csv(table, [COLUMNS, *deletion_rows(groups, found, every=False)])
                data = table.getvalue().encode("utf-8-sig")
            files.append(_file(data, "txt" if text else "csv"))

        answer = await run_in_threadpool(self._with, request, work)
        return files[0] if files else answer

    def _with(self, request: Request, work: Callable[[Curated, Asked], Any]) -> Response:
        def answered(context: Context) -> Any:
            spec = from_link(request.url.query[:MOST_LINK], context.library.names())
            return work(Curated(context), Asked.of(spec, fields_of(request)))

        return self.answer(request, answered)


def _number(request: Request, name: str) -> int:
    return read_integer((fields_of(request).get(name) or ["0"])[0]) or 0


def _marks(sent: Mapping[str, Any]) -> dict[int, str]:
    """Marked ids with the letters of what was seen under them, from `{"ids": {...}}`.

    Raises:
        PageError: They are none.
    """
    ids = sent.get("ids")
    if not isinstance(ids, dict) or not 0 < len(ids) <= MOST:
        raise PageError("js.failed")
    marks = {read_integer(id_): str(said) for id_, said in ids.items()}
    return {id_: said for id_, said in marks.items() if id_ is not None}


def _file(data: bytes, form: str) -> Response:
    name = f'attachment; filename="may-be-deleted.{form}"'
    kind = "text/csv; charset=utf-8" if form == "csv" else "text/plain; charset=utf-8"
    return Response(data, media_type=kind, headers={**UNKEPT, "Content-Disposition": name})
