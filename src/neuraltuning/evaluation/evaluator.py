"""Scores a tuned model on freely generated replies, with trivial baselines on the same items (SPEC 5).

    neuraltuning evaluate runs/quickstart --split test

Knows no task by name: a task gives examples and a metric, the model gives replies.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neuraltuning.configuration import load_settings
from neuraltuning.data.sample import Sample
from neuraltuning.data.source import category_names, open_split
from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.image_features import encoder_features
from neuraltuning.evaluation.progress import evaluation_progress
from neuraltuning.evaluation.showcase import write_showcase
from neuraltuning.files import write_json
from neuraltuning.model import MultitaskModel, Query
from neuraltuning.model_folder import find_model
from neuraltuning.reply import Reply
from neuraltuning.tasks import Example, Metric, ScoringResources, Task, get_task
from neuraltuning.training.run import CONFIGURATION
from neuraltuning.training.settings import RunSettings

HELD_OUT_WORDINGS_SPLIT = "test_wordings"
BLANK_COLOR = (128, 128, 128)
SEED = 0
"""Of the choice of examples; the same for every model."""


@dataclass(frozen=True)
class Answered:
    """The examples of one task with their replies."""

    task: Task
    examples: list[Example]
    replies: list[Reply]


def evaluate(folder: Path, splits: Sequence[str] | None, limit: int | None, output: Path) -> Path:
    """Scores the model of a run and writes `output/metrics.json` and `output/showcase/`.

    Args:
        folder: a run's folder, with the configuration that the model was tuned by.
        splits: those to be scored; the configuration's by default.
        limit: score only so many samples of each split.
        output: where the results go.

    Returns:
        The path of metrics.json.

    Raises:
        InputError: the folder is no run, or a split or task doesn't exist.
    """
    started = time.monotonic()
    configuration = folder / CONFIGURATION
    if not configuration.is_file():
        raise InputError(f"{folder} has no {CONFIGURATION}; give the folder of a run that `tune` wrote.")
    settings = load_settings(RunSettings, configuration)
    sizes = settings.evaluation.samples
    chosen = {split: limit or sizes.get(split, max(sizes.values())) for split in splits or sizes}
    model = MultitaskModel.from_pretrained(find_model(folder))
    untuned: MultitaskModel | None = None
    features = encoder_features(model.encoder)
    results: dict[str, dict[str, Any]] = {}
    with evaluation_progress() as progress:
        for split, size in chosen.items():
            source, own_name = settings.data.of_split(split)
            samples = open_split(source.source, own_name, settings.data.seed, size)
            items = collect_examples(settings, samples, own_name, settings.mixture_of(source))
            resources = ScoringResources(features, category_names(source.source))
            with_baselines = split in settings.evaluation.baseline_splits
            if with_baselines and untuned is None:
                untuned = MultitaskModel.build(settings.model, settings.seed)
            results[split] = {}
            for name, examples in items.items():
                run = progress(f"{split}: {name}", settings.evaluation.batch_size)
                scores, answered = score_task(
                    model, get_task(name), examples, resources, run, untuned if with_baselines else None
                )
                results[split][name] = scores
                write_showcase(output, split, answered, resources, settings.evaluation.showcase)
                _write(output, results, settings, model, started)
    return _write(output, results, settings, model, started)


def collect_examples(
    settings: RunSettings, samples: Sequence[Sample], split: str, tasks: Iterable[str] | None = None
) -> dict[str, list[Example]]:
    """Task -> its examples on a split, the same for every model; tasks without any are left out.

    Args:
        settings: the run.
        samples: of the split; one that can't be read is an error, because a score leaves nothing out.
        split: its name.
        tasks: those that are scored; the run's mixture by default.
    """
    items: dict[str, list[Example]] = {}
    for name in settings.mixture if tasks is None else tasks:
        task = get_task(name)
        wanted = settings.evaluation.examples_per_sample.get(name, 1)
        for sample in samples:
            rng = np.random.default_rng((SEED, zlib.crc32(f"{name}/{sample.id}".encode())))
            held_out = split == HELD_OUT_WORDINGS_SPLIT
            items.setdefault(name, []).extend(task.examples(sample, rng, held_out_wordings=held_out)[:wanted])
    return {name: examples for name, examples in items.items() if examples}


def score_task(
    model: MultitaskModel,
    task: Task,
    examples: list[Example],
    resources: ScoringResources,
    run: Runner,
    untuned: MultitaskModel | None,
) -> tuple[dict[str, Any], Answered]:
    """The scores of one task on one split.

    Args:
        model: the tuned model.
        task: the task.
        examples: its items.
        resources: for the task's metric.
        run: answers queries in batches and shows progress.
        untuned: the same model before tuning; with it, the baselines and the teacher-forced scores are taken too.

    Returns:
        The free-running scores, with "teacher_forced" and "baselines" inside, and the free-running replies.
    """

    def scored(replies: Sequence[Reply], metric: Metric) -> dict[str, Any]:
        for example, reply in zip(examples, replies, strict=True):
            metric.update(example, reply)
        return metric.compute()

    metric = task.metric(resources)  # what it has to load, loads while the model replies
    queries = [Query(e.image, e.prompt, max_new_tokens=task.max_new_tokens) for e in examples]
    replies = run(model, queries, "replies")
    scores = scored(replies, metric)
    constant: dict[str, list[Reply]] = {}
    for example in examples:
        for name, reply in task.constant_replies(example).items():
            constant.setdefault(name, []).append(reply)
    baselines = {name: scored(given, task.metric(resources)) for name, given in constant.items()}
    if untuned is not None:
        if all(e.image is not None for e in examples):
            blank = [replace(q, image=_blank(q.image)) for q in queries]
            baselines["blank_image"] = scored(run(model, blank, "blank image"), task.metric(resources))
        baselines["untuned"] = scored(run(untuned, queries, "untuned"), task.metric(resources))
        if task.tokens:
            forced = run.forced(model, examples, "teacher forced")
            scores["teacher_forced"] = scored(forced, task.metric(resources))
    return {**scores, "baselines": baselines}, Answered(task, examples, replies)


class Runner:
    """Answers many queries in batches, and says how far it is."""

    def __init__(self, batch_size: int, report: Any) -> None:
        """`report(label, done, total)` is called after each batch."""
        self.batch_size, self.report = batch_size, report

    def __call__(self, model: MultitaskModel, queries: Sequence[Query], label: str) -> list[Reply]:
        """The replies of `model`, in the order of the queries."""
        replies: list[Reply] = []
        for batch in self._batches(queries):
            replies += _answers(model, batch)
            self.report(label, len(replies), len(queries))
        return replies

    def forced(self, model: MultitaskModel, examples: Sequence[Example], label: str) -> list[Reply]:
        """What the decoders make of the true replies (`MultitaskModel.teacher_forced`)."""
        replies: list[Reply] = []
        for batch in self._batches(examples):
            replies += model.teacher_forced(batch)
            self.report(label, len(replies), len(examples))
        return replies

    def _batches(self, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]


def _answers(model: MultitaskModel, queries: Sequence[Query]) -> list[Reply]:
    """The replies of `model`; one that can't be decoded, as `<OBJ>` without an image, is empty and spoils no other."""
    try:
        return model.reply_batch(queries)
    except InputError:
        if len(queries) == 1:
            return [Reply(text="")]
        return [reply for query in queries for reply in _answers(model, [query])]


def _blank(image: Image.Image | None) -> Image.Image:
    """A plain grey picture of the same size."""
    assert image is not None
    return Image.new("RGB", image.size, BLANK_COLOR)


def _write(
    output: Path,
    results: Mapping[str, Mapping[str, Any]],
    settings: RunSettings,
    model: MultitaskModel,
    started: float,
) -> Path:
    """Writes metrics.json with what is there so far."""
    path = output / "metrics.json"
    trainable = sum(p.numel() for p in model.trainable_parameters().values())
    frozen = sum(p.numel() for p in model.parameters()) - trainable
    write_json(
        path,
        {
            "splits": results,
            "seconds": round(time.monotonic() - started, 1),
            "config": json.loads(settings.model_dump_json()),
            "model": {"trainable_parameters": trainable, "frozen_parameters": frozen},
            "versions": {name: version(name) for name in ("neuraltuning", "torch", "transformers", "peft")},
        },
    )
    return path
