"""Puts the endpoints together: `create_app` makes the application that `neuraltuning.serving.api.server` runs."""

# no postponed annotations: FastAPI reads those of functions inside of `create_app`
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import neuraltuning
from neuraltuning.errors import InputError
from neuraltuning.serving.api.access import OPEN_PATHS, Access
from neuraltuning.serving.api.body import BoundedRoute
from neuraltuning.serving.api.chat import answer_chat
from neuraltuning.serving.api.chat_types import ChatCompletion, ChatRequest
from neuraltuning.serving.api.drawing import DrawingRequest, Drawings, answer_drawing
from neuraltuning.serving.api.errors import ClientGone, ErrorResponse, handle
from neuraltuning.serving.api.front import Front
from neuraltuning.serving.api.segment import Segmentation, SegmentRequest, answer_segment
from neuraltuning.serving.api.service import ModelCard, Service
from neuraltuning.serving.engine_types import EngineClosed, QueueFull

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "The request can't be used, or not now."},
    "5XX": {"model": ErrorResponse, "description": "The server can't answer."},
}
FIGURES = {"text/plain": {"schema": {"type": "string"}}}
EVENTS = {"text/event-stream": {"schema": {"type": "string", "description": "Events of chat.completion.chunk."}}}


class Model(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["neuraltuning"]


class ModelList(BaseModel):
    """All served models."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """An answer to probes."""

    status: Literal["ok"]


def create_app(
    service: Service,
    *,
    key: str | None = None,
    origins: Sequence[str] = (),
    open_paths: tuple[str, ...] = OPEN_PATHS,
) -> FastAPI:
    """The application of one service.

    Args:
        service: what the endpoints share.
        key: what clients have to send; None: nothing, and only by a name of this computer.
        origins: sites whose pages may call it.
        open_paths: paths that take no key (see `Access`).
    """
    app = FastAPI(
        title="neuraltuning",
        version=neuraltuning.__version__,
        description="Chat about pictures, masks and drawing, by OpenAI's rules; docs/serving.md says more.",
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to whatever host the request named
    )
    app.state.limits = service.limits
    app.add_middleware(
        Front,
        access=Access(key, open_paths),
        gate=service.gate,
        limits=service.limits,
        metrics=service.metrics,
    )
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"], max_age=600
        )
    for error in (HTTPException, RequestValidationError, InputError, QueueFull, EngineClosed, ClientGone):
        app.exception_handler(error)(handle)
    router = APIRouter(
        route_class=BoundedRoute,
        responses=ERRORS,
        dependencies=[] if key is None else [Security(HTTPBearer(auto_error=False))],
    )

    @router.post(
        "/v1/chat/completions", response_model=ChatCompletion, responses={200: {"content": EVENTS}}, tags=["OpenAI"]
    )
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """Goes on with a conversation about a picture, or without one."""
        return await answer_chat(service, request, body)

    @router.post("/v1/images/generations", response_model=Drawings, tags=["OpenAI"])
    async def images_generations(request: Request, body: DrawingRequest) -> Response:
        """Draws pictures of a description."""
        return await answer_drawing(service, request, body)

    @router.get("/v1/models", tags=["OpenAI"])
    async def models() -> ModelList:
        """The served models."""
        service.gate.check()
        return ModelList(object="list", data=[_model(card) for card in service.cards.values()])

    @router.get("/v1/models/{model:path}", tags=["OpenAI"])
    async def model(model: str) -> Model:
        """One served model."""
        return _model(service.card(model))

    @router.post("/v1/segment", response_model=Segmentation, tags=["masks"])
    async def segment(request: Request, body: SegmentRequest) -> Response:
        """Finds masks in a picture."""
        return await answer_segment(service, request, body)

    @router.get("/metrics", tags=["operation"], response_class=Response, responses={200: {"content": FIGURES}})
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    probes = APIRouter(responses=ERRORS, tags=["operation"])

    @probes.get("/healthz")
    async def healthz() -> Health:
        """The process lives."""
        return Health(status="ok")

    @probes.get("/readyz")
    async def readyz() -> Health:
        """A request would be taken: the models are loaded, and the server doesn't shut down."""
        service.gate.check()
        return Health(status="ok")

    app.include_router(router)
    app.include_router(probes)
    return app


def _model(card: ModelCard) -> Model:
    return Model(id=card.name, object="model", created=card.created, owned_by="neuraltuning")
