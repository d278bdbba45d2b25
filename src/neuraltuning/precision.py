"""Which number format the frozen parts compute in."""

from __future__ import annotations

import torch


def resolve_dtype(name: str) -> torch.dtype:
    """The dtype that a configuration's `dtype` means on this machine.

    "auto" is bfloat16 on a GPU that has it and on processors with bfloat16 instructions (AVX512-BF16, AMX), else
    float32: a processor that emulates bfloat16 is tens of times slower with it.
    """
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    fast = any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return torch.bfloat16 if fast else torch.float32
