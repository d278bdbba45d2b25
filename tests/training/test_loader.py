"""What reaches a training: every item once, however many processes and workers read, and errors as sentences."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from accelerate.state import AcceleratorState
from torch import nn

from neuraltuning.data.sample import Sample
from neuraltuning.data.store import SplitWriter, StoredSamples
from neuraltuning.errors import InputError
from neuraltuning.model import Losses
from neuraltuning.tasks import Example
from neuraltuning.training.mixture import Interleaved, Mixture, Rows
from neuraltuning.training.settings import StageSettings
from neuraltuning.training.stages import Stage
from neuraltuning.training.trainer import StageTrainer
from tests.data.test_store import encoded
from tests.tiny_models import sample

BATCH = 3
SIZES = (40, 20)
"""Samples of the two sources; the first is asked for twice as often."""


class Weight(nn.Module):
    """A model of one number."""

    decoders: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.tuner = nn.Parameter(torch.ones(()))

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        return {"tuner.number": self.tuner}

    def trained_state(self) -> dict[str, torch.Tensor]:
        return {"tuner.number": self.tuner.detach().clone()}


class Reading(Stage):
    """A stage whose batches are the ids of their examples."""

    name = "reading"

    def collate(self, rows: Sequence[list[Example]]) -> list[str]:
        return [example.id for row in rows for example in row]

    def forward(self, batch: list[str]) -> Losses:
        return Losses(self.model.tuner * torch.tensor(float(len(batch))), {})


def write(folder: Path) -> None:
    for number, size in enumerate(SIZES):
        (folder / str(number)).mkdir()
        with SplitWriter(folder / str(number)) as writer:
            for place in range(size):
                one = sample(place)
                renamed = Sample(f"{number}-{place}", one.image, captions=("Squares.",))
                writer.add(renamed, encoded(renamed))


def trainer(folder: Path, steps: int, workers: int, rows: Rows | None = None) -> StageTrainer:
    parts = [Mixture(StoredSamples(folder / str(n)), {"captioning": 1.0}, 5 + n, 0) for n in range(len(SIZES))]
    return StageTrainer(
        Reading(Weight()),  # type: ignore[arg-type]
        StageSettings(steps=steps, batch_size=BATCH, learning_rates={"tuner": 0.1}),
        data=Interleaved(parts, (2.0, 1.0), 0) if rows is None else rows,
        workers=workers,
        validation=[],
        folder=folder / "stage",
        log=folder / "log.jsonl",
        seed=0,
    )


def read(folder: Path, steps: int, workers: int) -> list[list[str]]:
    return [batch["batch"] for batch in trainer(folder, steps, workers).get_train_dataloader()]


def _read_as(rank: int, world: int, port: int, folder: str, steps: int, workers: int) -> None:
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)  # of the process that was forked
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true"}
    batches = read(Path(folder), steps, workers)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(batches))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("loader")
    write(place)
    return place


def assert_each_once(batches: list[list[str]]) -> None:
    """An epoch of both sources."""
    counts = Counter(name.split("/")[0] for batch in batches for name in batch)
    assert set(counts.values()) == {1}
    assert Counter(name.split("-")[0] for name in counts) == {"0": SIZES[0], "1": SIZES[1]}


def test_workers_read_what_one_process_reads(folder: Path) -> None:
    alone = read(folder, 20, 0)
    assert_each_once(alone)
    assert read(folder, 20, 2) == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_items(folder: Path, workers: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (2, port, str(folder), 10, workers)
    torch.multiprocessing.start_processes(_read_as, arguments, nprocs=2, start_method="fork")
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    assert [len(batches) for batches in ranks] == [10, 10]
    assert_each_once(ranks[0] + ranks[1])
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == read(folder, 20, 0)


class Broken:
    """Rows of which one can't be read."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> list[Example]:
        if index == 4:
            raise InputError("The record 4 is broken.")
        return []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_its_sentence(tmp_path: Path, workers: int) -> None:
    write(tmp_path)
    with pytest.raises(InputError) as caught:
        trainer(tmp_path, 9, workers, Broken()).run(None)
    assert str(caught.value) == "The record 4 is broken."
