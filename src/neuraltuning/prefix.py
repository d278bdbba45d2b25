"""Prefix tuning in a multimodal sequence: trained keys and values that every position of every layer may attend to.

peft puts a prefix before the sequences that its own forward pass gets. Ours run the LLM's decoder on packed or running
rows with masks and positions of their own, so the prefix stands before whatever a layer has, and moves no position:
what it holds is learned, its rotation as well. Source: Li and Liang 2021; the parameters are those of peft's
`PREFIX_TUNING`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel, PeftType
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache


class PrefixedCache(Cache):
    """Another cache, or none, behind a prefix that is the same for all rows."""

    def __init__(self, prefix: Sequence[tuple[Tensor, Tensor]], behind: Cache | None) -> None:
        """Begins with what `behind` holds.

        Args:
            prefix: for each layer keys and values, (1, heads, virtual tokens, size) each.
            behind: keeps the keys and values of the sequences themselves; without it those of a pass are all there is.
        """
        super().__init__(layers=[])
        self.prefix, self.behind = prefix, behind

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The prefix' keys and values of a layer, and behind them the sequences'."""
        own = key_states, value_states
        if self.behind is not None:
            own = self.behind.update(key_states, value_states, layer_idx, *args, **kwargs)
        keys, values = (
            torch.cat([before.to(behind.dtype).expand(behind.shape[0], -1, -1, -1), behind], dim=2)
            for before, behind in zip(self.prefix[layer_idx], own, strict=True)
        )
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing: positions are given with each pass."""
        return 0


def with_prefix(llm: PeftModel, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a pass through the LLM's decoder with its prefix, if its active adapter is one.

    Args:
        llm: the peft model; inside `disable_adapter` it has no prefix.
        arguments: with an additive `attention_mask`, (B, 1, T, S) or several of them by the kind of layer.
    """
    if llm.active_peft_config.peft_type != PeftType.PREFIX_TUNING or llm._adapters_disabled:
        return arguments
    cache: Any = llm.get_prompt(batch_size=1)  # annotated as a tensor, and a cache for a prefix
    prefix = [(layer.keys, layer.values) for layer in cache.layers]
    length = prefix[0][0].shape[2]
    mask = arguments["attention_mask"]
    masks = {name: F.pad(one, (length, 0)) for name, one in mask.items()} if isinstance(mask, dict) else None
    return {
        **arguments,
        "attention_mask": F.pad(mask, (length, 0)) if masks is None else masks,
        "past_key_values": PrefixedCache(prefix, arguments.get("past_key_values")),
    }
