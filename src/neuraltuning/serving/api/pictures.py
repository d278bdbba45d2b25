"""Opens the pictures of requests: from data URLs, or, where the operator allows hosts, from addresses.

Decoding runs in threads of its own, two at a time, so that the event loop goes on. No address becomes a path.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from neuraltuning.data.images import decode_image
from neuraltuning.errors import InputError
from neuraltuning.serving.api.errors import ApiError

if TYPE_CHECKING:
    from PIL import Image

    from neuraltuning.serving.api.remote_pictures import RemotePictures

DECODERS = 2
"""Pictures that are unpacked at once."""


class Pictures:
    """Opens pictures within a limit of pixels."""

    def __init__(self, pixels: int, remote: RemotePictures | None = None) -> None:
        """Takes the largest accepted width x height, and what fetches pictures from addresses, if they are allowed."""
        self._pixels, self._remote = pixels, remote
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="pictures")

    async def open(self, url: str, param: str) -> Image.Image:
        """The picture as 8-bit RGB, the right way up.

        Args:
            url: `data:image/...;base64,...`, or an address.
            param: the request's field that it stands in, for errors.

        Raises:
            ApiError: 400: no such URL, broken base64, no picture or too large a one, or its address is not allowed.
        """
        try:
            if url[:5].lower() == "data:":
                content = None
            elif self._remote is None:
                raise InputError("a picture is sent as a data URL (data:image/png;base64,...); addresses are not read.")
            else:
                content = await self._remote.fetch(url)
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, url, content)
        except InputError as error:
            raise ApiError(400, f"{param}: {error}", param=param, code="invalid_image") from None

    def _decode(self, url: str, content: bytes | None) -> Image.Image:
        data = _data_url(url) if content is None else content
        return decode_image(data, "the picture", max_pixels=self._pixels)


def _data_url(url: str) -> bytes:
    """What a data URL holds.

    Raises:
        InputError: no picture's media type, or no base64.
    """
    head, comma, text = url.partition(",")
    kind, *parameters = head[5:].lower().split(";")
    if not comma or "base64" not in parameters[-1:]:
        raise InputError("a data URL begins with data:image/png;base64, or another picture's type.")
    if not kind.startswith("image/"):
        raise InputError(f"a picture's media type begins with image/, this one is {kind[:60]!r}.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the data URL's base64 is broken; encode the picture's file again.") from None
