"""transformers' Trainer around one stage: optimiser per part, logs by loss, small checkpoints, a clean stop.

Knows nothing of tasks or of what a stage computes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    get_cosine_schedule_with_warmup,
)
from transformers.trainer import TRAINER_STATE_NAME

from neuraltuning.errors import InputError, NeuralTuningError, RunError
from neuraltuning.files import atomic_path
from neuraltuning.tasks import Example
from neuraltuning.training.mixture import Rows
from neuraltuning.training.progress import StageProgress, losses_line, tell
from neuraltuning.training.settings import StageSettings
from neuraltuning.training.stages import Stage

WEIGHTS = "trained.safetensors"
BEST = "best"
BEST_LOSS = "validation_loss"
BETAS = (0.9, 0.98)


class StageTrainer(Trainer):
    """Trains one stage. Checkpoints hold the trainable tensors alone, the optimiser and the random states."""

    def __init__(
        self,
        stage: Stage,
        settings: StageSettings,
        *,
        data: Rows,
        workers: int,
        validation: Sequence[list[Example]],
        folder: Path,
        log: Path,
        seed: int,
    ) -> None:
        """Prepares the training of `stage`.

        Args:
            stage: what is trained.
            settings: steps, batch size, learning rates, ...
            data: item i is the i-th list of examples to be trained on; any number of them can be asked for.
            workers: processes that read and pack ahead of the training; 0: none.
            validation: lists of examples for the validation loss.
            folder: for checkpoints.
            log: JSON-lines file that log records are appended to.
            seed: of everything random in training.

        Raises:
            InputError: a learning rate is given to a part that the model doesn't have.
        """
        parameters = parameter_groups(stage, settings)
        optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=settings.weight_decay, fused=True)
        schedule = get_cosine_schedule_with_warmup(
            optimizer, min(settings.warmup_steps, settings.steps), settings.steps
        )
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            max_grad_norm=settings.max_grad_norm,
            logging_steps=settings.log_every,
            logging_first_step=True,
            save_steps=settings.save_every,
            save_total_limit=1,
            seed=seed,
            data_seed=seed,
            report_to=["tensorboard"],
            remove_unused_columns=False,
            label_names=[],
            dataloader_num_workers=workers,
            dataloader_pin_memory=False,
            logging_nan_inf_filter=False,
            disable_tqdm=False,
        )
        arguments._n_gpu = min(1, arguments.n_gpu)  # one each process; DataParallel would copy the model in every step
        super().__init__(
            model=stage,
            args=arguments,
            # each process takes its own batches of them
            train_dataset=_Items(data, settings.steps * settings.batch_size * arguments.world_size),
            data_collator=_Collator(stage),
            optimizers=(optimizer, schedule),
        )
        self.stage = stage
        self.settings = settings
        self.validation = validation
        self.log_path = log
        self.started = time.monotonic()
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.remove_callback(ProgressCallback)
        self.add_callback(StageProgress(stage.name))
        self.add_callback(_Validation(self))

    def run(self, checkpoint: Path | None) -> None:
        """Trains to the end, from `checkpoint` where there is one.

        Raises:
            KeyboardInterrupt: Ctrl-C; a checkpoint was written before.
            RunError: the loss is not a number.
        """
        with _StopSignal() as stop:
            self.add_callback(_Stopping(stop))
            self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if stop.asked:
            raise KeyboardInterrupt

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        if isinstance(inputs["batch"], NeuralTuningError):
            raise inputs["batch"]
        losses = model(inputs["batch"])
        if not torch.isfinite(losses.total):
            raise RunError(
                f"The loss of stage {self.stage.name} is {losses.total.item()} at step {self.state.global_step + 1}; "
                f"lower {self.stage.name}.learning_rates and tune into a new folder."
            )
        for name, value in losses.parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        return losses.total

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the mean of each loss since the last line, and writes the record to the run's log."""
        logs = dict(logs)
        for name, total in self._sums.items():
            logs[f"loss/{name}"] = round(float(total) / self._counts[name], 5)
        self._sums, self._counts = {}, {}
        super().log(logs, *args, **kwargs)
        if "loss" in logs:
            self.write_record({k: v for k, v in logs.items() if k != "epoch"})

    def write_record(self, values: dict[str, Any]) -> None:
        """Appends one record to the run's log."""
        record = {
            "stage": self.stage.name,
            "step": self.state.global_step,
            "seconds": round(time.monotonic() - self.started, 2),
            **values,
        }
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The mean losses over the validation examples, in evaluation mode."""
        self.stage.eval()
        sums: dict[str, list[float]] = {}
        size = self.settings.batch_size
        for start in range(0, len(self.validation), size):
            losses = self.stage(self.stage.collate(self.validation[start : start + size]))
            for name, value in {"loss": losses.total, **losses.parts}.items():
                sums.setdefault(name, []).append(float(value))
        self.stage.train()
        return {name: sum(values) / len(values) for name, values in sums.items()}

    def offer(self, loss: float) -> None:
        """Keeps the present weights if their validation loss is the lowest so far (SPEC 5: never chosen on test)."""
        best = self.best_folder / BEST_LOSS
        if best.is_file() and not loss < float(best.read_text()):  # NaN is never the lowest
            return
        with atomic_path(self.best_folder, directory=True) as folder:
            save_file(self.stage.model.trained_state(), folder / WEIGHTS)
            (folder / BEST_LOSS).write_text(repr(loss))

    def load_best(self) -> None:
        """Puts the weights of the lowest validation loss into the model."""
        self.stage.model.load_trained_state(load_file(self.best_folder / WEIGHTS))

    def last_checkpoint(self) -> Path | None:
        """The last complete checkpoint; in one that was being written when the run broke off the state is missing."""
        complete = [
            state.parent for state in Path(str(self.args.output_dir)).glob(f"checkpoint-*/{TRAINER_STATE_NAME}")
        ]
        return max(complete, key=lambda folder: int(folder.name.split("-")[1]), default=None)

    @property
    def best_folder(self) -> Path:
        """Where the weights of the lowest validation loss are."""
        return Path(str(self.args.output_dir)) / BEST

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.stage.model.trained_state(), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.stage.model.load_trained_state(load_file(Path(resume_from_checkpoint) / WEIGHTS))


def parameter_groups(stage: Stage, settings: StageSettings) -> list[dict[str, Any]]:
    """The optimiser's groups: each part that has a learning rate; the other parts are frozen for the stage.

    Parts are tuner, projector, task_tokens, bridges, decoders, or more precisely bridges.mask, decoders.image, ...;
    the most precise one that is named counts.

    Raises:
        InputError: a learning rate is given to a part that the model doesn't have.
    """
    groups: dict[str, list[nn.Parameter]] = {part: [] for part in settings.learning_rates}
    for path, parameter in stage.model.trainable_parameters().items():
        matching = [part for part in groups if path.startswith(part + ".")]
        parameter.requires_grad_(bool(matching))
        if matching:
            groups[max(matching, key=len)].append(parameter)
    empty = [part for part, parameters in groups.items() if not parameters]
    if empty:
        raise InputError(
            f"{stage.name}.learning_rates names {empty[0]!r}, which is no trainable part of the model; parts: tuner, "
            f"projector, task_tokens, bridges, decoders, {', '.join('decoders.' + n for n in stage.model.decoders)}."
        )
    return [{"params": p, "lr": settings.learning_rates[part], "name": part} for part, p in groups.items()]


class _Items(Dataset[Any]):
    """The rows of a training. Errors of users are values: torch would wrap one of a worker into a stack trace."""

    def __init__(self, rows: Rows, length: int) -> None:
        self.rows, self.length = rows, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Example] | NeuralTuningError:
        try:
            return self.rows[index]
        except NeuralTuningError as error:
            return error


class _Collator:
    """The batch of a stage, or the first error that is in the way of it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __call__(self, rows: Sequence[list[Example] | NeuralTuningError]) -> dict[str, Any]:
        try:
            return {"batch": self.stage.collate([_or_raise(row) for row in rows])}
        except NeuralTuningError as error:
            return {"batch": error}


