"""The parts that read and write: token vectors, and the tuned language model over its cache. Knows nothing of ONNX."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache

from neuraltuning.export.part import Comparisons, NotExportable, Part, Run, hidden_name
from neuraltuning.model import MultitaskModel


class EmbeddingPart(Part):
    """Token ids, task tokens among them -> input vectors."""

    name = "embedding"
    does = "token ids -> input vectors of the language model, those of task tokens from their own rows"

    def __init__(self, model: MultitaskModel) -> None:
        super().__init__()
        self.model = (model,)
        self.embedding = model.language_model.get_input_embeddings()
        self.task_tokens = model.task_tokens
        self.inputs = {"input_ids": self._ids(2, 5)}
        self.open_axes = {"input_ids": {0: "rows", 1: "length"}}
        self.outputs = ("inputs_embeds",)

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return (self.task_tokens.embed(self.embedding, given["input_ids"]),)

    def comparisons(self, run: Run) -> Comparisons:
        (model,) = self.model
        for rows, length in ((1, 1), (3, 40)):
            ids = self._ids(rows, length)
            yield "inputs_embeds", model.embed(ids), run({"input_ids": ids})["inputs_embeds"]

    def _ids(self, rows: int, length: int) -> Tensor:
        """Ids from all over the vocabulary, the task tokens first."""
        model = self.model[0]
        rest = torch.linspace(0, self.embedding.weight.shape[0] - 1, rows * length).long()
        return torch.cat([model.task_tokens.ids, rest])[: rows * length].view(rows, length)


class LanguagePart(Part):
    """The tuned language model over its keys and values: the prompt's pass with none, then one token at a time."""

    name = "language_model"
    does = (
        "input vectors, and keys and values of what came before -> logits behind the last position, hidden states that "
        "the bridges read, and all keys and values; reads the prompt with a past of length 0, then token after token"
    )

    def __init__(self, model: MultitaskModel) -> None:
        """Finds out what the language model caches.

        Raises:
            NotExportable: its weights are quantised, or it caches something else than keys and values.
        """
        super().__init__()
        if getattr(model.language_model, "is_quantized", False):
            raise NotExportable(
                self.name,
                f"The language model {model.settings.llm} is quantised, which ONNX files can't express: tune one with "
                "ordinary weights, or serve this model with `neuraltuning predict`.",
            )
        self.model = model
        self.layers = sorted({layer for name in model.decoders for layer in model.bridge(name).layers})
        past = self._probe()
        names = [f"{{}}.{layer}.{kind}" for layer in range(len(past) // 2) for kind in ("key", "value")]
        rows, past_length, length = 2, past[0].shape[2], 4
        self.inputs = {
            "inputs_embeds": self._vectors(rows, length),
            "attention_mask": torch.ones(rows, past_length + length, dtype=torch.int64),
            "position_ids": torch.arange(past_length, past_length + length).expand(rows, length).clone(),
        }
        self.open_axes = {
            "inputs_embeds": {0: "rows", 1: "length"},
            "attention_mask": {0: "rows", 1: "total_length"},
            "position_ids": {0: "rows", 1: "length"},
        }
        for name, tensor in zip(names, past, strict=True):
            self.inputs[name.format("past_key_values")] = tensor
            self.open_axes[name.format("past_key_values")] = {0: "rows", 2: "past_length"}
        self.presents = tuple(name.format("present") for name in names)
        self.outputs = ("logits", *(hidden_name(layer) for layer in self.layers), *self.presents)

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        vectors, attended, positions, *past = given.values()
        cache = DynamicCache()  # of full length in each layer: the mask keeps a sliding window
        for layer, (keys, values) in enumerate(zip(past[::2], past[1::2], strict=True)):
            cache.update(keys, values, layer)
        output = self.model.hidden_states(
            vectors,
            attention_mask=self._masks(attended, vectors.shape[1]),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        hidden = [output.hidden_states[layer] for layer in self.layers]
        logits = self.model.logits(output.last_hidden_state[:, -1])
        return logits, *hidden, *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))

    def comparisons(self, run: Run) -> Comparisons:
        """Two rows, one of them shorter, read in three steps against the model's one pass without a cache."""
        rows, steps = 2, (9, 1, 2)
        padding, total = 3, sum(steps)
        vectors = self._vectors(rows, total)
        attention = torch.ones(rows, total, dtype=torch.int64)
        attention[1, :padding] = 0
        positions = (attention.cumsum(1) - 1).clamp_min(0)
        mask = self._masks(attention, total)
        wanted = self.model.hidden_states(vectors, attention_mask=mask, position_ids=positions, use_cache=False)
        logits = self.model.logits(wanted.last_hidden_state.flatten(0, 1)).unflatten(0, (rows, total))
        past = [tensor[:rows, :, :0] for name, tensor in self.inputs.items() if name.startswith("past_key_values")]
        end = 0
        for step in steps:
            start, end = end, end + step
            feed = [vectors[:, start:end], attention[:, :end], positions[:, start:end], *past]
            found = run(dict(zip(self.inputs, feed, strict=True)))
            yield "logits", logits[:, end - 1], found["logits"]
            read = attention[:, start:end].bool()
            for layer in self.layers:
                states = wanted.hidden_states[layer][:, start:end]
                yield hidden_name(layer), states[read], found[hidden_name(layer)][read]
            past = [found[name] for name in self.presents]

    def _probe(self) -> list[Tensor]:
        """Keys and values of two rows of three positions: for each layer (2, heads, 3, head size) twice."""
        cache = DynamicCache()
        name = type(self.model.language_model).__name__
        try:
            attended = torch.ones(2, 3, dtype=torch.int64)
            self.model.hidden_states(
                self._vectors(2, 3),
                attention_mask=self._masks(attended, 3),
                position_ids=attended.cumsum(1) - 1,
                past_key_values=cache,
                use_cache=True,
            )
            found = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        except Exception as error:  # each family has its own words for a cache that it doesn't know
            raise NotExportable(
                self.name,
                f"The language model ({name}) can't be exported: it doesn't run on plain keys and values "
                f"({_first_line(error)}).",
            ) from error
        if not found or any(not isinstance(t, Tensor) or t.ndim != 4 or t.shape[2] != 3 for t in found):
            raise NotExportable(
                self.name,
                f"The language model ({name}) can't be exported: it keeps no keys and values of earlier positions, "
                "which is what an exported decode step hands on.",
            )
        return found

    def _masks(self, attended: Tensor, length: int) -> Tensor | dict[str, Tensor]:
        return self.model.masks(lambda window: _allowed(attended, length, window))

    def _vectors(self, rows: int, length: int) -> Tensor:
        """Some of the vocabulary's vectors, (rows, length, D)."""
        ids = torch.arange(rows * length).view(rows, length) * 7 % self.model.task_tokens.vocabulary_size
        return self.model.embed(ids)


def _allowed(attended: Tensor, length: int, window: int | None) -> Tensor:
    """(rows, 1, length, past + length) bool, where the last `length` positions may look: at what is attended and came
    before, with `window` only at so many of the last positions; attended is (rows, past + length) int64."""
    total = attended.shape[1]
    keys, queries = torch.arange(total), torch.arange(total - length, total)
    allowed = keys <= queries[:, None]
    if window is not None:
        allowed = allowed & (queries[:, None] - keys < window)
    return allowed & attended[:, None, None].bool()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
