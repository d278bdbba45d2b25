"""One run from a configuration: build, train stage after stage, save the model.

    neuraltuning tune configs/quickstart.yaml --output runs/quickstart

A run's folder: configuration.yaml, training_log.jsonl, stages/<stage>/ (checkpoints while it runs, the best weights
when it is done), model/ (what `MultitaskModel.from_pretrained` reads).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import set_seed

from neuraltuning.configuration import dump_settings
from neuraltuning.data.sample import Sample
from neuraltuning.data.source import open_split
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path
from neuraltuning.model import MultitaskModel
from neuraltuning.model_folder import RUN_SUBFOLDER
from neuraltuning.tasks import Example, get_task
from neuraltuning.training.alignment import align
from neuraltuning.training.mixture import Mixture
from neuraltuning.training.settings import RunSettings, StageSettings, WarmupSettings
from neuraltuning.training.stages import Stage, Tuning, Warmup
from neuraltuning.training.trainer import StageTrainer, parameter_groups

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
    _check_folder(settings, output, resume)
    if settings.model.names.slots and not settings.alignment_images:
        raise InputError(
            f"model.names.slots is {settings.model.names.slots}, but what patches show is learned from "
            "alignment_images, which is 0; set model.names.slots to 0 too."
        )
    model = MultitaskModel.build(settings.model, settings.seed)
    stages = _stages(settings, model)
    with atomic_path(output / CONFIGURATION) as temporary:  # what could not begin leaves nothing
        temporary.write_text(dump_settings(settings), encoding="utf-8")
    if settings.alignment_images and not any((output / STAGES).glob("*/done")):
        samples = open_split(settings.data.source, "train", settings.data.seed)
        tasks = [get_task(name) for name in settings.mixture]
        share = align(model, samples, settings.alignment_images, settings.seed, tasks)
        logger.info("%.0f %% of the object tokens are nearest to the right word.", 100.0 * share)
    for number, (stage, stage_settings) in enumerate(stages):
        _train_stage(stage, stage_settings, settings, output, seed=settings.seed * 100 + number)
    model.save_pretrained(output / RUN_SUBFOLDER)
    return output / RUN_SUBFOLDER


def _check_folder(settings: RunSettings, output: Path, resume: bool) -> None:
    kept = output / CONFIGURATION
    if resume and kept.is_file():
        if kept.read_text(encoding="utf-8") != dump_settings(settings):
            raise InputError(f"{kept} differs from the configuration given; resume with the run's own one.")
    elif output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; give another --output, or --resume to go on with the run in it.")


def _stages(settings: RunSettings, model: MultitaskModel) -> list[tuple[Stage, StageSettings]]:
    read = set(model.decoders_by_token)
    for name in settings.mixture:
        for token in set(get_task(name).tokens) - read:
            raise InputError(
                f"The task {name} of the mixture writes {token}, which no decoder reads; "
                "add one to model.decoders, or leave the task out."
            )
    stages: list[tuple[Stage, StageSettings]] = []
    if settings.warmup is not None and settings.warmup.steps:
        stages.append((Warmup(model, settings.data.row_length), settings.warmup))
    stages.append((Tuning(model, settings.data.row_length), settings.tuning))
    for stage, stage_settings in stages:
        parameter_groups(stage, stage_settings)  # refuses what the last stage can't do before the first begins
        if not _shares(stage, settings):
            raise InputError(
                f"{stage.name} learns from task tokens that stand for parts of an image, and no task of the mixture "
                "has one: leave it out."
            )
    return stages


def _shares(stage: Stage, settings: RunSettings) -> dict[str, float]:
    """The part of the mixture that teaches a stage something."""
    return {name: share for name, share in settings.mixture.items() if stage.learns_from(get_task(name).tokens)}


def _train_stage(
    stage: Stage, stage_settings: StageSettings, settings: RunSettings, output: Path, *, seed: int
) -> None:
    folder = output / STAGES / stage.name
    done = folder / "done"
    train = open_split(settings.data.source, "train", settings.data.seed)
    validation = open_split(settings.data.source, "validation", settings.data.seed, stage_settings.validation_samples)
    shares = _shares(stage, settings)
    set_seed(seed)
    trainer = StageTrainer(
        stage,
        stage_settings,
        data=Mixture(train, shares, seed, stage_settings.steps * stage_settings.batch_size),
        validation=_all(validation, shares, settings.seed),
        folder=folder,
        log=output / LOG,
        seed=seed,
    )
    if not done.is_file():
        checkpoint = trainer.last_checkpoint()
        if checkpoint is None and isinstance(stage, Warmup) and isinstance(stage_settings, WarmupSettings):
            with_tokens = {name: share for name, share in settings.mixture.items() if get_task(name).tokens}
            stage.prepare(Mixture(train, with_tokens, seed, stage_settings.prepare_images))
        trainer.run(checkpoint)
        done.touch()
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.load_best()


def _all(samples: Sequence[Sample], shares: Mapping[str, float], seed: int) -> list[list[Example]]:
    """The examples of a fixed choice for the validation loss."""
    mixture = Mixture(samples, shares, seed, len(samples))
    return [mixture[i] for i in range(len(samples))]