def _or_raise(row: list[Example] | NeuralTuningError) -> list[Example]:
    if isinstance(row, NeuralTuningError):
        raise row
    return row


class _Validation(TrainerCallback):
    """Takes the validation loss every so many steps and at the end, and keeps the best weights of the stage."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        every = self.trainer.settings.validate_every
        if state.global_step == state.max_steps or (every and state.global_step % every == 0):
            losses = self.trainer.validate()
            self.trainer.write_record({"validation": {k: round(v, 5) for k, v in losses.items()}})
            loss = losses.pop("loss")
            step = f"{self.trainer.stage.name} {state.global_step}/{state.max_steps}"
            tell(f"{step}: validation {losses_line(loss, losses)}")
            self.trainer.offer(loss)


class _Stopping(TrainerCallback):
    """Ends training after the step in which a stop was asked for, with a checkpoint."""

    def __init__(self, stop: _StopSignal) -> None:
        self.stop = stop

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.stop.asked:
            control.should_save = control.should_training_stop = True
        return control


class _StopSignal:
    """Notes the first Ctrl-C instead of raising it at once; the second one raises."""

    def __init__(self) -> None:
        self.asked = False
        self.process = os.getpid()

    def __enter__(self) -> _StopSignal:
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        if self.in_main_thread:
            self.previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self.in_main_thread:
            signal.signal(signal.SIGINT, self.previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a worker of the loader, which the end of the training ends
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nStopping after this step, with a checkpoint; press Ctrl-C again to stop at once.", flush=True)
