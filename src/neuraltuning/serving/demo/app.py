"""The page for trying a model, and what it needs beside the HTTP API: `add_demo` adds both to the API's application.

The page is a client of `/v1/chat/completions`; examples come from `examples.py`, the look into a reply from `look.py`.
"""

# no postponed annotations: FastAPI reads those of functions inside of `add_demo`
from dataclasses import asdict
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Response

from neuraltuning.report.overlay import PALETTE
from neuraltuning.serving.api.body import BoundedRoute
from neuraltuning.serving.api.errors import ApiError
from neuraltuning.serving.api.service import Service
from neuraltuning.serving.demo.examples import examples
from neuraltuning.serving.demo.look import LookReply, LookRequest, answer_look

SCRIPTS = (
    "main.js",
    "chat.js",
    "conversation.js",
    "dom.js",
    "downloads.js",
    "insight.js",
    "layers.js",
    "legend.js",
    "mentions.js",
    "pictures.js",
    "requests.js",
    "turns.js",
    "viewer.js",
)
PAGE = {"demo.css": "text/css; charset=utf-8", **dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8")}
"""Files of the page that are served, beside index.html."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
}
"""Of the page; Trusted Types let no text become markup, whatever a script does."""


def add_demo(app: FastAPI, service: Service) -> None:
    """Adds the page and its endpoints.

    Args:
        app: the API's application.
        service: what its endpoints share.
    """
    router = APIRouter(route_class=BoundedRoute, include_in_schema=False)

    @router.get("/")
    async def index() -> Response:
        return _page_file("index.html", "text/html; charset=utf-8")

    @router.get("/page/{name}")
    async def page(name: str) -> Response:
        if name not in PAGE:
            raise ApiError(404, "There is no such file.")
        return _page_file(name, PAGE[name])

    @router.get("/demo/session")
    def session() -> dict[str, Any]:
        """What the page begins with: the model and what it can do, and examples of that."""
        service.gate.check()
        card = next(iter(service.cards.values()))
        able = {
            "segment": "<OBJ>" in card.tokens,
            "reason": "<OBJ>" in card.tokens,
            "describe": True,
            "ask": True,
            "draw": "<GEN>" in card.tokens,
        }
        shown = [
            {
                "picture": f"/demo/examples/{number}",
                "title": example.title,
                "requests": [asdict(request) for request in example.requests if able[request.task]],
            }
            for number, example in enumerate(examples())
        ]
        palette = ["#{:02x}{:02x}{:02x}".format(*color) for color in PALETTE]
        return {"model": card.name, "able": able, "examples": shown, "palette": palette}

    @router.get("/demo/examples/{number}")
    def picture(number: Annotated[int, Path(ge=0)]) -> Response:
        found = examples()
        if number >= len(found):
            raise ApiError(404, f"There is no example {number}; the last one is {len(found) - 1}.")
        return Response(found[number].png, media_type="image/png")

    @router.post("/demo/look")
    async def look(body: LookRequest) -> LookReply:
        return await answer_look(service, body)

    app.include_router(router)


def _page_file(name: str, kind: str) -> Response:
    text = resources.files("neuraltuning.serving.demo").joinpath("page").joinpath(name).read_text(encoding="utf-8")
    return Response(text, media_type=kind, headers=HEADERS)
