"""Decoders by name. A package of its own can add one with `register_decoder` before a model is built."""

from __future__ import annotations

from typing import Any

from neuraltuning.decoders.base import Decoder
from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.errors import InputError

_DECODERS: dict[str, type[Decoder]] = {}


def register_decoder(name: str, decoder_class: type[Decoder]) -> None:
    """Makes `decoder_class` known as `name`.

    Its constructor is called with the keyword arguments `state_size` (int), `encoder` (`ImageEncoder`) and the
    settings that stand under `name` in the model's configuration.

    Raises:
        ValueError: the name is taken by another class.
    """
    if _DECODERS.get(name, decoder_class) is not decoder_class:
        raise ValueError(f"The decoder name {name!r} is taken by {_DECODERS[name].__qualname__}; choose another.")
    _DECODERS[name] = decoder_class


def build_decoder(name: str, state_size: int, encoder: ImageEncoder, settings: dict[str, Any]) -> Decoder:
    """Makes an untrained decoder.

    Raises:
        InputError: there is no decoder of that name, or it has no such setting.
    """
    if name not in _DECODERS:
        raise InputError(f"There is no decoder named {name!r}; known: {', '.join(sorted(_DECODERS))}.")
    try:
        return _DECODERS[name](state_size=state_size, encoder=encoder, **settings)
    except TypeError as error:
        raise InputError(f"The settings of the decoder {name!r} don't fit: {error}.") from error


def _register_own() -> None:
    from neuraltuning.decoders.image import ImageDecoder
    from neuraltuning.decoders.mask import MaskDecoder

    register_decoder("mask", MaskDecoder)
    register_decoder("image", ImageDecoder)


_register_own()
