"""Kinds of JSON values that requests and responses of several endpoints share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 8.0 is 8."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _off(value: bool) -> bool:
    if value:
        raise ValueError("this can't be had; leave it out")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]
Nothing = Annotated[list[Any], Field(max_length=0)] | None
"""Of a field that is taken only where it asks for nothing."""
Off = Annotated[bool, AfterValidator(_off), Field(json_schema_extra={"const": False})] | None
"""Likewise. (A literal False would take 0 too.)"""
Ignored = Annotated[Any, Field(description="Taken and not used.")]
MaskPng = Annotated[bool, Field(description="Give each object its mask as a PNG too, in base64.")]


class RequestBody(BaseModel):
    """Base of what clients send: no guessing of types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Usage(BaseModel):
    """Tokens of a request; those of its image are among the prompt's."""

    class PromptDetails(BaseModel):
        """`cached_tokens` were remembered from an earlier request."""

        cached_tokens: int

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class RunLengths(BaseModel):
    """COCO's compressed run-length encoding of a mask; `size` is height and width."""

    size: tuple[int, int]
    counts: str


class FoundObject(BaseModel):
    """What an `<OBJ>` of the reply means.

    Attributes:
        index: of the `<OBJ>` in the text, from 0.
        segmentation: the mask, at the size of the upright picture.
        bbox: x, y, width and height in pixels; zeros where the mask is empty.
        area: of the mask, in pixels.
        score: the mask decoder's mean probability inside the mask.
        mask_png: the mask as a black and white PNG in base64, where it was asked for.
    """

    index: int
    segmentation: RunLengths
    bbox: tuple[float, float, float, float]
    area: int
    score: float
    mask_png: str = ""


class ImageUrl(BaseModel):
    """A data URL of a PNG."""

    url: str


class DrawnPicture(BaseModel):
    """What a `<GEN>` of the reply was drawn as; `index` counts them from 0."""

    index: int
    type: str
    image_url: ImageUrl
