"""Greedy decoding with a KV cache, collecting the states of task tokens on the way. Knows nothing of decoders.

transformers' `generate` sees neither the task tokens' rows nor the hidden states of chosen layers, hence this loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from neuraltuning.bridge import Bridge, Readings
from neuraltuning.packing import IMAGE_PLACE

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel


@dataclass
class TokenStates:
    """The occurrences of one task token in generated replies.

    Attributes:
        rows: the sequence that each stands in, in the order of generation.
        readings: what the bridge reads for each.
    """

    rows: list[int]
    readings: Readings


@dataclass
class Generated:
    """Replies as token ids, and the states of their task tokens by the decoders' names."""

    ids: list[list[int]]
    tokens: dict[str, TokenStates] = field(default_factory=dict)


def generate(
    model: MultitaskModel,
    prompts: Sequence[Sequence[int]],
    image_tokens: Tensor | None,
    row_images: Tensor,
    max_new_tokens: Sequence[int],
) -> Generated:
    """Continues each prompt until its end token, the likeliest token at each step.

    What stands before the prompt is read once for each image, where several prompts are about one.

    Args:
        model: in evaluation mode.
        prompts: token ids of B prompts.
        image_tokens: (I, `model.image_length`, D) projected tokens of the distinct images, or None.
        row_images: (B,) int64, each prompt's image; -1 for none.
        max_new_tokens: the longest reply of each prompt.
    """
    cache = DynamicCache(config=model.language_model.config)
    bos = [] if model.format.bos_id is None else [model.format.bos_id]
    opening = bos + [IMAGE_PLACE] * model.image_length
    longest = len(opening) + max(map(len, prompts)) + max(max_new_tokens)
    if image_tokens is not None and _shareable(model, row_images, longest):
        _read_openings(model, opening, image_tokens, cache)
        cache.batch_select_indices(row_images)
        input_ids, own = _left_padded(model, prompts)
        embeds = model.embed(input_ids)
    else:
        openings = [opening if image >= 0 else bos for image in row_images.tolist()]
        input_ids, own = _left_padded(model, [[*o, *p] for o, p in zip(openings, prompts, strict=True)])
        embeds = model.embed(input_ids, image_tokens, row_images[row_images >= 0])
    attention = torch.cat([own.new_ones(len(prompts), cache.get_seq_length()), own], 1)
    positions = (attention.cumsum(1) - 1).clamp_min(0)[:, -own.shape[1] :]
    token_names = {int(i): name for i, name in zip(model.task_tokens.ids, model.decoders, strict=True)}
    collected: dict[str, list[tuple[int, Readings]]] = {name: [] for name in model.decoders}
    replies: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))  # the sequences that still grow, in the cache's order
    layers = sorted({layer for name in model.decoders for layer in model.bridge(name).layers})
    said: list[_Mention] = []
    fed: list[int] = []
    while rows:
        output = model.hidden_states(
            embeds, attention_mask=attention, position_ids=positions, past_key_values=cache, use_cache=True
        )
        read = torch.stack([embeds.float(), *(output.hidden_states[layer].float() for layer in layers)], dim=2)
        if not said:  # the prompt belongs to the mention where there is no image
            said = [_Mention(read[row], own[row], whole=image < 0) for row, image in enumerate(row_images.tolist())]
        for place, token in enumerate(fed):
            said[rows[place]].add(read[place])
            if token in token_names:
                name = token_names[token]
                collected[name].append((rows[place], said[rows[place]].close(model.bridge(name), layers)))
        chosen = model.logits(output.last_hidden_state[:, -1]).argmax(-1)
        keep = []
        fed = []
        for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if token == model.format.eos_id or len(replies[row]) >= max_new_tokens[row]:
                continue
            replies[row].append(token)
            keep.append(place)
            fed.append(token)
        if len(keep) < len(rows):
            index = torch.tensor(keep, dtype=torch.int64)
            rows = [rows[k] for k in keep]
            if not rows:
                break
            cache.batch_select_indices(index)
            attention, positions, chosen = attention[index], positions[index], chosen[index]
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], 1)
        positions = positions[:, -1:] + 1
        embeds = model.embed(chosen[:, None])
    tokens = {
        name: TokenStates([r for r, _ in found], Readings.join([reading for _, reading in found]))
        for name, found in collected.items()
        if found
    }
    return Generated(replies, tokens)


class _Mention:
    """What is read of the text since the last task token of one sequence, and of the position before it."""

    def __init__(self, states: Tensor, attention: Tensor, *, whole: bool) -> None:
        """Begins behind a prompt, or with it and for good if `whole`.

        Args:
            states: (T, 1 + layers, D) input vectors and states.
            attention: (T,) 1 where there is text.
        """
        self.whole = whole
        self.states = [states[attention.bool()] if whole else states[-1:]]

    def add(self, states: Tensor) -> None:
        """One position more, (1, 1 + layers, D)."""
        self.states.append(states)

    def close(self, bridge: Bridge, layers: Sequence[int]) -> Readings:
        """What `bridge` reads where the last position is a task token; another mention begins behind it."""
        states = torch.cat(self.states)
        by_layer = {layer: states[None, :, 1 + place] for place, layer in enumerate(layers)}
        zero = torch.zeros(1, dtype=torch.int64, device=states.device)
        start = zero if self.whole else zero + 1
        readings = bridge.read(states[None, :, 0], by_layer, zero, start, zero + len(states) - 1)
        self.states = [states if self.whole else states[-1:]]
        return readings


def _shareable(model: MultitaskModel, row_images: Tensor, longest: int) -> bool:
    """Whether images can be read once for all of their prompts, and whether that saves anything.

    Padding then stands between image and prompt. A sliding window counts it, so the longest sequence must fit into one.
    """
    window = getattr(model.language_model.config.get_text_config(), "sliding_window", None)
    saves = bool((row_images >= 0).all()) and len(row_images.unique()) < len(row_images)
    return saves and (window is None or longest <= window)


def _read_openings(model: MultitaskModel, opening: Sequence[int], image_tokens: Tensor, cache: DynamicCache) -> None:
    """Fills `cache` with what stands before the prompts about each of I images, one row an image."""
    ids = torch.tensor([opening] * len(image_tokens), device=model.device)
    order = torch.arange(len(image_tokens), device=model.device)
    model.hidden_states(model.embed(ids, image_tokens, order), past_key_values=cache, use_cache=True)


def _left_padded(model: MultitaskModel, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and the attention mask (B, T) int64."""
    length = max(map(len, sequences))
    ids = torch.tensor([[model.format.pad_id] * (length - len(s)) + list(s) for s in sequences])
    mask = torch.tensor([[0] * (length - len(s)) + [1] * len(s) for s in sequences])
    return ids.to(model.device), mask.to(model.device)
