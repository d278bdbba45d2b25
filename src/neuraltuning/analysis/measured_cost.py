"""Measures what a tuned model takes on this machine: the time of a pass and of a reply, and peak memory.

Knows models and examples; estimates nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuraltuning.analysis.inspection import OBJECT_TOKEN
from neuraltuning.analysis.run_examples import run_examples, run_settings
from neuraltuning.device import best_device
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.model_folder import find_model
from neuraltuning.tasks import Example

REPEATS = 5
SAMPLES = 8
"""Samples among which one with a task token is looked for."""


def measure_cost(run: Path, split: str) -> dict[str, Any]:
    """Times of a run's model on one example of a split, whose reply carries `<OBJ>` where there is such a one.

    Returns:
        `pass_seconds`, image encoder, language model and decoder on prompt and true reply, and `reply_seconds`, the
        same prompt answered freely: the median of 5 after one that isn't counted. `peak_bytes`: of the accelerator's
        memory that torch took, or on a CPU of the whole process with its libraries, loading included (None where the
        system doesn't tell).

    Raises:
        InputError: the folder is no run, or the split has no example.
    """
    examples = run_examples(run_settings(run), split, SAMPLES)
    every = [example for by_task in examples.by_sample for example in by_task.values() if example.image is not None]
    example = next((one for one in every if OBJECT_TOKEN in one.reply), next(iter(every), None))
    if example is None:
        raise InputError(f"The split {split!r} has no example with an image to measure on.")
    model = MultitaskModel.from_pretrained(find_model(run)).to(best_device())
    return measure(model, example)


def measure(model: MultitaskModel, example: Example) -> dict[str, Any]:
    """Times of `model` on one example; see `measure_cost`."""
    parameter = next(model.language_model.parameters())
    reply = model.reply(example.image, example.prompt)
    return {
        "example": example.id,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "image_tokens": model.image_length,
        "text_tokens": len(model.format.prompt_ids(example.prompt)) + len(model.format.reply_ids(example.reply)),
        "generated_tokens": len(model.format.reply_ids(reply.text)),
        "pass_seconds": _median_seconds(lambda: model.teacher_forced([example]), model.device),
        "reply_seconds": _median_seconds(lambda: model.reply(example.image, example.prompt), model.device),
        "peak_bytes": _peak_bytes(model.device),
    }


def _median_seconds(run: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
