"""Decoders by name. A package of its own adds one through the entry point group `neuraltuning.decoders`, or with
`register_decoder` before a model is built; an entry point names a `Decoder` subclass.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from neuraltuning.decoders.base import Decoder, StateShape
from neuraltuning.decoders.image import ImageDecoder
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.errors import InputError

ENTRY_POINTS = "neuraltuning.decoders"

_DECODERS: dict[str, type[Decoder]] = {}


def register_decoder(name: str, decoder_class: type[Decoder]) -> None:
    """Makes `decoder_class` known as `name`.

    Its constructor is called with the keyword arguments `state` (`StateShape`), `encoder` (`ImageEncoder`) and the
    settings that stand under `name` in the model's configuration.

    Raises:
        ValueError: the name is taken by another class.
    """
    if _DECODERS.get(name, decoder_class) is not decoder_class:
        raise ValueError(f"The decoder name {name!r} is taken by {_DECODERS[name].__qualname__}; choose another.")
    _DECODERS[name] = decoder_class


register_decoder("mask", MaskDecoder)
register_decoder("image", ImageDecoder)


def build_decoder(name: str, state: StateShape, encoder: ImageEncoder, settings: dict[str, Any]) -> Decoder:
    """Makes an untrained decoder.

    Raises:
        InputError: there is no decoder of that name, or it has no such setting.
    """
    if name not in _DECODERS:
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            register_decoder(name, entry.load())
    if name not in _DECODERS:
        known = sorted({*_DECODERS, *(e.name for e in entry_points(group=ENTRY_POINTS))})
        raise InputError(f"There is no decoder named {name!r}; known: {', '.join(known)}.")
    try:
        return _DECODERS[name](state=state, encoder=encoder, **settings)
    except TypeError as error:
        raise InputError(f"The settings of the decoder {name!r} don't fit: {error}.") from error
