"""What a stage shows while it trains: a bar with the time left, and a readable line for each record of its log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments


class StageProgress(ProgressCallback):
    """transformers' bar, with the stage's name on it and lines in place of dictionaries."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self._stage)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs and state.is_world_process_zero:
            parts = {name.removeprefix("loss/"): value for name, value in logs.items() if name.startswith("loss/")}
            tell(f"{self._stage} {state.global_step}/{state.max_steps}: {losses_line(logs['loss'], parts)}")


def tell(line: str) -> None:
    """Writes a line above the bar."""
    tqdm.write(line, file=sys.stderr)


def losses_line(total: float, parts: Mapping[str, float]) -> str:
    """`loss 6.69: text 5.97 (captioning 5.96, referring_segmentation 5.99), mask_dice 0.32`.

    Args:
        total: the weighted sum.
        parts: PART and PART/TASK, means over what is reported.
    """
    shown = []
    for name in parts:
        if "/" not in name:
            inner = [f"{key.partition('/')[2]} {parts[key]:.3g}" for key in parts if key.startswith(f"{name}/")]
            shown.append(f"{name} {parts[name]:.3g}" + (f" ({', '.join(inner)})" if inner else ""))
    return f"loss {total:.4g}" + (f": {', '.join(shown)}" if shown else "")
