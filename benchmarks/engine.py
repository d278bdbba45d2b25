"""What the engine does under load: throughput, latency, caches, the first token, and whether replies stay the same.

    python benchmarks/engine.py runs/benchmark
    python benchmarks/engine.py runs/benchmark --what waiting --images 16

Everything happens in this process, about images of Scenes' test split; `serving.py` measures the same over HTTP. Each
ratio is of two things that were measured in turns in the same run:

- throughput: the same requests (masks, captions, answers), each about an image of its own, one after the other and 8 at
  a time; and the 95th percentile of their latencies.
- waiting: a second question about an image to the first one about it, each question first for half the images; and a
  caption's first text to the pass over image and prompt alone.
- sameness: how many replies of a batch of 8 differ from what each request is replied alone, and by how many pixels.
- steps: milliseconds of a pass for 1, 2, 4 and 8 running replies, and of reading an image with a prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.files import write_json
from neuraltuning.generate import RunningBatch, Start, opening
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.serving.engine import Engine
from neuraltuning.serving.engine_types import ChatQuery, Event, Failed, Finished, TextPiece
from neuraltuning.serving.models import load_models

MODEL = "served"
CONCURRENT = 8
PARTS = ["throughput", "waiting", "sameness", "steps"]
CAPTION = "Describe the image."
STEPS = 12
"""Passes that one figure of `steps` is the median of."""


def about(sample: Sample) -> list[ChatQuery]:
    """The everyday requests about one image: a mask, a caption, an answer."""
    texts = [f"Please segment {sample.objects[0].phrases[0].text}.", CAPTION, sample.questions[0].question]
    return [ChatQuery(MODEL, text, sample.image) for text in texts]


class Asked:
    """A request, with the times of its first text and of its end."""

    def __init__(self, engine: Engine, query: ChatQuery) -> None:
        self.started = time.perf_counter()
        self.first = self.last = 0.0
        self.end: Finished | None = None
        self._over = threading.Event()
        engine.submit(query, self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, TextPiece) and not self.first:
            self.first = time.perf_counter() - self.started
        if isinstance(event, (Finished, Failed)):
            assert isinstance(event, Finished), event
            self.last = time.perf_counter() - self.started
            self.end = event
            self._over.set()

    def wait(self) -> Asked:
        """Until it is answered."""
        self._over.wait()
        return self


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values doesn't exceed."""
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


def throughput(model: MultitaskModel, samples: list[Sample]) -> dict[str, Any]:
    """Requests a second and latencies, one after the other and 8 at a time."""
    queries = [about(sample)[number % 3] for number, sample in enumerate(samples)]
    found: dict[str, Any] = {"requests": len(queries)}
    for name, workers in (("one", 1), ("concurrent", CONCURRENT)):
        engine = Engine({MODEL: model}, max_batch=CONCURRENT)
        with ThreadPoolExecutor(workers) as pool:
            start = time.perf_counter()
            asked = list(pool.map(lambda query, engine=engine: Asked(engine, query).wait(), queries))
            took = time.perf_counter() - start
        engine.close(0.0)
        seconds = [one.last for one in asked]
        found[name] = {
            "seconds": round(took, 2),
            "requests_per_second": round(len(queries) / took, 3),
            "p50_s": round(statistics.median(seconds), 3),
            "p95_s": round(percentile(seconds, 0.95), 3),
        }
    found["throughput_ratio"] = round(found["one"]["seconds"] / found["concurrent"]["seconds"], 3)
    found["p95_ratio"] = round(found["concurrent"]["p95_s"] / found["one"]["p95_s"], 3)
    return found


@torch.no_grad()
def prefill(model: MultitaskModel, sample: Sample, text: str) -> float:
    """Seconds of the pass over an image and a prompt, from the opened image to the first token."""
    start = time.perf_counter()
    _, tokens = model.see(model.encoder.preprocess([sample.image]))
    ids = [*opening(model, True), *model.format.prompt_ids(text)]
    batch = RunningBatch(model)
    batch.join([Start(ids, tokens[0], len(ids), 1)])
    batch.read(len(ids) + 64)
    return time.perf_counter() - start


