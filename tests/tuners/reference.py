"""Neural tuning as plain loops over tokens and neurons, written from the papers' equations and from nothing else.

Slow on purpose. It changes a model by patching its projections' `forward`, shares no code with the library, and keeps
the state in a list that the caller empties before each pass. Random numbers are drawn in the library's order (one rate
a layer or a token, then one number a neuron, then the dropout), because random methods can only be compared on the same
draws.
"""

from __future__ import annotations

import math
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
from torch import nn


def kept_neurons(row: list[float], count: int, pattern: str, center: float, lots: list[float] | None) -> list[int]:
    """The neurons of one token that stay active.

    Args:
        lots: one random number a neuron, where the pattern chooses at random; None at evaluation.
    """
    size = len(row)
    descending = sorted(range(size), key=lambda j: -row[j])
    if pattern == "all":
        return list(range(size))
    if pattern == "gaussian":
        return descending[:count]
    if pattern == "distribution_random":
        return sorted(range(size), key=lambda j: abs(row[j] - center))[:count]
    if pattern == "top2beta_random":
        return _choose(descending[: min(size, 2 * count)], count, lots)
    assert pattern == "level_random"
    bounds = [math.ceil(level * size / 10) for level in range(11)]
    kept = []
    for start, end in pairwise(bounds):
        share = math.ceil(end * count / size) - math.ceil(start * count / size)
        kept += _choose(descending[start:end], share, lots)
    return kept


def _choose(candidates: list[int], count: int, lots: list[float] | None) -> list[int]:
    if lots is not None:
        return sorted(candidates, key=lambda j: lots[j])[:count]
    # evenly spaced: the i-th kept candidate stands at i / count of the way
    return [candidates[i * len(candidates) // count] for i in range(count)]


def laid_out(parts: dict[str, torch.Tensor], widths: dict[str, int], heads: int) -> torch.Tensor:
    """What is added to the output of a projection that computes query, key and value at once, (B, T, all widths).

    Args:
        parts: the additions to those of "q", "k" and "v" that are tuned.
        widths: of all three, in their order.
        heads: where each head's query, key and value stand side by side, how many heads there are; else 1.
    """
    one = next(iter(parts.values()))
    pieces = []
    for head in range(heads):
        for letter, width in widths.items():
            own = width // heads
            zeros = torch.zeros(*one.shape[:-1], own)
            pieces.append(parts[letter][..., head * own : (head + 1) * own] if letter in parts else zeros)
    return torch.cat(pieces, dim=-1)


class Reference:
    """A model with neural tuning in loops.

    Args:
        model: the base model; patched in place.
        parameters: for each tuned layer number, W_z, W_b and, with `norm_after_carry`, the norm's scale.
        settings: the fields of the configuration that the equations name.
    """

    def __init__(self, model: Any, parameters: dict[int, dict[str, torch.Tensor]], settings: Any) -> None:
        self.model = model
        self.settings = settings
        self.travelling: list[torch.Tensor] | None = None
        self.training = False
        for number, layer in enumerate(self._layers()):
            if number in parameters:
                attention = next(m for name, m in layer.named_children() if name in ("self_attn", "attn", "attention"))
                self._patch(attention, parameters[number])

    def _layers(self) -> Any:
        """The decoder layers, wherever the family keeps them."""
        inner = getattr(self.model, self.model.base_model_prefix)
        inner = getattr(inner, "decoder", inner)
        return inner.h if hasattr(inner, "h") else inner.layers

    def __call__(self, input_ids: torch.Tensor, training: bool) -> torch.Tensor:
        """The logits."""
        self.travelling = None
        self.training = training
        return self.model(input_ids, use_cache=False).logits

    def _patch(self, attention: nn.Module, parameters: dict[str, torch.Tensor]) -> None:
        additions: dict[str, torch.Tensor] = {}
        widths = _widths(attention)
        tuned = [letter for letter in widths if letter in self.settings.targets]
        original = attention.forward

        def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            hidden_states = args[0] if args else kwargs["hidden_states"]
            back = self._network(hidden_states, parameters) @ parameters["up"].T
            additions.update(zip(tuned, back.split([widths[letter] for letter in tuned], dim=-1), strict=True))
            return original(*args, **kwargs)

        attention.forward = MethodType(forward, attention)
        for name, projection in attention.named_children():
            if name[0] in tuned and name.endswith("_proj") and name != "qkv_proj":
                self._patch_projection(projection, lambda letter=name[0]: additions[letter])
            elif name in ("qkv_proj", "c_attn", "query_key_value"):
                heads = attention.config.num_attention_heads if name == "query_key_value" else 1
                self._patch_projection(projection, lambda heads=heads: laid_out(additions, widths, heads))

    @staticmethod
    def _patch_projection(projection: nn.Module, addition: Any) -> None:
        original = projection.forward
        projection.forward = MethodType(lambda module, x: original(x) + addition(), projection)

    def _network(self, hidden: torch.Tensor, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        s = self.settings
        batch, length, _ = hidden.shape
        previous = self.travelling
        random = self.training and s.activation_pattern != "all"
        rates = [s.beta] * (batch * length)
        if random and s.fluctuation:
            if s.sample_rate_per == "layer":
                rates = [s.beta + s.fluctuation * s.beta * torch.randn(()).item()] * (batch * length)
            else:
                rates = (s.beta + s.fluctuation * s.beta * torch.randn(batch * length, 1)).flatten().tolist()
        lots = None
        if random and s.activation_pattern in ("top2beta_random", "level_random"):
            lots = torch.rand(batch * length, s.d_z).tolist()
        travelling, activated = [], []
        for token, h in enumerate(hidden.reshape(-1, hidden.shape[-1])):
            z = torch.stack([(h * w).sum() for w in parameters["down"]])
            if s.carry and previous is not None:
                z = s.alpha * previous[token] + (1 - s.alpha) * z
            if s.norm_after_carry:
                z = z / torch.sqrt((z**2).mean() + 1e-6) * parameters["norm"]
            travelling.append(z)
            count = max(1, math.ceil(min(1.0, rates[token]) * s.d_z - 1e-9))
            kept = kept_neurons(
                z.tolist(), count, s.activation_pattern, s.distribution_center, lots[token] if lots else None
            )
            dropped = [j for j in range(s.d_z) if j not in kept]
            bar = max((z[j] for j in dropped), key=float) if s.kept_values == "excess" and dropped else 0.0
            activated.append(torch.stack([z[j] - bar if j in kept else torch.zeros(()) for j in range(s.d_z)]))
        self.travelling = travelling
        passed = nn.functional.dropout(torch.stack(activated), s.dropout, self.training)
        return passed.view(batch, length, s.d_z)


def _widths(attention: Any) -> dict[str, int]:
    """How many numbers a token's query, key and value have."""
    if hasattr(attention, "q_proj"):
        return {letter: getattr(attention, f"{letter}_proj").out_features for letter in "qkv"}
    config = attention.config
    head = config.hidden_size // config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return {"q": config.num_attention_heads * head, "k": shared * head, "v": shared * head}
