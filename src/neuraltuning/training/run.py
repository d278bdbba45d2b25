"""One run from a configuration: build, train stage after stage, save the model.

    neuraltuning tune configs/quickstart.yaml --output runs/quickstart

A run's folder: configuration.yaml, training_log.jsonl, stages/<stage>/ (checkpoints while it runs, the best weights
when it is done), model/ (what `MultitaskModel.from_pretrained` reads), left_out.jsonl (where records were left out).
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import set_seed

from neuraltuning.configuration import dump_settings, load_settings
from neuraltuning.data.sample import Sample
from neuraltuning.data.source import open_split
from neuraltuning.device import best_device
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path
from neuraltuning.model import MultitaskModel
from neuraltuning.model_folder import RUN_SUBFOLDER
from neuraltuning.tasks import Example, get_task
from neuraltuning.training.alignment import align
from neuraltuning.training.left_out import FILE as LEFT_OUT
from neuraltuning.training.left_out import LeftOut, left_out_summary, mark_resumed
from neuraltuning.training.mixture import Interleaved, InTurn, Mixture, Rows, interleave
from neuraltuning.training.settings import RunSettings, StageSettings, TextStageSettings, WarmupSettings
from neuraltuning.training.stages import Reading, Stage, Tuning, Warmup
from neuraltuning.training.trainer import BEST, StageTrainer, parameter_groups

logger = logging.getLogger(__name__)

CONFIGURATION = "configuration.yaml"
LOG = "training_log.jsonl"
STAGES = "stages"


def tune(settings: RunSettings, output: Path, resume: bool = False) -> Path:
    """Trains a model as `settings` says and saves it.

    Args:
        settings: the run.
        output: the run's folder; it must be new or empty, unless `resume`.
        resume: skip the stages that are done and go on from the last checkpoint.

    Returns:
        The model's folder.

    Raises:
        InputError: `output` holds another run, or the settings don't fit.
        KeyboardInterrupt: Ctrl-C, after a checkpoint was written.
    """
    model, stages = _begin(settings, output, resume)
    for number, (stage, stage_settings) in enumerate(stages):
        _train_stage(stage, stage_settings, settings, output, seed=settings.seed * 100 + number)
    model.save_pretrained(output / RUN_SUBFOLDER)
    if summary := left_out_summary(output / LEFT_OUT):
        logger.warning(summary)
    return output / RUN_SUBFOLDER


def warm_up(settings: RunSettings, output: Path, resume: bool = False) -> Path:
    """The part of `tune` before the tuner learns, of a run without reading: alignment and warm-up, from which several
    runs can go on.

    Args:
        settings: the run; its stages after the warm-up are not made.
        output: the run's folder; it must be new or empty, unless `resume`.
        resume: go on from the last checkpoint.

    Returns:
        The folder of the warm-up's best weights. They hold the untrained tuner too.

    Raises:
        InputError: as `tune`, or the run has no warm-up, or a reading, which comes before it.
    """
    if settings.warmup is None:
        raise InputError("The run has no warm-up: give it some warmup.steps.")
    if settings.reading is not None:
        raise InputError("The run has a reading before its warm-up, in which the tuner learns: set reading to null.")
    _, stages = _begin(settings, output, resume)
    for number, (stage, stage_settings) in enumerate(stages):
        if isinstance(stage, Warmup):
            _train_stage(stage, stage_settings, settings, output, seed=settings.seed * 100 + number)
    return output / STAGES / Warmup.name / BEST


def _begin(
    settings: RunSettings, output: Path, resume: bool
) -> tuple[MultitaskModel, list[tuple[Stage, StageSettings]]]:
    """The model, aligned where no stage is done, and the stages to be trained."""
    _check_folder(settings, output, resume)
    if settings.model.names.slots and not settings.alignment_images:
        raise InputError(
            f"model.names.slots is {settings.model.names.slots}, but what patches show is learned from "
            "alignment_images, which is 0; set model.names.slots to 0 too."
        )
    model = MultitaskModel.build(settings.model, settings.seed).to(best_device())
    if model.device.type == "cpu":
        # torch's fused attention takes longer there with its gradient than the plain products (docs/training.md)
        model.language_model.set_attn_implementation("eager")
    stages = _stages(settings, model)
    _check_order(stages, output / STAGES)
    with atomic_path(output / CONFIGURATION) as temporary:  # what could not begin leaves nothing
        temporary.write_text(dump_settings(settings), encoding="utf-8")
    mark_resumed(output / LEFT_OUT)
    if settings.alignment_images and not any((output / STAGES).glob("*/done")):
        sources = _sources(settings, "train")
        left_out = [_left_out(source, settings, output, "alignment") for source in sources]
        samples = InTurn([s.samples for s in sources], [s.weight for s in sources], left_out)
        tasks = [get_task(name) for name in settings.tasks]
        share = align(model, samples, settings.alignment_images, settings.seed, tasks)
        logger.info("%.0f %% of the object tokens are nearest to the right word.", 100.0 * share)
    return model, stages


def _check_folder(settings: RunSettings, output: Path, resume: bool) -> None:
    kept = output / CONFIGURATION
    if resume and kept.is_file():
        if _determining(load_settings(RunSettings, kept)) != _determining(settings):
            raise InputError(f"{kept} differs from the configuration given; resume with the run's own one.")
    elif output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; give another --output, or --resume to go on with the run in it.")


def _check_order(stages: Sequence[tuple[Stage, StageSettings]], folder: Path) -> None:
    """Refuses a run of a version that trained the stages in another order: what is there began elsewhere."""
    missing = ""
    for stage, _ in stages:
        if missing and (folder / stage.name).is_dir():
            raise InputError(
                f"{folder} holds the stage {stage.name}, but not all of {missing}, which comes before it; begin the "
                "run anew with another --output."
            )
        if not (folder / stage.name / "done").is_file():
            missing = missing or stage.name


def _determining(settings: RunSettings) -> RunSettings:
    """The settings without those that may be changed when a run goes on, because they don't change its result."""
    return settings.model_copy(update={"data": settings.data.model_copy(update={"workers": 0, "max_left_out": 0.0})})


