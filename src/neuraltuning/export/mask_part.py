"""The part that draws masks: the bridge of `<OBJ>` and the mask decoder behind it. Knows nothing of ONNX."""

from __future__ import annotations

import torch
from torch import Tensor

from neuraltuning.bridge import Bridge, Readings
from neuraltuning.decoders.mask import MaskDecoder
from neuraltuning.encoders.base import ImageFeatures
from neuraltuning.export.part import Comparisons, Part, Run, example_pixels, map_names
from neuraltuning.model import MultitaskModel


class MaskPart(Part):
    """What the bridge reads of `<OBJ>` tokens, and an image's features -> masks."""

    name = "mask_decoder"
    does = "readings of task tokens and features of their images -> logits of masks (the bridge and the mask decoder)"

    def __init__(self, model: MultitaskModel, bridge: Bridge, decoder: MaskDecoder) -> None:
        super().__init__()
        self.model = (model,)
        self.bridge = bridge
        self.decoder = decoder
        self.maps = map_names(model.encoder)
        self.with_words = bridge.n_words > 0
        self.with_boxes = self.with_words and model.naming is not None
        self.inputs, _ = self._example(2, 3, 4)
        self.open_axes = {name: {0: "images"} for name in self.inputs}
        self.open_axes |= {name: {0: "masks"} for name in ("owners", "states")}
        if self.with_words:
            self.open_axes |= {name: {0: "masks", 1: "mention_length"} for name in ("said", "in_mention")}
            self.open_axes["replies"] = {0: "masks"}
        self.outputs = ("mask_logits",)

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        tokens, states = given["tokens"], given["states"]
        maps = tuple(given[name] for name in self.maps)
        features = ImageFeatures(tokens, maps, words=given.get("words"), boxes=given.get("boxes"))
        readings = Readings(states, states[:, None, :0], states[:, :0] > 0)
        if self.with_words:
            readings = Readings(states, given["said"] - self.bridge.word_mean, given["in_mention"])
        return (self.decoder(self.bridge(readings), features, given["owners"], given.get("replies")),)

    def comparisons(self, run: Run) -> Comparisons:
        for images, masks, mention in ((1, 1, 1), (2, 5, 9)):
            given, wanted = self._example(images, masks, mention)
            yield "mask_logits", wanted, run(given)["mask_logits"]

    def _example(self, images: int, masks: int, mention: int) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs about texts and example images, and what the model makes of them; each second mention is shorter."""
        (model,) = self.model
        features, _ = model.see(example_pixels(model.encoder, images))
        ids = torch.arange(masks * (mention + 2)).view(masks, -1) * 11 % model.task_tokens.vocabulary_size
        embeds = model.embed(ids)
        by_layer = dict.fromkeys(self.bridge.layers, embeds)
        rows, tokens = torch.arange(masks), torch.full((masks,), mention + 1)
        readings = self.bridge.read(embeds, by_layer, rows, tokens - mention + rows % 2, tokens)
        drawn = torch.randn(readings.states.shape, generator=torch.Generator().manual_seed(masks))
        readings.states = self.bridge.mean + drawn / self.bridge.scale  # of the size that the bridge was fitted to
        owners = rows % images
        given: dict[str, Tensor | None] = {"tokens": features.tokens}
        given |= zip(self.maps, features.maps, strict=True)
        if self.with_words:
            given["words"] = features.words
        if self.with_boxes:
            given["boxes"] = features.boxes
        given["owners"] = owners
        if self.with_words:
            given["replies"] = owners
        given["states"] = readings.states
        if self.with_words:
            given |= {"said": readings.said + self.bridge.word_mean, "in_mention": readings.in_mention}
        wanted = self.decoder(self.bridge(readings), features, owners, given.get("replies"))
        return {name: tensor for name, tensor in given.items() if tensor is not None}, wanted
