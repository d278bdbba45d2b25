"""One run from a configuration: build, train stage after stage, save the model.

    neuraltuning tune configs/quickstart.yaml --output runs/quickstart

A run's folder: configuration.yaml, training_log.jsonl, stages/<stage>/ (checkpoints while it runs, the best weights
when it is done), model/ (what `MultitaskModel.from_pretrained` reads).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers import set_seed

from neuraltuning.configuration import dump_settings
from neuraltuning.data.sample import Sample
from neuraltuning.data.source import open_split
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path
from neuraltuning.model import MultitaskModel
from neuraltuning.model_folder import RUN_SUBFOLDER
from neuraltuning.tasks import Example
from neuraltuning.training.alignment import align
from neuraltuning.training.mixture import Mixture
from neuraltuning.training.settings import RunSettings, StageSettings
from neuraltuning.training.stages import Stage, Tuning, Warmup
from neuraltuning.training.trainer import StageTrainer

logger = logging.getLogger(__name__)

CONFIGURATION = "configuration.yaml"
LOG = "training_log.jsonl"
STAGES = "stages"
PREPARE_ROWS = 300
"""Lists of examples that a stage may fit its statistics on before its first step."""


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
    _open_run(settings, output, resume)
    model = MultitaskModel.build(settings.model, settings.seed)
    if settings.alignment_images and not any((output / STAGES).glob("*/done")):
        samples = open_split(settings.data.source, "train", settings.data.seed)
        share = align(model, samples, settings.alignment_images, settings.seed)
        logger.info("%.0f %% of the object tokens are nearest to the right word.", 100.0 * share)
    for number, (stage, stage_settings) in enumerate(_stages(settings, model)):
        _train_stage(stage, stage_settings, settings, output, seed=settings.seed * 100 + number, resume=resume)
    model.save_pretrained(output / RUN_SUBFOLDER)
    return output / RUN_SUBFOLDER


def _open_run(settings: RunSettings, output: Path, resume: bool) -> None:
    text = dump_settings(settings)
    kept = output / CONFIGURATION
    if resume and kept.is_file():
        if kept.read_text(encoding="utf-8") != text:
            raise InputError(f"{kept} differs from the configuration given; resume with the run's own one.")
        return
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; give another --output, or --resume to go on with the run in it.")
    with atomic_path(kept) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _stages(settings: RunSettings, model: MultitaskModel) -> list[tuple[Stage, StageSettings]]:
    stages: list[tuple[Stage, StageSettings]] = []
    if settings.warmup is not None and settings.warmup.steps:
        stages.append((Warmup(model, settings.data.row_length), settings.warmup))
    stages.append((Tuning(model, settings.data.row_length), settings.tuning))
    return stages


def _train_stage(
    stage: Stage, stage_settings: StageSettings, settings: RunSettings, output: Path, *, seed: int, resume: bool
) -> None:
    folder = output / STAGES / stage.name
    done = folder / "done"
    train = open_split(settings.data.source, "train", settings.data.seed)
    validation = open_split(settings.data.source, "validation", settings.data.seed, stage_settings.validation_samples)
    set_seed(seed)
    trainer = StageTrainer(
        stage,
        stage_settings,
        data=Mixture(train, settings.mixture, seed, stage_settings.steps * stage_settings.batch_size),
        validation=_all(validation, settings),
        folder=folder,
        log=output / LOG,
        seed=seed,
    )
    if not done.is_file():
        fresh = not resume or not folder.is_dir()
        if fresh:
            rows = Mixture(train, settings.mixture, seed, PREPARE_ROWS)
            stage.prepare([rows[i] for i in range(PREPARE_ROWS)])
        trainer.run(resume=resume)
        done.touch()
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    trainer.load_best()


def _all(samples: Sequence[Sample], settings: RunSettings) -> list[list[Example]]:
    """The examples of a fixed choice for the validation loss."""
    mixture = Mixture(samples, settings.mixture, settings.seed, len(samples))
    return [mixture[i] for i in range(len(samples))]
