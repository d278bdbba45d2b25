"""Which device programs put their model on."""

from __future__ import annotations

import os

import torch


def best_device() -> torch.device:
    """The GPU, where torch has one (of several processes' own, by LOCAL_RANK), else the CPU.

    `CUDA_VISIBLE_DEVICES` says which GPUs there are; empty, none.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
