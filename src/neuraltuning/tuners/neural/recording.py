"""Looking into the sparse task network: which neurons were active, per call, layer, sample and token.

Knows nothing about what is made of it; the ordinary path pays one comparison a layer for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from neuraltuning.errors import InputError

_recording = threading.local()


@dataclass
class ActivationRecord:
    """What `record_activations` saw.

    Attributes:
        adapter: the adapter that is recorded.
        calls: one entry for each call of the decoder, in order (generation makes one for the prompt and then one for
            each token); each maps the number of a tuned layer to booleans of shape (B, T, d_z), true where Za is not 0.
    """

    adapter: str
    calls: list[dict[int, torch.Tensor]] = field(default_factory=list)

    def joined(self) -> dict[int, torch.Tensor]:
        """All calls along the token axis: layer number to booleans of shape (B, all tokens, d_z).

        Raises:
            InputError: nothing was recorded, or the calls had different batches.
        """
        calls = [call for call in self.calls if call]  # without those of another adapter, or of none
        if not calls:
            raise InputError("Nothing was recorded: call the model inside the `with record_activations(...)` block.")
        if len({active.shape[0] for call in calls for active in call.values()}) > 1:
            raise InputError("The recorded calls have different batch sizes and can't be joined; read `calls`.")
        return {layer: torch.cat([call[layer] for call in calls], dim=1) for layer in calls[0]}

    def add(self, adapter: str, layer: int, activated: torch.Tensor, shape: torch.Size) -> None:
        """Notes one layer of the latest call; a recomputation of a layer changes nothing.

        Args:
            activated: Za, (B * T, d_z).
            shape: (B, T, D) of the hidden states.
        """
        if adapter == self.adapter and layer not in self.calls[-1]:
            self.calls[-1][layer] = (activated.detach() != 0).view(*shape[:-1], activated.shape[-1])


@contextmanager
def record_activations(model: nn.Module, adapter: str = "default") -> Iterator[ActivationRecord]:
    """Records which neurons are active in the calls that this thread makes of `model` inside the block.

    Args:
        model: a model with neural tuning, or any module that contains one.

    Raises:
        InputError: `model` has no neural tuning adapter of that name.
    """
    from neuraltuning.tuners.neural.layer import NeuralTuningLayer

    layers = [module for module in model.modules() if isinstance(module, NeuralTuningLayer)]
    if not any(adapter in layer.neural_tuning_plan for layer in layers):
        names = sorted({name for layer in layers for name in layer.neural_tuning_plan})
        raise InputError(
            f"{type(model).__name__} has no neural tuning adapter named {adapter!r}"
            + (f"; it has {', '.join(names)}." if names else ".")
        )
    record = ActivationRecord(adapter)
    outer = getattr(_recording, "running", None)
    _recording.running = (record, set(model.modules()))
    try:
        yield record
    finally:
        _recording.running = outer


def begin_call(decoder: nn.Module) -> ActivationRecord | None:
    """Opens an entry for a call of `decoder` where it is being recorded; returns the record, or None."""
    running = getattr(_recording, "running", None)
    if running is None or decoder not in running[1]:
        return None
    running[0].calls.append({})
    return running[0]
