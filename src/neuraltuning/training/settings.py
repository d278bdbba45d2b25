"""A run's settings: the model, the data, the stages and the evaluation. Every key stands commented in configs/."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator, model_validator

from neuraltuning.configuration import Settings
from neuraltuning.errors import InputError
from neuraltuning.model_settings import ModelSettings

SourceName = Annotated[str, StringConstraints(pattern=r"^[\w-]+$")]


class SourceSettings(Settings):
    """One of several sources."""

    source: str = Field(description="scenes, a folder, or an address")
    weight: float = Field(1.0, gt=0, description="images of it, relative to those of the other sources")
    mixture: dict[str, float] | None = Field(
        None, min_length=1, description="task -> examples of it an image on average; the run's mixture by default"
    )


class DataSettings(Settings):
    """Where samples come from: one source, or several by name."""

    source: str | None = Field(
        None, description="scenes, made on the fly; a folder that `data convert` or `data scenes` wrote; an address"
    )
    sources: dict[SourceName, SourceSettings] = Field(
        default_factory=dict, description="several sources by name, instead of `source`"
    )
    seed: int = Field(0, ge=0, description="of the scenes")
    row_length: int = Field(1024, ge=64, description="positions of a packed row at most")
    workers: int = Field(0, ge=0, description="processes that read and pack ahead of the training; 0: none")
    max_left_out: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of a source's records that training may leave out, where they can't be used",
    )

    @model_validator(mode="before")
    @classmethod
    def _scenes_by_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and "source" not in values and not values.get("sources"):
            return {**values, "source": "scenes"}
        return values

    @model_validator(mode="after")
    def _one_of_both(self) -> DataSettings:
        if (self.source is None) == (not self.sources):
            raise ValueError("it must name either source or sources")
        return self

    @property
    def named(self) -> dict[str, SourceSettings]:
        """The sources by name; a single one's name is what it is."""
        return self.sources or {str(self.source): SourceSettings(source=str(self.source))}

    def of_split(self, name: str) -> tuple[SourceSettings, str]:
        """The source and the split that the name of a split to be scored means: `test`, or with sources `mine.test`.

        Raises:
            InputError: there is no such source.
        """
        if not self.sources:
            return self.named[str(self.source)], name
        source, _, split = name.partition(".")
        if source not in self.sources or not split:
            raise InputError(
                f"The scored split {name!r} doesn't say which source it is of: write "
                f"{next(iter(self.sources))}.{name.rpartition('.')[2]}; the sources are {', '.join(self.sources)}."
            )
        return self.sources[source], split


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


class TextStageSettings(StageSettings):
    """A stage that learns from texts: the reading."""

    mixture: dict[str, float] = Field(
        default_factory=dict,
        description="task -> examples of it an image on average, where the run has the task; the run's own if empty",
    )


class WarmupSettings(TextStageSettings):
    """The warm-up."""

    prepare_images: int = Field(
        160, ge=1, description="images that bridges and pointers are fitted on before the first step"
    )


class EvaluationSettings(Settings):
    """What is scored after tuning."""

    samples: dict[str, int] = Field(
        default_factory=lambda: {"test": 100, "test_wordings": 100, "test_classes": 100},
        min_length=1,
        description="split -> samples of it that are scored; with data.sources, a split is named mine.test",
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
    reading: TextStageSettings | None = Field(None, description="the tuner learns to answer from true descriptions")
    tuning: StageSettings
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)

    @field_validator("reading", "warmup", mode="after")
    @classmethod
    def _without_steps_is_left_out(cls, stage: StageSettings | None) -> StageSettings | None:
        return stage if stage is not None and stage.steps else None

    @model_validator(mode="after")
    def _scored_splits_have_a_source(self) -> RunSettings:
        for split in self.evaluation.samples:
            self.data.of_split(split)
        return self

    def mixture_of(self, source: SourceSettings) -> dict[str, float]:
        """The tasks that a source is trained and scored on, with their shares."""
        return self.mixture if source.mixture is None else source.mixture

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of all sources."""
        return tuple(dict.fromkeys(name for source in self.data.named.values() for name in self.mixture_of(source)))
