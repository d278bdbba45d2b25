"""Scores a tuned model on freely generated replies, with trivial baselines on the same items (SPEC 5).

    neuraltuning evaluate runs/quickstart --split test

Knows no task by name: a task gives examples and a metric, the model gives replies.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from neuraltuning.configuration import load_settings
from neuraltuning.data.sample import Sample
from neuraltuning.data.source import category_names, open_split
from neuraltuning.device import best_device
from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.image_features import encoder_features
from neuraltuning.evaluation.metrics.inception import inception_features
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

_Item = TypeVar("_Item", Query, Example)


@dataclass(frozen=True)
class Answered:
    """The examples of one task with their replies.

    Attributes:
        replies: freely generated.
        forced: what the decoders made of the true replies; None where that was not asked for, or there is no decoder.
    """

    task: Task
    examples: list[Example]
    replies: list[Reply]
    forced: list[Reply] | None = None


def evaluate(
    folder: Path,
    splits: Sequence[str] | None,
    limit: int | None,
    output: Path,
    *,
    inception_weights: Path | None = None,
) -> Path:
    """Scores the model of a run and writes `output/metrics.json` and `output/showcase/`.

    Args:
        folder: a run's folder, with the configuration that the model was tuned by.
        splits: those to be scored; the configuration's by default.
        limit: score only so many samples of each split.
        output: where the results go.
        inception_weights: compare drawn pictures in Inception-v3's features (see `metrics.inception`) rather than in
            those of the model's encoder.

    Returns:
        The path of metrics.json.

    Raises:
        InputError: the folder is no run, a split or task doesn't exist, or the weights are unusable.
    """
    started = time.monotonic()
    configuration = folder / CONFIGURATION
    if not configuration.is_file():
        raise InputError(f"{folder} has no {CONFIGURATION}; give the folder of a run that `tune` wrote.")
    settings = load_settings(RunSettings, configuration)
    sizes = settings.evaluation.samples
    chosen = {split: limit or sizes.get(split, max(sizes.values())) for split in splits or sizes}
    inception = None if inception_weights is None else inception_features(inception_weights)
    model = MultitaskModel.from_pretrained(find_model(folder)).to(best_device())
    untuned: MultitaskModel | None = None
    features = inception or encoder_features(model.encoder)
    results: dict[str, dict[str, Any]] = {}
    with evaluation_progress() as progress:
        for split, size in chosen.items():
            source, own_name = settings.data.of_split(split)
            samples = open_split(source.source, own_name, settings.data.seed, size)
            items = collect_examples(settings, samples, own_name, settings.mixture_of(source))
            resources = ScoringResources(features, category_names(source.source))
            with_baselines = split in settings.evaluation.baseline_splits
            if with_baselines and untuned is None:
                untuned = MultitaskModel.build(settings.model, settings.seed).to(best_device())
            run = progress(split, settings.evaluation.batch_size)
            results[split] = {}
            for name, (scores, answered) in score_split(
                model, items, resources, run, untuned if with_baselines else None
            ).items():
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
    items: dict[str, list[Example]] = {name: [] for name in (settings.mixture if tasks is None else tasks)}
    held_out = split == HELD_OUT_WORDINGS_SPLIT
    for sample in samples:
        for name, examples in items.items():
            wanted = settings.evaluation.examples_per_sample.get(name, 1)
            rng = np.random.default_rng((SEED, zlib.crc32(f"{name}/{sample.id}".encode())))
            examples += get_task(name).examples(sample, rng, held_out_wordings=held_out)[:wanted]
    return {name: examples for name, examples in items.items() if examples}


def score_split(
    model: MultitaskModel,
    items: Mapping[str, Sequence[Example]],
    resources: ScoringResources,
    run: Runner,
    untuned: MultitaskModel | None,
    *,
    teacher_forced: bool = False,
) -> dict[str, tuple[dict[str, Any], Answered]]:
    """The scores of one split by task.

    Args:
        model: the tuned model.
        items: each task's examples.
        resources: for the tasks' metrics.
        run: answers queries in batches and shows progress.
        untuned: the same model before tuning; with it, the baselines and the teacher-forced scores are taken too.
        teacher_forced: take the teacher-forced scores without the baselines too.

    Returns:
        For each task the free-running scores, with "teacher_forced" and "baselines" inside, and the replies.
    """
    tasks = {name: get_task(name) for name in items}
    # what metrics have to load, loads while the model replies
    metrics = {name: task.metric(resources) for name, task in tasks.items()}
    queries = {
        name: [Query(e.image, e.prompt, max_new_tokens=tasks[name].max_new_tokens) for e in examples]
        for name, examples in items.items()
    }
    replies = run.by_task(model, queries, "replies")
    others = _constant_replies(tasks, items)
    forced: dict[str, list[Reply]] = {}
    if untuned is not None:
        blank = {
            name: [replace(q, image=_blank(q.image.size)) for q in asked if q.image is not None]
            for name, asked in queries.items()
            if all(q.image is not None for q in asked)
        }
        others["blank_image"] = run.by_task(model, blank, "blank image")
        others["untuned"] = run.by_task(untuned, queries, "untuned")
    if teacher_forced or untuned is not None:
        forced = _teacher_forced(model, {n: e for n, e in items.items() if tasks[n].tokens}, replies, run)

    def scored(name: str, replies: Sequence[Reply], metric: Metric | None = None) -> dict[str, Any]:
        metric = metric or tasks[name].metric(resources)
        for example, reply in zip(items[name], replies, strict=True):
            metric.update(example, reply)
        return metric.compute()

    results = {}
    for name, examples in items.items():
        scores = scored(name, replies[name], metrics[name])
        if name in forced:
            scores["teacher_forced"] = scored(name, forced[name])
        scores["baselines"] = {other: scored(name, found[name]) for other, found in others.items() if name in found}
        results[name] = scores, Answered(tasks[name], list(examples), replies[name], forced.get(name))
    return results


def _teacher_forced(
    model: MultitaskModel,
    items: Mapping[str, Sequence[Example]],
    replies: Mapping[str, Sequence[Reply]],
    run: Runner,
) -> dict[str, list[Reply]]:
    """Task -> what the decoders make of the true replies; those that the model wrote itself are decoded already."""
    other = {n: [e for e, r in zip(es, replies[n], strict=True) if r.text != e.reply] for n, es in items.items()}
    found = {name: iter(forced) for name, forced in run.forced_by_task(model, other, "teacher forced").items()}
    return {
        name: [r if r.text == e.reply else next(found[name]) for e, r in zip(examples, replies[name], strict=True)]
        for name, examples in items.items()
    }


def _constant_replies(
    tasks: Mapping[str, Task], items: Mapping[str, Sequence[Example]]
) -> dict[str, dict[str, list[Reply]]]:
    """Baseline -> task -> replies, for what needs no model."""
    found: dict[str, dict[str, list[Reply]]] = {}
    for name, examples in items.items():
        for example in examples:
            for baseline, reply in tasks[name].constant_replies(example).items():
                found.setdefault(baseline, {}).setdefault(name, []).append(reply)
    return found


class Runner:
    """Answers many queries in batches, and says how far it is.

    What is about one image stands together, because a batch reads an image once for all that is asked about it.
    """

    def __init__(self, batch_size: int, report: Any) -> None:
        """`report(label, done, total)` is called after each batch."""
        self.batch_size, self.report = batch_size, report

    def __call__(self, model: MultitaskModel, queries: Sequence[Query], label: str) -> list[Reply]:
        """The replies of `model`, in the order of the queries."""
        return self._run(lambda batch: _answers(model, batch), queries, label)

    def forced(self, model: MultitaskModel, examples: Sequence[Example], label: str) -> list[Reply]:
        """What the decoders make of the true replies (`MultitaskModel.teacher_forced`)."""
        return self._run(model.teacher_forced, examples, label)

    def by_task(
        self, model: MultitaskModel, queries: Mapping[str, Sequence[Query]], label: str
    ) -> dict[str, list[Reply]]:
        """The replies to the queries of several tasks, answered together."""
        return _split_again(self(model, [q for asked in queries.values() for q in asked], label), queries)

    def forced_by_task(
        self, model: MultitaskModel, examples: Mapping[str, Sequence[Example]], label: str
    ) -> dict[str, list[Reply]]:
        """`forced` for several tasks together."""
        return _split_again(self.forced(model, [e for given in examples.values() for e in given], label), examples)

    def _run(self, answer: Callable[[list[_Item]], list[Reply]], items: Sequence[_Item], label: str) -> list[Reply]:
        of_image: dict[int, list[int]] = {}
        for place, item in enumerate(items):
            of_image.setdefault(id(item.image), []).append(place)
        without = of_image.pop(id(None), [])
        replies: dict[int, Reply] = {}
        for order in ([place for places in of_image.values() for place in places], without):
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                replies.update(zip(chosen, answer([items[place] for place in chosen]), strict=True))
                self.report(label, len(replies), len(items))
        return [replies[place] for place in range(len(items))]


def _split_again(replies: list[Reply], tasks: Mapping[str, Sequence[Any]]) -> dict[str, list[Reply]]:
    """The replies to what all tasks asked, one task after the other, by task."""
    left = iter(replies)
    return {name: list(islice(left, len(asked))) for name, asked in tasks.items()}


def _answers(model: MultitaskModel, queries: Sequence[Query]) -> list[Reply]:
    """The replies of `model`; one that can't be decoded, as `<OBJ>` without an image, is empty and spoils no other."""
    try:
        return model.reply_batch(queries)
    except InputError:
        if len(queries) == 1:
            return [Reply(text="")]
        return [reply for query in queries for reply in _answers(model, [query])]


@cache
def _blank(size: tuple[int, int]) -> Image.Image:
    """A plain grey picture."""
    return Image.new("RGB", size, BLANK_COLOR)


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