def waiting(model: MultitaskModel, samples: list[Sample]) -> dict[str, Any]:
    """How long a second question's answer takes, and a first token."""
    engine = Engine({MODEL: model})
    first, second, streamed, alone = [], [], [], []
    for number, sample in enumerate(samples):
        both = [ChatQuery(MODEL, question.question, sample.image) for question in sample.questions[:2]]
        times = [Asked(engine, query).wait().last for query in (both if number % 2 else both[::-1])]
        first.append(times[0])
        second.append(times[1])
    for sample in samples:
        fresh = Engine({MODEL: model})
        alone.append(prefill(model, sample, CAPTION))
        streamed.append(Asked(fresh, about(sample)[1]).wait().first)
        fresh.close(0.0)
    engine.close(0.0)
    return {
        "images": len(samples),
        "first_s": round(statistics.median(first), 4),
        "second_s": round(statistics.median(second), 4),
        "second_question_ratio": round(sum(second) / sum(first), 3),
        "prefill_s": round(statistics.median(alone), 4),
        "first_token_s": round(statistics.median(streamed), 4),
        "first_token_ratio": round(statistics.median(streamed) / statistics.median(alone), 3),
    }


def sameness(model: MultitaskModel, samples: list[Sample]) -> dict[str, Any]:
    """Replies beside others, compared with those alone."""
    queries = [query for sample in samples for query in about(sample)]
    engine = Engine({MODEL: model}, max_batch=CONCURRENT, max_waiting=len(queries))
    together = [asked.wait().end for asked in [Asked(engine, query) for query in queries]]
    engine.close(0.0)
    texts = masks = pixels = n_masks = 0
    for query, end in zip(queries, together, strict=True):
        [reply] = model.reply_batch([Query(query.image, query.text)])
        assert end is not None
        texts += reply.text != end.reply.text
        for one, other in zip(reply.masks, end.reply.masks, strict=False):
            differing = int((one != other).sum())
            n_masks, masks, pixels = n_masks + 1, masks + (differing > 0), pixels + differing
    return {
        "replies": len(queries),
        "other_texts": texts,
        "masks": n_masks,
        "other_masks": masks,
        "other_pixels_a_mask": round(pixels / max(1, n_masks), 3),
    }


@torch.no_grad()
def steps(model: MultitaskModel, samples: list[Sample]) -> dict[str, Any]:
    """Milliseconds of one pass."""
    _, tokens = model.see(model.encoder.preprocess([sample.image for sample in samples[:CONCURRENT]]))
    ids = [*opening(model, True), *model.format.prompt_ids(CAPTION)]
    found: dict[str, Any] = {}
    for rows in (1, 2, 4, 8):
        batch = RunningBatch(model)
        batch.join([Start(ids, tokens[row % len(tokens)], len(ids), 10**6) for row in range(rows)])
        start = time.perf_counter()
        while batch.unread:
            batch.read(rows * len(ids))
        found[f"read_{rows}_ms"] = round(1000 * (time.perf_counter() - start), 1)
        took = []
        for _ in range(STEPS):
            start = time.perf_counter()
            batch.step()
            took.append(time.perf_counter() - start)
        found[f"step_{len(batch.running)}_ms"] = round(1000 * statistics.median(took), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder that `neuraltuning tune` wrote")
    parser.add_argument("--what", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--images", type=int, default=48, help="images that each part is about")
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    [model] = load_models({MODEL: arguments.model}).values()
    samples = list(SceneDataset("test", arguments.images + 2))
    warm, samples = samples[:2], samples[2:]
    for sample in warm:
        model.reply_batch([Query(query.image, query.text) for query in about(sample)])
    parts = {"throughput": throughput, "waiting": waiting, "sameness": sameness, "steps": steps}
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "dtype": str(model.language_model.dtype).removeprefix("torch."),
    }
    for name in arguments.what:
        found[name] = parts[name](model, samples)
    if arguments.output is not None:
        write_json(arguments.output, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
