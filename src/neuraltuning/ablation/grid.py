"""The grid of an ablation: studies of variants of one configuration, read from one YAML, and the runs that it asks for.

    base: ../quickstart.yaml               # configuration that all runs start from, relative to this file
    set: {tuning.steps: 240}              # dotted keys over it, for all runs
    seeds: [0, 1, 2]
    studies:
      carry:
        question: Does the carry from layer to layer help?
        task: reasoning_segmentation
        reference: with carry
        variants:
          with carry: {}
          without carry: {set: {model.tuner.settings.neural_tuning.carry: false}}

A run is named by a hash of its settings, so that variants of several studies that come to the same settings are run
once. Knows nothing of how a run is made.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from neuraltuning.configuration import Settings, put, read_mapping, validate_settings
from neuraltuning.errors import InputError
from neuraltuning.tasks import get_task
from neuraltuning.training.settings import RunSettings
from neuraltuning.tuners import tuner_config

Direction = Literal["lower", "higher", "equal"]
ADDED: tuple[tuple[str, str, Any], ...] = (("model", "pooling", 1), ("warmup", "mixture", {}))
"""Settings that came later, and what all runs did before: these stand for the same run without them."""


class VariantSettings(Settings):
    """One variant of a study."""

    set: dict[str, Any] = Field(default_factory=dict, description="dotted key -> value, over the grid's")
    choose: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="dotted key -> values, of which the one with the lowest validation loss is taken (first seed)",
    )
    expect: Direction | None = Field(None, description="how the papers found its score beside the reference's")


class StudySettings(Settings):
    """Variants that are compared with one of them."""

    question: str
    paper: str = Field("", description="what the papers found, in words")
    task: str = Field(description="whose score the verdict is about")
    reference: str = Field(description="the variant that the others are compared with")
    variants: dict[str, VariantSettings] = Field(min_length=2)

    @model_validator(mode="after")
    def _has_reference(self) -> StudySettings:
        if self.reference not in self.variants:
            raise ValueError(f"its reference {self.reference!r} is none of its variants: {', '.join(self.variants)}")
        return self


class GridSettings(Settings):
    """A whole grid."""

    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(min_length=1)
    split: str = Field("test", description="split that is scored; nothing is chosen by it")
    studies: dict[str, StudySettings] = Field(min_length=1)


@dataclass(frozen=True)
class Run:
    """One training of the grid.

    Attributes:
        settings: everything that determines it, the seed included.
        label: how it is shown: "tuner / lora, seed 0".
    """

    settings: RunSettings
    label: str

    @property
    def name(self) -> str:
        """A hash of the settings: the same run has the same name in every grid."""
        return settings_digest(self.settings)


@dataclass(frozen=True)
class Variant:
    """A variant of a study: for each combination of the values to choose from, its runs by seed."""

    study: str
    name: str
    candidates: tuple[tuple[Run, ...], ...]


@dataclass(frozen=True)
class Grid:
    """What is to be run.

    Attributes:
        settings: as the YAML states it.
        variants: of all studies, in order.
    """

    settings: GridSettings
    variants: tuple[Variant, ...]

    def of_study(self, study: str) -> dict[str, Variant]:
        """The variants of a study by name."""
        return {variant.name: variant for variant in self.variants if variant.study == study}


def load_grid(path: Path) -> Grid:
    """Reads a grid and checks every run of it.

    Raises:
        InputError: no such file, a key or value that doesn't exist, a setting that its tuner refuses, an unknown task;
            the sentence names study, variant and key.
    """
    data = read_mapping(path)
    if "studies" not in data and "model" in data:
        raise InputError(f"{path} configures one run: say what to vary by --over KEY=VALUES, or give a grid.")
    settings = validate_settings(GridSettings, data, str(path))
    return expand(settings, read_mapping(path.parent / settings.base), str(path))


def expand(settings: GridSettings, base: dict[str, Any], where: str) -> Grid:
    """The runs of a grid over a base configuration.

    Args:
        settings: the grid.
        base: what the base YAML holds.
        where: the grid's file, for messages.
    """
    variants = []
    for study_name, study in settings.studies.items():
        get_task(study.task)
        for name, variant in study.variants.items():
            place = f"{where}, studies.{study_name}, variant {name!r}"
            candidates = []
            for chosen in _combinations(variant.choose):
                changes = {**settings.set, **variant.set, **chosen}
                said = "".join(f", {key.rpartition('.')[2]} {value}" for key, value in chosen.items())
                runs = [
                    Run(
                        _run_settings(base, changes, seed, settings, place), f"{study_name} / {name}{said}, seed {seed}"
                    )
                    for seed in settings.seeds
                ]
                candidates.append(tuple(runs))
            variants.append(Variant(study_name, name, tuple(candidates)))
        task_missing = [v.name for v in variants if v.study == study_name and study.task not in _tasks(v)]
        if task_missing:
            raise InputError(
                f"{where}, studies.{study_name}: the task {study.task} is not in the mixture of {task_missing[0]!r}, "
                "so there is no score to compare; name another task."
            )
    return Grid(settings, tuple(variants))


def settings_digest(settings: RunSettings) -> str:
    """Twelve hexadecimal digits that stand for everything that determines a run."""
    values = settings.model_dump(mode="json")
    for part, key, before in ADDED:
        if values[part] and values[part][key] == before:
            del values[part][key]
    tuner = values["model"]["tuner"]
    tuner["settings"] = tuner["settings"].get(tuner["method"], {})  # those of other methods are not used
    values["data"] = {**values["data"], "workers": 0}
    values["evaluation"] = {**values["evaluation"], "batch_size": 0, "showcase": 0}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _run_settings(
    base: dict[str, Any], changes: dict[str, Any], seed: int, grid: GridSettings, where: str
) -> RunSettings:
    data = copy.deepcopy(base)
    for key, value in changes.items():
        put(data, key, copy.deepcopy(value), where, grid.base)
    data["seed"] = seed
    settings = validate_settings(RunSettings, data, where)
    if grid.split not in settings.evaluation.samples:
        raise InputError(f"{where}: evaluation.samples names no split {grid.split!r}, which is to be scored.")
    tuner = settings.model.tuner
    try:
        tuner_config(tuner.method, **tuner.settings.get(tuner.method, {}))
        for task in settings.tasks:
            get_task(task)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return settings


def _combinations(choose: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*choose.values()):
        yield dict(zip(choose, values, strict=True))


def _tasks(variant: Variant) -> tuple[str, ...]:
    return variant.candidates[0][0].settings.tasks
