"""A run's settings: the model, the data, the stages and the evaluation. Every key stands commented in configs/."""

from __future__ import annotations

from pydantic import Field

from neuraltuning.configuration import Settings
from neuraltuning.model_settings import ModelSettings


class DataSettings(Settings):
    """Where samples come from."""

    source: str = Field("scenes", description="scenes, made on the fly, or a folder that `data scenes` wrote")
    seed: int = Field(0, ge=0, description="of the scenes")
    row_length: int = Field(1024, ge=64, description="positions of a packed row at most")


class StageSettings(Settings):
    """One stage of training: AdamW with a warm-up and a cosine decay to zero."""

    steps: int = Field(ge=0, description="0 leaves the stage out")
    batch_size: int = Field(ge=1, description="images a step")
    learning_rates: dict[str, float] = Field(
        description="part of the model -> its highest learning rate; parts that are not named stay as they are"
    )
    warmup_steps: int = Field(15, ge=0, description="steps in which the learning rates rise from zero")
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    log_every: int = Field(5, ge=1, description="steps between log lines")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    validate_every: int = Field(0, ge=0, description="steps between validation losses; 0: at the end alone")
    validation_samples: int = Field(24, ge=1, description="samples of the validation split that a loss is taken over")


class WarmupSettings(StageSettings):
    """The warm-up."""

    prepare_images: int = Field(
        160, ge=1, description="images that bridges and pointers are fitted on before the first step"
    )


class EvaluationSettings(Settings):
    """What is scored after tuning."""

    samples: dict[str, int] = Field(
        default_factory=lambda: {"test": 100, "test_wordings": 100, "test_classes": 100},
        min_length=1,
        description="split -> samples of it that are scored",
    )
    examples_per_sample: dict[str, int] = Field(
        default_factory=dict, description="task -> examples of a sample at most; 1 where not named"
    )
    baseline_splits: tuple[str, ...] = Field(
        ("test",), description="splits on which the blank image, the untuned LLM and teacher forcing are scored too"
    )
    batch_size: int = Field(16, ge=1, description="requests answered at once")
    showcase: int = Field(8, ge=0, description="items of each task and split that the report shows")


class RunSettings(Settings):
    """Everything that determines a run."""

    seed: int = Field(0, ge=0)
    model: ModelSettings
    data: DataSettings = Field(default_factory=DataSettings)
    mixture: dict[str, float] = Field(
        min_length=1, description="task -> examples of it an image on average; the tasks to be trained and scored"
    )
    alignment_images: int = Field(0, ge=0, description="images that the projector's start and the names are fitted on")
    warmup: WarmupSettings | None = Field(None, description="decoders learn from the frozen LLM's reading of texts")
    tuning: StageSettings
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
