"""The parts that see: the frozen encoder, and the projector with the names of what it sees. Knows nothing of ONNX."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from neuraltuning.export.naming_graph import NamingGraph
from neuraltuning.export.part import Comparisons, Part, Run, example_pixels, map_names
from neuraltuning.model import MultitaskModel
from neuraltuning.naming import NOTHING, PatchClassifier


class EncoderPart(Part):
    """Pixels -> the frozen encoder's features."""

    name = "encoder"
    does = "pixels -> features of an image: patch tokens, maps for the mask decoder, one embedding"

    def __init__(self, model: MultitaskModel) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.inputs = {"pixel_values": example_pixels(model.encoder, 2)}
        self.open_axes = {"pixel_values": {0: "images"}}
        self.outputs = ("tokens", *map_names(model.encoder), "image_embedding")

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        features = self.encoder(given["pixel_values"], embedding=True)
        assert features.embedding is not None
        return features.tokens, *features.maps, features.embedding

    def comparisons(self, run: Run) -> Comparisons:
        for images in (1, 3):
            given = {"pixel_values": example_pixels(self.encoder, images)}
            found = run(given)
            for name, wanted in zip(self.outputs, self(given), strict=True):
                yield name, wanted, found[name]


class ProjectorPart(Part):
    """An image's tokens -> vectors for the language model, its names, and what the mask decoder compares with words."""

    name = "projector"
    word_mean: Tensor
    pooled: Tensor
    classes: Tensor
    attributes: Tensor

    does = "patch tokens -> input vectors of the language model, the image's names, words and boxes of the patches"

    def __init__(self, model: MultitaskModel) -> None:
        super().__init__()
        self.model = (model,)  # in a tuple it is no submodule: the graph needs little of it
        self.projector = model.projector
        self.register_buffer("word_mean", model.word_mean, persistent=False)
        self.register_buffer("pooled", model.pooled, persistent=False)
        self.inputs = {"tokens": model.encoder(example_pixels(model.encoder, 2)).tokens}
        self.open_axes = {"tokens": {0: "images"}}
        self.outputs = ("patch_vectors", "words")
        self.naming = None
        if model.naming is not None:
            self.naming = NamingGraph(model.naming)
            self.outputs += ("boxes", "name_ids", "name_details")
            for kind in ("classes", "attributes"):
                self.register_buffer(kind, _known(model, getattr(model.naming, kind)), persistent=False)

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        tokens = given["tokens"]
        projected, detail = self.projector.split(tokens)
        words, seen = projected - self.word_mean, self.pooled @ projected
        if self.naming is None:
            return seen, words
        said = self.naming(tokens)
        words = F.normalize(words, dim=-1) + said.classes @ self.classes + said.attributes @ self.attributes
        return seen, words, said.boxes, said.ids, said.shares @ detail

    def comparisons(self, run: Run) -> Comparisons:
        (model,) = self.model
        for images in (1, 3):
            pixels = example_pixels(model.encoder, images)
            features, vectors = model.see(pixels)
            found = run({"tokens": features.tokens})
            patches = len(model.pooled)
            assert features.words is not None
            yield "patch_vectors", vectors[:, :patches], found["patch_vectors"]
            yield "words", features.words, found["words"]
            if model.naming is None:
                continue
            assert features.boxes is not None
            yield "boxes", features.boxes, found["boxes"]
            yield "name_ids", model.naming(features.tokens).ids, found["name_ids"]
            yield "name_details", vectors[:, patches:], found["name_details"] + model.embed(found["name_ids"])


def _known(model: MultitaskModel, classifier: PatchClassifier) -> Tensor:
    """(V, D) the words that a classifier's classes stand for, as `MultitaskModel.see` compares them."""
    pieces = classifier.mean_pieces(model.language_model.get_input_embeddings())
    known = F.normalize(pieces - model.word_mean, dim=-1)
    known[NOTHING] = 0.0
    return known
