"""How fast data reach a training beside how fast its step takes them, and in how much memory.

    python benchmarks/loader.py --data scenes --step 5
    python benchmarks/loader.py --data stored --consumed 3.7
    python benchmarks/loader.py --records 1000000

The first two read images (generated, or stored as `data convert` stores them), choose examples and pack them as the
configuration says, without a model's pass: printed are images a second and their ratio to what a training step takes,
which `--step N` measures in N steps or `--consumed` states. The third reads so many small stored records once, in the
shuffled order of a training, and prints the resident memory on the way. Knows nothing about quality.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader

from neuraltuning.configuration import load_settings
from neuraltuning.data.sample import ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.source import open_split
from neuraltuning.data.store import SHARD_SAMPLES, SplitWriter
from neuraltuning.model import MultitaskModel
from neuraltuning.training.mixture import Mixture
from neuraltuning.training.settings import RunSettings
from neuraltuning.training.stages import Tuning
from neuraltuning.training.trainer import parameter_groups

CONFIGURATION = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
SIDE = 32
"""Of a small record's picture, in pixels."""


def write_scenes(folder: Path, size: int) -> None:
    folder.mkdir()
    with SplitWriter(folder) as writer:
        for sample in SceneDataset("train", size):
            buffer = io.BytesIO()
            sample.image.save(buffer, "JPEG", quality=90)
            writer.add(sample, buffer.getvalue())


def write_records(folder: Path, size: int) -> None:
    """Small records; every shard but the last holds the same ones."""
    folder.mkdir()
    shard = min(size, SHARD_SAMPLES)
    _write_shard(folder, shard)
    for number in range(1, size // shard):
        os.link(folder / "part-00000.parquet", folder / f"part-{number:05d}.parquet")
    if rest := size % shard:
        (folder / "rest").mkdir()
        _write_shard(folder / "rest", rest)
        (folder / "rest" / "part-00000.parquet").rename(folder / f"part-{size // shard:05d}.parquet")


def _write_shard(folder: Path, size: int) -> None:
    image = Image.effect_noise((SIDE, SIDE), 60).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool).numpy()
    mask[8:20, 4:30] = True
    thing = ObjectAnnotation("thing", "", mask, (4.0, 8.0, 26.0, 12.0), (Phrase("the thing", "class"),))
    question = QuestionAnswer("Is there a thing?", "yes", "yes_no")
    with SplitWriter(folder) as writer:
        for number in range(size):
            writer.add(
                Sample(f"record-{number}", image, (thing,), ("A thing.",), questions=(question,)), buffer.getvalue()
            )


def seconds_a_step(stage: Tuning, settings: RunSettings, batches: list[Any]) -> float:
    """The median time of a training step, the first one left out."""
    optimizer = torch.optim.AdamW(parameter_groups(stage, settings.tuning), fused=True)
    stage.train()
    times = []
    for batch in batches:
        began = time.perf_counter()
        stage(batch).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings = load_settings(RunSettings, arguments.config)
    if arguments.data == "stored":
        write_scenes(folder / "train", arguments.images)
    source = "scenes" if arguments.data == "scenes" else str(folder)
    stage = Tuning(MultitaskModel.build(settings.model, settings.seed), settings.data.row_length)
    rows = Mixture(open_split(source, "train", 0), settings.mixture, 0, 2**40, fits=stage.packer.fits)
    loader = DataLoader(rows, arguments.batch, num_workers=arguments.workers, collate_fn=stage.collate)
    batches = iter(loader)
    first = [next(batches) for _ in range(max(2, arguments.step + 1))]  # also what only the first batches cost
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < arguments.seconds or not images:
        next(batches)
        images += arguments.batch
    rate = images / (time.perf_counter() - began)
    consumed = arguments.consumed
    if arguments.step:
        consumed = arguments.batch / seconds_a_step(stage, settings, first)
    return {
        "images_per_second": round(rate, 1),
        "consumed_per_second": round(consumed, 2),
        "ratio": round(rate / consumed, 1),
    }


def memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_records(folder / "train", arguments.records)
    shares = {"referring_segmentation": 1.0, "captioning": 1.0, "visual_question_answering": 1.0}
    rows = Mixture(open_split(str(folder), "train", 0), shares, 0, arguments.records)
    resident = {"0 %": _resident()}
    began = time.perf_counter()
    loader = DataLoader(rows, arguments.batch, num_workers=arguments.workers, collate_fn=len)
    images = 0
    for count in loader:
        images += count
        share = 100 * images // arguments.records // 10 * 10
        if f"{share} %" not in resident:
            resident[f"{share} %"] = _resident()
    return {
        "images": images,
        "images_per_second": round(images / (time.perf_counter() - began), 1),
        "resident_mb": resident,
    }


def _resident() -> int:
    """The most that was resident so far, in MB, of this process and the largest of its workers."""
    kilobytes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(kilobytes) // 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=("scenes", "stored"), default="scenes")
    parser.add_argument("--records", type=int, help="read so many small records once and print the resident memory")
    parser.add_argument("--config", type=Path, default=CONFIGURATION, help="model, mixture and rows")
    parser.add_argument("--images", type=int, default=512, help="in the stored data set")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--step", type=int, default=0, help="training steps to measure what they take")
    parser.add_argument("--consumed", type=float, default=3.7, help="images a second that a training step takes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = (speed if arguments.records is None else memory)(arguments, Path(folder))
    print(json.dumps({**vars(arguments), **found}, indent=1, default=str))


if __name__ == "__main__":
    main()
