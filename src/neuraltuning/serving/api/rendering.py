"""Masks, pictures and counts of a reply as they stand in a response. Called in threads: encoding takes time."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from neuraltuning.data.records import encode_mask
from neuraltuning.serving.api.fields import DrawnPicture, FoundObject, ImageUrl, RunLengths, Usage
from neuraltuning.serving.engine_types import Finished, MaskFound, PictureDrawn

if TYPE_CHECKING:
    from PIL import Image

    from neuraltuning.reply import Reply


def found_object(found: MaskFound, *, png: bool) -> FoundObject:
    """One mask; with `png` also as a picture."""
    code = encode_mask(found.mask)
    rendered = FoundObject(
        index=found.index,
        segmentation=RunLengths(size=code["size"], counts=code["counts"]),
        bbox=found.box,
        area=int(found.mask.sum()),
        score=found.score,
    )
    if png:
        from PIL import Image

        rendered.mask_png = png_base64(Image.fromarray(found.mask))
    return rendered


def found_objects(reply: Reply, *, png: bool) -> list[FoundObject]:
    """All masks of a reply, in the order of their tokens."""
    boxes = [tuple(map(float, box)) for box in reply.boxes]
    return [
        found_object(MaskFound(index, mask, float(score), box), png=png)  # type: ignore[arg-type]
        for index, (mask, score, box) in enumerate(zip(reply.masks, reply.scores, boxes, strict=True))
    ]


def drawn_picture(drawn: PictureDrawn) -> DrawnPicture:
    """One picture in the form in which requests send theirs."""
    url = f"data:image/png;base64,{png_base64(drawn.image)}"
    return DrawnPicture(index=drawn.index, type="image_url", image_url=ImageUrl(url=url))


def drawn_pictures(reply: Reply) -> list[DrawnPicture]:
    """All pictures of a reply, in the order of their tokens."""
    return [drawn_picture(PictureDrawn(index, image)) for index, image in enumerate(reply.images)]


def png_base64(image: Image.Image) -> str:
    """A picture's PNG in base64."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def usage(*replies: Finished) -> Usage:
    """The tokens of one request's replies together."""
    prompt = sum(reply.prompt_tokens for reply in replies)
    completion = sum(reply.completion_tokens for reply in replies)
    cached = sum(reply.cached_tokens for reply in replies)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=Usage.PromptDetails(cached_tokens=cached),
    )
