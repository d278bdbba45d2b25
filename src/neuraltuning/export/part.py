"""What a part of a model is that becomes an ONNX file, and the names that parts share. Knows nothing of ONNX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from PIL import Image
from torch import Tensor, nn

from neuraltuning.encoders.base import ImageEncoder
from neuraltuning.errors import RunError

Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Runs an exported part: named inputs -> named outputs."""
Comparisons = Iterator[tuple[str, Tensor, Tensor]]
"""Name of an output, what the model gives, and what the exported part gives in its place."""


class NotExportable(RunError):
    """A part has no ONNX form; the sentence says which and why."""

    def __init__(self, part: str, sentence: str) -> None:
        super().__init__(sentence)
        self.part = part


class Part(nn.Module, ABC):
    """One part of a model, a module whose inputs and outputs have names.

    Attributes:
        name: of its file, without the ending.
        does: what it does, for the manifest.
        inputs: name -> the tensor that it is traced with.
        open_axes: input -> axis -> name of the axes that may have any length.
        outputs: the names of what `forward` gives.
    """

    name: str
    does: str
    inputs: dict[str, Tensor]
    open_axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]

    @abstractmethod
    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Inputs by name -> what `outputs` names."""

    @abstractmethod
    def comparisons(self, run: Run) -> Comparisons:
        """Runs the exported part on inputs that it was not traced with, and the model itself on the same."""


def map_names(encoder: ImageEncoder) -> tuple[str, ...]:
    """Names of the feature maps, fine to coarse."""
    return tuple(f"map.{number}" for number in range(len(encoder.map_shapes)))


def hidden_name(layer: int) -> str:
    """Name of the states of a layer, 0 being the input vectors."""
    return f"hidden_states.{layer}"


def example_pixels(encoder: ImageEncoder, images: int) -> Tensor:
    """Pictures of coloured boxes, as the encoder takes them: (images, 3, S, S)."""
    pictures = []
    for number in range(images):
        picture = Image.new("RGB", (64, 48), ("white", "lightblue", "olive")[number % 3])
        for place, colour in enumerate(("red", "navy", "gold", "green")):
            left, top = 4 + 15 * place, 5 + (11 * place + 7 * number) % 27
            picture.paste(colour, (left, top, left + 9 + 2 * number, top + 14))
        pictures.append(picture)
    return encoder.preprocess(pictures)
