"""The review page's server: pages, pictures and decisions over HTTP. `server.py` runs it.

It answers only to a loopback name (a foreign page can't reach it through a name of its own that points here), takes
decisions only from its own page, and finds items by their number, so that nothing of a request becomes a path.
"""

# no postponed annotations: FastAPI reads those of functions inside of `create_app`
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib import resources
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from neuraltuning.errors import InputError, NeuralTuningError
from neuraltuning.mmud.review.agreement import agreement
from neuraltuning.mmud.review.answers import MAX_CHARACTERS
from neuraltuning.mmud.review.pictures import css_color, mask_png, picture_jpeg, shown_size
from neuraltuning.mmud.review.queue import MAX_NAME, MAX_REASON, ReviewQueue, reviewer_name
from neuraltuning.report.overlay import palette_color

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names by which a page may call this server; the port may be another one, behind a tunnel."""
MAX_BODY = 8 * MAX_CHARACTERS
"""Bytes of a request's body."""
SCRIPTS = ("main.js", "agreement.js", "answer.js", "dom.js", "editor.js", "picture.js")
PAGE = {"review.css": "text/css; charset=utf-8", **dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8")}
"""Files of the page that are served, beside index.html."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Decision(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid")

    reviewer: str = Field(max_length=MAX_NAME)
    decision: Literal["accept", "reject"]
    answer: str = Field(max_length=MAX_CHARACTERS)
    reason: str = Field(default="", max_length=MAX_REASON)


def create_app(queue: ReviewQueue, reviewer: str = "") -> FastAPI:
    """The server of one working folder.

    Args:
        queue: what is up for review.
        reviewer: the name that the page takes; it asks for one by default.
    """
    app = FastAPI(title="neuraltuning mmud review", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_guard)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(NeuralTuningError)(_unusable)

    def named_item(number: Annotated[int, Path(ge=0)]) -> str:
        if number >= len(queue.items):
            raise HTTPException(404, f"There is no item {number}; the last one is {len(queue.items) - 1}.")
        return queue.items[number]

    def named_reviewer(reviewer: Annotated[str, Query(max_length=MAX_NAME)]) -> str:
        return reviewer_name(reviewer)

    Item = Annotated[str, Depends(named_item)]
    Reviewer = Annotated[str, Depends(named_reviewer)]

    @app.get("/")
    def index() -> Response:
        return _page_file("index.html", "text/html; charset=utf-8")

    @app.get("/page/{name}")
    def page(name: str) -> Response:
        if name not in PAGE:
            raise HTTPException(404, "There is no such file.")
        return _page_file(name, PAGE[name])

    @app.get("/api/session")
    def session() -> dict[str, Any]:
        return {"reviewer": reviewer, "folder": queue.workspace.folder.resolve().name}

    @app.get("/api/decisions")
    def decisions(reviewer: Reviewer) -> list[str | None]:
        """The person's decision about each item."""
        found = queue.decisions()
        own = [found.get(item, {}).get(reviewer) for item in queue.items]
        return [None if review is None else review.decision for review in own]

    @app.get("/api/items/{number}")
    def item(item: Item, reviewer: Reviewer) -> dict[str, Any]:
        return describe_item(queue, item, reviewer)

    @app.get("/api/items/{number}/picture")
    def picture(item: Item) -> Response:
        return Response(picture_jpeg(queue.sample(item)), media_type="image/jpeg")

    @app.get("/api/items/{number}/masks/{object_number}")
    def mask(item: Item, object_number: Annotated[int, Path(ge=1)]) -> Response:
        sample = queue.sample(item)
        if object_number > len(sample.objects):
            raise HTTPException(404, f"There is no object {object_number}; the image has {len(sample.objects)}.")
        return Response(mask_png(sample, object_number - 1), media_type="image/png")

    @app.post("/api/items/{number}/decision")
    def decide(item: Item, decision: Decision) -> dict[str, Any]:
        review = queue.decide(item, decision.reviewer, decision.decision, decision.answer, decision.reason)
        return review.model_dump()

    @app.get("/api/agreement")
    def agreement_of_all() -> dict[str, Any]:
        return asdict(agreement(queue.decisions()))

    return app


def describe_item(queue: ReviewQueue, item: str, reviewer: str) -> dict[str, Any]:
    """An item as the page shows it to a person."""
    sample, annotation, tagging = queue.sample(item), queue.annotation(item), queue.tagging(item)
    review = queue.decision(item, reviewer)
    width, height = shown_size(sample)
    return {
        "id": item,
        "width": width,
        "height": height,
        "caption": annotation.caption,
        "question": annotation.question,
        "proposed": tagging.answer,
        "answer": review.answer if review else tagging.answer,
        "decision": review and review.decision,
        "reason": review.reason if review else "",
        "unclear": tagging.unclear,
        "objects": [
            {
                "number": number,
                "category": entry.category,
                "phrases": [phrase.text for phrase in entry.phrases],
                "color": css_color(palette_color(number - 1)),
            }
            for number, entry in enumerate(sample.objects, start=1)
        ],
    }


async def _guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    refusal = _refusal(request)
    response = await answer(request) if refusal is None else JSONResponse({"detail": refusal[1]}, refusal[0])
    response.headers.update(HEADERS)
    return response


def _refusal(request: Request) -> tuple[int, str] | None:
    """Status and sentence for a request that doesn't come from this server's own page."""
    host = request.headers.get("host", "")
    if _hostname(f"//{host}") not in LOOPBACK:
        return 421, "This page is only for this computer; open it by the address that the command printed."
    if request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("origin")
    if (origin is not None and urlsplit(origin).netloc != host) or request.headers.get(
        "sec-fetch-site", "same-origin"
    ) not in ("same-origin", "none"):
        return 403, "Another page may not decide here."
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return 415, "A decision is sent as JSON."
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_BODY:
        return 413, f"A request has at most {MAX_BODY:,} bytes, and says how many."
    return None


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"detail": f"{place or 'The request'}: {first['msg'].lower()}."}, 422)


def _unusable(request: Request, error: Exception) -> JSONResponse:
    sentence = str(error)
    return JSONResponse({"detail": sentence[:1].upper() + sentence[1:]}, 422 if isinstance(error, InputError) else 500)


def _page_file(name: str, kind: str) -> Response:
    text = resources.files("neuraltuning.mmud.review").joinpath("page").joinpath(name).read_text(encoding="utf-8")
    return Response(text, media_type=kind)
