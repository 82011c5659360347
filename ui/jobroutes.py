"""The page's routes for adding images: sending them, and how far the job of indexing is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from clipsearch.errors import StorageError

from .build import Desk
from .context import Context
from .jobs import Jobs
from .pageroutes import PageRoutes, sent_fields

__all__ = ["job_router", "progress"]


def progress(jobs: Jobs, context: Context) -> dict[str, Any] | None:
    """The latest job for the script of the page; None if there was none.

    Returns:
        `id`, `name` of the collection, `state`, `share` of the files that were seen (None where
        it is not known), `told`, all names of `indexes`.
    """
    job = jobs.job
    if job is None:
        return None
    seen = job.progress
    share = seen.seen / seen.total if seen is not None and seen.total else None
    return {
        "id": job.started,
        "name": job.name,
        "state": job.state,
        "share": share,
        "told": context.words(f"build.state_{job.state}", name=job.name),
        "indexes": context.library.names(),
    }


def job_router(contexts: Mapping[str, Context]) -> APIRouter:
    """The routes, for a page that may index.

    Args:
        contexts: By language.
    """
    router = APIRouter(prefix="/page", include_in_schema=False)
    routes = _Routes(contexts)
    router.add_api_route("/job", routes.job)
    router.add_api_route("/uploads/{name}", routes.upload, methods=["POST"])
    router.add_api_route("/uploads/{name}/start", routes.start, methods=["POST"])
    return router


class _Routes(PageRoutes):
    """What the routes answer, in the language that `lang` names."""

    def job(self, request: Request) -> Response:
        return self.answer(request, lambda context: {"job": progress(context.jobs, context)})

    async def upload(self, request: Request, name: str) -> Response:
        """Keep images; says how many, and what is wrong with the others."""
        pictures = sent_fields(await request.body()).get("pictures")

        def work(context: Context) -> dict[str, Any]:
            try:
                kept, told = Desk(context).keep(
                    name, pictures if isinstance(pictures, list) else []
                )
            except OSError as exc:
                raise StorageError(str(exc)) from exc
            return {"kept": kept, "told": told}

        return await run_in_threadpool(self.answer, request, work)

    def start(self, request: Request, name: str) -> Response:
        """Index what was kept."""

        def work(context: Context) -> dict[str, Any]:
            Desk(context).start_kept(name)
            return {"job": progress(context.jobs, context)}

        return self.answer(request, work)
