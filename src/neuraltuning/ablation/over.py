"""A grid from the command line: a run's configuration and `--over KEY=VALUES`.

    neuraltuning ablate configs/quickstart.yaml --over alpha=0.1:1.0:0.1 --over beta=0.2,0.4

Values are a list in YAML (`0.2,0.4` or `[qv, kv]`) or a range `first:last:step`, its end included. A key is a dotted
key of the configuration, or the short name of a setting of its tuner. Several keys give all their combinations.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

from neuraltuning.ablation.grid import GridSettings, StudySettings, VariantSettings
from neuraltuning.configuration import dotted_keys, load_settings, parse_value
from neuraltuning.errors import InputError
from neuraltuning.training.settings import RunSettings
from neuraltuning.tuners import METHODS

SHORT = {"tuner": "model.tuner.method", "steps": "tuning.steps"}
MOST_VALUES = 1000
_RANGE = re.compile(
    r"\s*(-?[\d.]+(?:e-?\d+)?)\s*:\s*(-?[\d.]+(?:e-?\d+)?)\s*:\s*(-?[\d.]+(?:e-?\d+)?)\s*", re.IGNORECASE
)


def grid_over(configuration: Path, over: Sequence[str], seeds: Sequence[int], task: str | None) -> GridSettings:
    """One study over all combinations of the given values; the first one is the reference.

    Args:
        configuration: YAML of a run.
        over: "key=values".
        seeds: of each variant.
        task: whose scores are compared; the first of the configuration's mixture by default.

    Raises:
        InputError: a key that doesn't exist, or values that are none.
    """
    settings = load_settings(RunSettings, configuration)
    axes: dict[str, list[Any]] = {}
    for given in over:
        name, separator, text = given.partition("=")
        if not separator or not name.strip():
            raise InputError(f"--over {given}: write a key, an equals sign and values: alpha=0.1:0.9:0.2.")
        axes[full_key(name.strip(), settings)] = values_of(text, f"--over {given}")
    variants = {}
    for chosen in product(*axes.values()):
        values = dict(zip(axes, chosen, strict=True))
        label = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in values.items())
        variants[label] = VariantSettings(set=values)
    if len(variants) < 2:
        raise InputError("--over gives a single variant, so there is nothing to compare; give at least two values.")
    names = ", ".join(key.rpartition(".")[2] for key in axes)
    study = StudySettings(
        question=f"What does {names} change?",
        task=task or settings.tasks[0],
        reference=next(iter(variants)),
        variants=variants,
    )
    split = next(iter(settings.evaluation.samples))
    return GridSettings(base=configuration.name, seeds=list(seeds), split=split, studies={names: study})


def full_key(name: str, settings: RunSettings) -> str:
    """The dotted key that a name means.

    Raises:
        InputError: there is none.
    """
    method = settings.model.tuner.method
    of_tuner = [f.name for f in fields(METHODS[method])] if method in METHODS else []
    known = list(dotted_keys(RunSettings))
    if name in SHORT:
        return SHORT[name]
    first = name.partition(".")[0]
    if name in known or (name.count(".") and any(key.startswith(first + ".") or key == first for key in known)):
        return (
            name  # below a key with free names, as tuning.learning_rates.tuner; what it holds is checked with the run
        )
    if name in of_tuner:
        return f"model.tuner.settings.{method}.{name}"
    close = difflib.get_close_matches(name, [*of_tuner, *known], n=1)
    hint = f"did you mean {close[0]}?" if close else "give a dotted key of the configuration or a setting of its tuner."
    raise InputError(f"--over {name}: neither the configuration nor its tuner {method} has such a key; {hint}")


def values_of(text: str, where: str) -> list[Any]:
    """The values that are written as a range or a list.

    Raises:
        InputError: they are none; the sentence begins with `where`.
    """
    if found := _RANGE.fullmatch(text):
        first, last, step = (Decimal(part) for part in found.groups())
        if step == 0 or (last - first) / step < 0 or (last - first) / step > MOST_VALUES:
            raise InputError(f"{where}: the range {text.strip()} has no values, or too many: write first:last:step.")
        count = int((last - first) / step) + 1
        whole = all(part == part.to_integral_value() for part in (first, step))
        return [int(first + k * step) if whole else float(first + k * step) for k in range(count)]
    values = parse_value(text if text.lstrip().startswith("[") else f"[{text}]", where)
    if not isinstance(values, list) or not values:
        raise InputError(f"{where}: no values; write a list (0.2,0.4) or a range first:last:step.")
    return values
