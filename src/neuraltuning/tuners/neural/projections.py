"""Where an attention module computes query, key and value, and how something is added to them.

Knows the layouts of transformers' attention modules; knows nothing about adapters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft.tuners.tuners_utils import _get_in_out_features
from torch import nn

from neuraltuning.errors import InputError

SEPARATE = ("q_proj", "k_proj", "v_proj")
FUSED = {"Phi3Attention": "qkv_proj", "GPT2Attention": "c_attn", "GPTNeoXAttention": "query_key_value"}


@dataclass(frozen=True)
class Projection:
    """One linear module of an attention module, and the parts of its output.

    Attributes:
        name: its attribute in the attention module.
        in_features: D, the size of the tensor that it reads.
        parts: which of "q", "k", "v" it computes, in this order, and the width of each.
        interleaved_heads: the number of heads whose parts alternate (q1 k1 v1 q2 k2 v2 ...); 0 where the parts are
            contiguous.
    """

    name: str
    in_features: int
    parts: tuple[tuple[str, int], ...]
    interleaved_heads: int = 0

    def width_of(self, targets: str) -> int:
        """The summed width of the parts named in `targets`, for example "qv"."""
        return sum(width for part, width in self.parts if part in targets)

    def spread(self, addition: torch.Tensor, targets: str) -> torch.Tensor:
        """Lays `addition` out as the module's output is, with zeros in the parts that `targets` leaves out.

        Args:
            addition: (N, width_of(targets)), the parts one after the other.

        Returns:
            (N, the module's output size).
        """
        if not self.interleaved_heads and all(part in targets for part, _ in self.parts):
            return addition
        wanted = [width for part, width in self.parts if part in targets]
        given = iter(addition.split(wanted, dim=-1))
        pieces = []
        for part, width in self.parts:
            piece = next(given) if part in targets else addition.new_zeros(addition.shape[0], width)
            pieces.append(piece.unflatten(-1, (self.interleaved_heads, -1)) if self.interleaved_heads else piece)
        return torch.cat(pieces, dim=-1).flatten(1)


def find_projections(attention: nn.Module) -> list[Projection]:
    """The query, key and value projections of an attention module, in the order q, k, v.

    Raises:
        InputError: the module computes them in a way that is not known.
    """
    if all(isinstance(getattr(attention, name, None), nn.Module) for name in SEPARATE):
        found = []
        for name in SEPARATE:
            in_features, out_features = _features(getattr(attention, name))
            found.append(Projection(name, in_features, ((name[0], out_features),)))
        return found
    fused = FUSED.get(type(attention).__name__)
    module = getattr(attention, fused, None) if fused else None
    if fused is None or not isinstance(module, nn.Module) or getattr(attention, "is_cross_attention", False):
        raise InputError(
            f"Neural tuning does not know how {type(attention).__name__} computes query, key and value: it needs the "
            f"modules {', '.join(SEPARATE)}, or one of the fused layouts {', '.join(FUSED)}."
        )
    in_features, out_features = _features(module)
    heads = int(attention.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
    if fused == "qkv_proj":
        query = heads * int(attention.head_dim)  # type: ignore[arg-type]
        shared = (out_features - query) // 2
        return [Projection(fused, in_features, (("q", query), ("k", shared), ("v", shared)))]
    third = out_features // 3
    interleaved = heads if fused == "query_key_value" else 0
    return [Projection(fused, in_features, (("q", third), ("k", third), ("v", third)), interleaved)]


def _features(module: nn.Module) -> tuple[int, int]:
    in_features, out_features = _get_in_out_features(module)
    if in_features is None or out_features is None:
        raise InputError(f"Neural tuning can't tell the input and output sizes of {type(module).__name__}.")
    return in_features, out_features
