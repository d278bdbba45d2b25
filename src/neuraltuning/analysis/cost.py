"""What a tuned LLM costs: parameters, operations of a pass, memory; computed from its configuration, without weights.

Everything runs on PyTorch's meta device, where tensors have shapes and no content, so that a model of any size costs a
second and no memory. Knows nothing about training runs.

    from transformers import AutoConfig
    cost(AutoConfig.from_pretrained("meta-llama/Llama-2-7b-hf"), tokens=35)
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from neuraltuning.errors import InputError
from neuraltuning.tuners import NeuralTuningConfig

# float32 weight, its gradient, and Adam's two moments
BYTES_PER_TRAINED_PARAMETER = 16


@dataclass(frozen=True)
class Cost:
    """The cost of one forward pass over `batch` sequences of `tokens` tokens, and of a training step on them.

    Attributes:
        parameters: of the base model; a matrix used twice (tied embeddings) counts once.
        tuner_parameters: what the tuner adds, all of it trained.
        flops: operations of the bare model's forward pass in matrix products, a multiply-add counting two; the
            attention scores are counted in full, not causally halved.
        tuner_flops: what the tuner adds to them.
        weight_bytes: the base model's weights in the given number format and the tuner's in float32.
        cache_bytes: keys and values of all tokens.
        activation_bytes: what a training step keeps for the backward pass, without gradient checkpointing.
    """

    parameters: int
    tuner_parameters: int
    flops: int
    tuner_flops: int
    weight_bytes: int
    cache_bytes: int
    activation_bytes: int

    @property
    def trainable_share(self) -> float:
        """The tuner's share of all parameters."""
        return self.tuner_parameters / (self.parameters + self.tuner_parameters)

    @property
    def training_bytes(self) -> int:
        """Memory of a training step with Adam: weights, gradients, moments and kept activations."""
        trained = self.tuner_parameters * (BYTES_PER_TRAINED_PARAMETER - 4)
        return self.weight_bytes + trained + self.activation_bytes


@dataclass(frozen=True)
class BareCost:
    """The cost of a forward pass of a model without a tuner.

    Attributes:
        parameters, flops, cache_bytes: as of `Cost`.
    """

    parameters: int
    flops: int
    cache_bytes: int


def cost(
    config: PretrainedConfig,
    tuner: PeftConfig | None = None,
    *,
    tokens: int = 512,
    batch: int = 1,
    dtype: torch.dtype = torch.bfloat16,
) -> Cost:
    """The cost of the LLM that `config` describes, with a tuner.

    Args:
        config: of any causal language model in transformers.
        tuner: a peft configuration; `NeuralTuningConfig()` where not given.
        tokens: length of a sequence, image tokens included.
        batch: number of sequences.
        dtype: number format of the base model's weights and activations.

    Raises:
        InputError: tokens or batch below 1, no causal language model, or a tuner that does not fit.
    """
    tuner = NeuralTuningConfig() if tuner is None else dataclasses.replace(tuner)
    bare, base = _bare(config, tokens, batch, dtype)
    with torch.device("meta"):
        base_bytes = sum(parameter.numel() * parameter.element_size() for parameter in base.parameters())
        input_ids = torch.zeros(batch, tokens, dtype=torch.long)
        tuned = get_peft_model(base, tuner).eval()
        trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        tuned_flops, _ = _forward(tuned, input_ids)
        activation_bytes = _kept_for_backward(tuned, input_ids)
    tuner_parameters = sum(parameter.numel() for parameter in trained)
    return Cost(
        parameters=bare.parameters,
        tuner_parameters=tuner_parameters,
        flops=bare.flops,
        tuner_flops=tuned_flops - bare.flops,
        weight_bytes=base_bytes + 4 * tuner_parameters,
        cache_bytes=bare.cache_bytes,
        activation_bytes=activation_bytes,
    )


def bare_cost(
    config: PretrainedConfig, *, tokens: int = 512, batch: int = 1, dtype: torch.dtype = torch.bfloat16
) -> BareCost:
    """The cost of the LLM that `config` describes, without a tuner; arguments and errors as of `cost`."""
    return _bare(config, tokens, batch, dtype)[0]


def _bare(config: PretrainedConfig, tokens: int, batch: int, dtype: torch.dtype) -> tuple[BareCost, PreTrainedModel]:
    for name, value in (("tokens", tokens), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")
    with torch.device("meta"):
        base = _build(config, dtype)
        flops, cache_bytes = _forward(base, torch.zeros(batch, tokens, dtype=torch.long))
    return BareCost(sum(parameter.numel() for parameter in base.parameters()), flops, cache_bytes), base


def _build(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    config = copy.deepcopy(config)
    config.pad_token_id = None  # or transformers looks for padding in the input, which has no content here
    try:
        # plain attention, because fused attention kernels are not counted on every device
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager").eval()
    except ValueError as error:
        raise InputError(
            f"{type(config).__name__} does not describe a causal language model that transformers knows."
        ) from error


def _grouped_product(a_shape: torch.Size, b_shape: torch.Size, *args: Any, **kwargs: Any) -> int:
    """Operations of the experts' product: (N, K), one row a token and chosen expert, with (experts, K, M)."""
    return 2 * a_shape[0] * a_shape[1] * b_shape[-1]


@torch.no_grad()
def _forward(model: Any, input_ids: torch.Tensor) -> tuple[int, int]:
    """Operations of a forward pass, and bytes of its keys and values."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten._grouped_mm: _grouped_product}) as counter:
        try:
            output = model(input_ids=input_ids, use_cache=True)
        except RuntimeError as error:
            if model.dtype == torch.bfloat16:
                raise
            raise InputError(
                f"{type(model).__name__} can't be counted in {model.dtype} (experts compute in bfloat16 alone): "
                "use dtype=torch.bfloat16."
            ) from error
    # a recurrent model has no such cache, and a layer that shares another's keys or is recurrent has none in it
    layers = getattr(getattr(output, "past_key_values", None), "layers", [])
    cached = (getattr(layer, name, None) for layer in layers for name in ("keys", "values"))
    return counter.get_total_flops(), sum(tensor.nbytes for tensor in cached if tensor is not None)


def _kept_for_backward(model: Any, input_ids: torch.Tensor) -> int:
    """Bytes of the tensors that autograd keeps in a forward pass, weights excluded, each storage once."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=input_ids, use_cache=True)  # without a cache transformers looks into the positions
    return sum(storage.nbytes() for storage in kept.values())