def _stages(settings: RunSettings, model: MultitaskModel) -> list[tuple[Stage, StageSettings]]:
    read = set(model.decoders_by_token)
    for name in settings.tasks:
        for token in set(get_task(name).tokens) - read:
            raise InputError(
                f"The task {name} of the mixture writes {token}, which no decoder reads; "
                "add one to model.decoders, or leave the task out."
            )
    stages: list[tuple[Stage, StageSettings]] = []
    mixtures = [settings.mixture_of(source) for source in settings.data.named.values()]
    if settings.reading is not None:
        reading = Reading(model, settings.data.row_length)
        if any(_shares(reading, settings.reading, mixture) for mixture in mixtures):
            stages.append((reading, settings.reading))
    if settings.warmup is not None:
        stages.append((Warmup(model, settings.data.row_length, tuned=bool(stages)), settings.warmup))
    stages.append((Tuning(model, settings.data.row_length), settings.tuning))
    for stage, stage_settings in stages:
        parameter_groups(stage, stage_settings)  # refuses what the last stage can't do before the first begins
        if not any(_shares(stage, stage_settings, mixture) for mixture in mixtures):
            raise InputError(
                f"{stage.name} learns from task tokens that stand for parts of an image, and no task of the mixture "
                "has one: leave it out."
            )
    return stages


def _shares(stage: Stage, stage_settings: StageSettings, mixture: Mapping[str, float]) -> dict[str, float]:
    """The part of a mixture that teaches a stage something, in the stage's own shares where it has some."""
    if isinstance(stage_settings, TextStageSettings) and stage_settings.mixture:
        mixture = {name: share for name, share in stage_settings.mixture.items() if name in mixture}
    return {name: share for name, share in mixture.items() if stage.learns_from(get_task(name).tokens)}


@dataclass(frozen=True)
class _Source:
    """A source of a run, opened: what it is called, and how often which tasks of it come."""

    name: str
    samples: Sequence[Sample]
    weight: float
    shares: Mapping[str, float]


