"""Peak memory of a training step: neural tuning beside LoRA of as many parameters.

    python benchmarks/tuner_memory.py --shape llama-2048 --tokens 512

Counts the bytes of live tensors operation by operation, so that the figure is exact, repeats, and needs no quiet
machine. Weights are included in the peak and printed beside it.
"""

from __future__ import annotations

import argparse
import json
import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tuner_models import METHODS, SHAPES, build, shape, training_step


class LiveBytes(TorchDispatchMode):
    """Follows the storages that operations return, from their creation to their release.

    Attributes:
        peak: the largest sum of bytes that lived at the same time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def follow(self, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            return
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            self.follow(leaf)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="llama-2048")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="float32")
    arguments = parser.parse_args()

    config = shape(arguments.shape, arguments.layers)
    dtype = getattr(torch, arguments.dtype)
    embeddings = torch.randn(arguments.batch, arguments.tokens, config.hidden_size).to(dtype) * 0.02
    result: dict[str, Any] = dict(vars(arguments))
    for method in METHODS:
        model = build(method, config, dtype).train()
        weights = sum(parameter.nbytes for parameter in model.parameters())
        with LiveBytes() as memory:
            training_step(model, embeddings)
        result[method] = {"weights_mb": round(weights / 2**20, 1), "step_mb": round(memory.peak / 2**20, 2)}
        del model
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
