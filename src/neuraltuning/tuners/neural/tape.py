"""The tape: how the sparse vector travels from layer to layer within one call of the decoder.

Zu is an invisible input of every tuned layer, so its carrier decides whether gradients are right. A fresh tape is made
for each call of the module that owns the list of decoder layers, is handed down to the attention modules as a keyword
argument, and dies with the call. Layer k reads row k - 1 and writes row k; the first write wins, because gradient
checkpointing runs a layer a second time in the backward pass and must meet the rows of the first run.

Knows nothing about what the rows mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuraltuning.tuners.neural.recording import ActivationRecord, begin_call

TAPE_KEYWORD = "neural_tuning_tape"


class Tape:
    """What one call of the decoder has carried so far.

    Attributes:
        grad_enabled: whether gradients were recorded when the call began.
        rows: Zu of each tuned layer, keyed by (adapter, position in the chain of tuned layers); (B * T, d_z).
        counts: the number of active neurons drawn for each layer, under the same keys.
        record: where the active neurons are noted, while somebody wants to know them.
    """

    __slots__ = ("counts", "grad_enabled", "record", "rows")

    def __init__(self, grad_enabled: bool, record: ActivationRecord | None) -> None:
        self.grad_enabled = grad_enabled
        self.record = record
        self.rows: dict[tuple[str, int], torch.Tensor] = {}
        self.counts: dict[tuple[str, int], int | torch.Tensor] = {}


def add_tape(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Forward pre-hook of the decoder: adds a fresh tape to the keyword arguments.

    A module-level function, because a model with a closure as a hook can't be deep-copied or pickled.
    """
    kwargs[TAPE_KEYWORD] = Tape(torch.is_grad_enabled(), begin_call(module))
    return args, kwargs


def install_tape(decoder: nn.Module) -> None:
    """Makes `decoder`, the module that owns the list of layers, add a tape to each of its calls (once)."""
    if add_tape not in decoder._forward_pre_hooks.values():
        decoder.register_forward_pre_hook(add_tape, with_kwargs=True)


def remove_tape(decoder: nn.Module) -> None:
    """Undoes `install_tape`."""
    for key, hook in list(decoder._forward_pre_hooks.items()):
        if hook is add_tape:
            del decoder._forward_pre_hooks[key]
            decoder._forward_pre_hooks_with_kwargs.pop(key, None)
