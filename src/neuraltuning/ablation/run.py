"""Makes one run of a grid: the common start, the training, the scores. Knows nothing of studies and comparisons.

The tuner learns nothing in alignment and warm-up. So runs without a reading that differ only in the tuner and in the
tuning share these two, made once for each seed; a reading comes before the warm-up, which then reads what it taught.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from neuraltuning.ablation.grid import settings_digest
from neuraltuning.ablation.results import Result
from neuraltuning.ablation.schedule import RUNS
from neuraltuning.configuration import dump_settings, load_settings
from neuraltuning.data.source import category_names, open_split
from neuraltuning.device import best_device
from neuraltuning.evaluation.evaluator import Answered, Runner, collect_examples, score_split
from neuraltuning.evaluation.metrics.image_features import encoder_features
from neuraltuning.evaluation.progress import evaluation_progress
from neuraltuning.evaluation.showcase import item_values
from neuraltuning.files import atomic_path
from neuraltuning.model import MultitaskModel
from neuraltuning.model_settings import TunerSettings
from neuraltuning.reply import Reply
from neuraltuning.report.scores import headline
from neuraltuning.tasks import ScoringResources
from neuraltuning.training.run import CONFIGURATION, LOG, STAGES, tune, warm_up
from neuraltuning.training.settings import RunSettings
from neuraltuning.training.stages import Tuning, Warmup
from neuraltuning.training.trainer import BEST, WEIGHTS

STARTS = "starts"
TUNER = "tuner."
DIGITS = 4


def train(settings: RunSettings, name: str, output: Path) -> Result:
    """Trains one run into `output/runs/<name>`, going on from where it was interrupted.

    Returns:
        The result without scores; the model stays in the run's folder.

    Raises:
        InputError: the settings don't fit.
        KeyboardInterrupt: Ctrl-C, after a checkpoint was written.
    """
    folder = output / RUNS / name
    seconds: dict[str, float] = {}
    started = time.monotonic()
    if not (folder / CONFIGURATION).is_file() and _has_common_start(settings):
        _begin_from(_common_start(settings, output), settings, folder)
        seconds["start"] = time.monotonic() - started
    started = time.monotonic()
    tune(settings, folder, resume=True)
    seconds["training"] = time.monotonic() - started
    model = MultitaskModel.from_pretrained(folder)
    parameters = {part: p.numel() for part, p in model.trainable_parameters().items()}
    return Result(
        name=name,
        settings=settings.model_dump(mode="json"),
        validation_loss=_validation_loss(folder / LOG),
        trainable_parameters={
            "tuner": sum(n for part, n in parameters.items() if part.startswith(TUNER)),
            "all": sum(parameters.values()),
        },
        seconds={part: round(value, 1) for part, value in seconds.items()},
        machine={
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "dtype": str(model.language_model.dtype).removeprefix("torch."),
            "versions": {package: version(package) for package in ("neuraltuning", "torch", "transformers", "peft")},
        },
    )


def score(settings: RunSettings, result: Result, split: str, output: Path) -> None:
    """Scores the model of a trained run on a split, freely generated and teacher-forced, into `result`."""
    started = time.monotonic()
    model = MultitaskModel.from_pretrained(output / RUNS / result.name).to(best_device())
    source, own_name = settings.data.of_split(split)
    samples = open_split(source.source, own_name, settings.data.seed, settings.evaluation.samples[split])
    items = collect_examples(settings, samples, own_name, settings.mixture_of(source))
    resources = ScoringResources(encoder_features(model.encoder), category_names(source.source))
    with evaluation_progress() as progress:
        run: Runner = progress(split, settings.evaluation.batch_size)
        scored = score_split(model, items, resources, run, None, teacher_forced=True)
    result.splits[split] = {task: _record(scores, answered, resources) for task, (scores, answered) in scored.items()}
    result.seconds["scoring"] = round(time.monotonic() - started, 1)


def discard(name: str, output: Path) -> None:
    """Removes a run's folder; its result stays."""
    shutil.rmtree(output / RUNS / name, ignore_errors=True)


def _has_common_start(settings: RunSettings) -> bool:
    """Whether the tuner learns nothing before the end of the warm-up."""
    return settings.warmup is not None and settings.reading is None


def _common_start(settings: RunSettings, output: Path) -> Path:
    """The folder of a start that all runs share which differ in the tuner and what it learns alone."""
    ours = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"steps": 1, "learning_rates": {}})})
    # the tuner learns nothing here, so that any will do
    name = settings_digest(ours.model_copy(update={"model": ours.model.model_copy(update={"tuner": TunerSettings()})}))
    folder = output / STARTS / name
    with FileLock(_made(output / STARTS) / f"{name}.lock"):  # others who need it wait for it
        if not (folder / STAGES / Warmup.name / "done").is_file():
            kept = folder / CONFIGURATION
            warm_up(load_settings(RunSettings, kept) if kept.is_file() else ours, folder, resume=True)
    return folder


def _begin_from(start: Path, settings: RunSettings, folder: Path) -> None:
    """Makes a run's folder in which the warm-up is done; the tuner's untrained weights of `start` are left out."""
    with atomic_path(folder, directory=True) as temporary:
        best = temporary / STAGES / Warmup.name / BEST
        best.parent.mkdir(parents=True)
        shutil.copytree(start / STAGES / Warmup.name / BEST, best)
        weights = load_file(best / WEIGHTS)
        save_file({k: v for k, v in weights.items() if not k.startswith(TUNER)}, best / WEIGHTS)
        (best.parent / "done").touch()
        (temporary / CONFIGURATION).write_text(dump_settings(settings), encoding="utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _validation_loss(log: Path) -> float:
    """The lowest validation loss of the tuning; its weights were kept."""
    records = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return min(r["validation"]["loss"] for r in records if r["stage"] == Tuning.name and "validation" in r)


def _record(scores: dict[str, Any], answered: Answered, resources: ScoringResources) -> dict[str, Any]:
    items: dict[str, Any] = {"ids": [example.id for example in answered.examples]}
    items["free"] = _items(answered, answered.replies, resources)
    if answered.forced is not None:
        items["teacher_forced"] = _items(answered, answered.forced, resources)
    return {
        "scores": _plain(scores),
        **({"teacher_forced": _plain(scores["teacher_forced"])} if "teacher_forced" in scores else {}),
        "baselines": {name: _main(found) for name, found in scores["baselines"].items()},
        "items": items,
    }


def _items(answered: Answered, replies: Sequence[Reply], resources: ScoringResources) -> list[float]:
    """Each item's own score, that which makes it a success in the report."""
    key, _ = answered.task.success
    values = item_values(answered.task, answered.examples, replies, resources)
    return [round(float(value.get(key, 0.0)), DIGITS) for value in values]


def _main(scores: dict[str, Any]) -> dict[str, Any]:
    """The main score with its interval and count."""
    name = headline(scores)
    return {key: value for key, value in _plain(scores).items() if key in (name, f"{name}_ci95", "n")}


def _plain(scores: dict[str, Any]) -> dict[str, Any]:
    """The scores and their intervals, without those by kind and the baselines."""
    kept = {k: v for k, v in scores.items() if isinstance(v, (int, float, list)) and not isinstance(v, bool)}
    return {k: [round(x, DIGITS) for x in v] if isinstance(v, list) else round(v, DIGITS) for k, v in kept.items()}