def _sources(
    settings: RunSettings,
    split: str,
    shares: Callable[[Mapping[str, float]], Mapping[str, float]] = dict,
    size: int | None = None,
) -> list[_Source]:
    """The sources of a run that have something to give.

    Args:
        settings: the run.
        split: the split of each source.
        shares: takes the part of a source's mixture that is wanted.
        size: so many samples in all, divided by the weights; all samples by default.
    """
    wanted = {name: shares(settings.mixture_of(given)) for name, given in settings.data.named.items()}
    given = {name: source for name, source in settings.data.named.items() if wanted[name]}
    weights = [source.weight for source in given.values()]
    sizes = Counter(interleave(place, weights)[0] for place in range(size or 0))
    sources = []
    for number, (name, source) in enumerate(given.items()):
        if size is not None and not sizes[number]:
            continue
        samples = open_split(source.source, split, settings.data.seed, None if size is None else sizes[number])
        if not samples:
            raise InputError(f"The split {split} of {source.source} is empty; give another data.source.")
        sources.append(_Source(name, samples, source.weight, wanted[name]))
    return sources


def _left_out(source: _Source, settings: RunSettings, output: Path, stage: str) -> LeftOut:
    return LeftOut(output / LEFT_OUT, stage, source.name, len(source.samples), settings.data.max_left_out)


def _mixed(
    sources: Sequence[_Source],
    seed: int,
    length: int,
    *,
    fits: Callable[[Example], bool],
    left_out: Callable[[_Source], LeftOut] | None = None,
) -> Rows:
    """The mixture of the sources' mixtures; with one source, its own."""

    def mixture(source: _Source, seed: int) -> Mixture:
        noted = None if left_out is None else left_out(source)
        return Mixture(source.samples, source.shares, seed, length, left_out=noted, fits=fits)

    if len(sources) == 1:
        return mixture(sources[0], seed)
    seeds = np.random.SeedSequence(seed).generate_state(len(sources)).tolist()
    parts = [mixture(source, own) for source, own in zip(sources, seeds, strict=True)]
    return Interleaved(parts, [source.weight for source in sources], length)


def _train_stage(
    stage: Stage, stage_settings: StageSettings, settings: RunSettings, output: Path, *, seed: int
) -> None:
    folder = output / STAGES / stage.name
    done = folder / "done"

    def teaching(mixture: Mapping[str, float]) -> dict[str, float]:
        return _shares(stage, stage_settings, mixture)

    def with_tokens(mixture: Mapping[str, float]) -> dict[str, float]:
        return {name: share for name, share in mixture.items() if get_task(name).tokens}

    def rows(shares: Callable[[Mapping[str, float]], dict[str, float]], length: int) -> Rows:
        return _mixed(
            _sources(settings, "train", shares),
            seed,
            length,
            fits=stage.packer.fits,
            left_out=lambda source: _left_out(source, settings, output, stage.name),
        )

    validation = _sources(settings, "validation", teaching, stage_settings.validation_samples)
    set_seed(seed)
    trainer = StageTrainer(
        stage,
        stage_settings,
        data=rows(teaching, stage_settings.steps * stage_settings.batch_size),
        workers=settings.data.workers,
        validation=_all(validation, settings.seed, stage.packer.fits),
        folder=folder,
        log=output / LOG,
        seed=seed,
    )
    if not done.is_file():
        checkpoint = trainer.last_checkpoint()
        if checkpoint is None and isinstance(stage, Warmup) and isinstance(stage_settings, WarmupSettings):
            stage.prepare(rows(with_tokens, stage_settings.prepare_images))
        trainer.run(checkpoint)
        done.touch()
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.load_best()


def _all(sources: Sequence[_Source], seed: int, fits: Callable[[Example], bool]) -> list[list[Example]]:
    """The examples of a fixed choice for the validation loss, which leaves nothing out."""
    length = sum(len(source.samples) for source in sources)
    mixture = _mixed(sources, seed, length, fits=fits)
    return [mixture[place] for place in range(length)]
