"""Neural tuning as plain loops over tokens and neurons, written from the papers' equations and from nothing else.

Slow on purpose. It changes a Llama by patching its projections' `forward`, shares no code with the library, and keeps
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


class Reference:
    """A Llama with neural tuning in loops.

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
        for number, layer in enumerate(model.model.layers):
            if number in parameters:
                self._patch(layer.self_attn, parameters[number])

    def __call__(self, input_ids: torch.Tensor, training: bool) -> torch.Tensor:
        """The logits."""
        self.travelling = None
        self.training = training
        return self.model(input_ids, use_cache=False).logits

    def _patch(self, attention: nn.Module, parameters: dict[str, torch.Tensor]) -> None:
        additions: dict[str, torch.Tensor] = {}
        names = [name for name in ("q_proj", "k_proj", "v_proj") if name[0] in self.settings.targets]
        widths = [getattr(attention, name).out_features for name in names]
        original = attention.forward

        def forward(module: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            back = self._network(hidden_states, parameters) @ parameters["up"].T
            additions.update(zip(names, back.split(widths, dim=-1), strict=True))
            return original(hidden_states, *args, **kwargs)

        attention.forward = MethodType(forward, attention)
        for name in names:
            projection = getattr(attention, name)

            def project(module: nn.Linear, x: torch.Tensor, name: str = name) -> torch.Tensor:
                return nn.functional.linear(x, module.weight, module.bias) + additions[name]

            projection.forward = MethodType(project, projection)

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
