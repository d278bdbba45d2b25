"""DDP and FSDP2 on two gloo processes against one process, with and without gradient checkpointing."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from neuraltuning.tuners import NeuralTuningConfig
from tests.tuners.tiny import gradients, largest_difference, tokens, tuned_model

WORKERS = 2


def _model(checkpointing: bool) -> nn.Module:
    model = tuned_model(NeuralTuningConfig(d_z=16, fluctuation=0.0)).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch, labels=batch).loss


def _train(rank: int, address: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=WORKERS)
    found = _distributed_gradients(tokens(2 * WORKERS)[2 * rank : 2 * rank + 2])
    if rank == 0:
        torch.save(found, Path(folder) / "gradients.pt")
    # gloo's threads must have nothing left to do, nor any model left to do it for, when a process ends
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def _distributed_gradients(batch: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    found = {}
    for checkpointing in (False, True):
        model = _model(checkpointing)
        wrapped = nn.parallel.DistributedDataParallel(model)
        _loss(wrapped, batch).backward()
        found[f"ddp {checkpointing}"] = gradients(model)
        model = _fully_sharded(_model(checkpointing))
        _loss(model, batch).backward()
        sharded: dict[str, Any] = gradients(model)
        found[f"fsdp2 {checkpointing}"] = {name: gradient.full_tensor() for name, gradient in sharded.items()}
    return found


def _fully_sharded(model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for layer in model.base_model.model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    return model


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("distributed")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.multiprocessing.spawn(_train, args=(str(folder / "address"), str(folder)), nprocs=WORKERS)
    return torch.load(folder / "gradients.pt", weights_only=True)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_gradients_equal_one_process(way: str, checkpointing: bool, found: dict[str, dict[str, torch.Tensor]]) -> None:
    model = _model(False)
    sum(_loss(model, batch) / WORKERS for batch in tokens(2 * WORKERS).split(2)).backward()
    assert largest_difference(found[f"{way} {checkpointing}"], gradients(model)) < 1e-6
