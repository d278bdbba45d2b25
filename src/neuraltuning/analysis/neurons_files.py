"""What `neuraltuning analyse neurons` leaves in a folder: neurons.json, a table of frequencies, three pictures.

Knows rates and the contents of neurons.json, nothing of models.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuraltuning.analysis.neuron_pictures import draw_layers, draw_neurons, draw_overlap
from neuraltuning.analysis.overlap import Rates
from neuraltuning.analysis.results import NEURONS
from neuraltuning.files import atomic_files, write_json

TABLE = "neurons.csv"
SIGNIFICANT = 0.05
PICTURES = ("neurons.png", "neurons-overlap.png", "neurons-layers.png")


def write_neurons(folder: Path, found: Mapping[str, Any], rates: Rates) -> Path:
    """Writes everything into `folder` and returns the path of neurons.json.

    neurons.csv has a row a neuron: layer, neuron, and its frequency for each task.

    Raises:
        RunError: the folder can't be written.
    """
    frequencies = rates.frequencies()
    with atomic_files(folder, last=NEURONS.path) as temporary:
        draw_neurons(frequencies, rates.tasks, rates.layers, temporary / PICTURES[0])
        draw_overlap(found, temporary / PICTURES[1])
        draw_layers(found, temporary / PICTURES[2])
        with (temporary / TABLE).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["layer", "neuron", *rates.tasks])
            for place, layer in enumerate(rates.layers):
                for neuron in range(frequencies.shape[2]):
                    table.writerow([layer, neuron, *(f"{share:.4f}" for share in frequencies[:, place, neuron])])
        write_json(temporary / NEURONS.path, found)
    return folder / NEURONS.path


def summary(found: Mapping[str, Any]) -> list[str]:
    """The result in lines for the terminal."""
    n_all = sum(found["neurons"].values())
    kinds = {
        "shared": "active for every task",
        "several": "for several",
        "specific": "for one alone",
        "rare": "below the threshold for all",
        "never": "never used",
    }
    counts = ", ".join(f"{found['neurons'][kind]:,} {text}" for kind, text in kinds.items())
    lines = [f"Of {n_all:,} neurons at a threshold of {found['threshold']:g}: {counts}."]
    for pair in sorted(found["pairs"], key=lambda pair: -(pair["jaccard"] or 0.0)):
        lines.append(
            f"{_named(pair['tasks'])}: Jaccard {_number(pair['jaccard'])} (by chance "
            f"{_number(pair['jaccard_by_chance'])}, before tuning {_number(pair['jaccard_before_tuning'])}), rank "
            f"correlation {_number(pair['rank_correlation'])}"
        )
    lines += [verdict(test) for test in found["tests"]]
    return lines


def verdict(test: Mapping[str, Any]) -> str:
    """What the test of one related pair came to, in a sentence."""
    one = test["jaccard"]
    if one["p"] is None:
        return f"{_named(test['related'])}: no image has examples of all tasks, so nothing was tested."
    holds = "" if one["p"] <= SIGNIFICANT else "not shown: "
    n = min(comparison["n"] for comparison in one["comparisons"])
    return (
        f"{holds}{_named(test['related'])} share more neurons with each other than with any other task: p "
        f"{one['p']:.2g} for the Jaccard index, {test['rank_correlation']['p']:.2g} for the rank correlation ({n} "
        f"images); rank {one['rank']} of {one['pairs']} pairs."
    )


def _named(tasks: list[str]) -> str:
    return " and ".join(task.replace("_", " ") for task in tasks)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
