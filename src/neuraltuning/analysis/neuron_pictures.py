"""Draws what `neurons.py` found: the neurons of each task, what tasks share, and how many neurons are shared by layer.

Knows frequencies and the contents of neurons.json, nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuraltuning.analysis.overlap import Floats
from neuraltuning.report.picture_style import STYLE, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2
"""Panels beside each other."""
KINDS = {
    "shared": ("active for every task", "#0072b2"),
    "several": ("for several", "#56b4e9"),
    "specific": ("for one task alone", "#d55e00"),
    "rare": ("below the threshold for all", "#c8ccd0"),
    "never": ("never used", "#5d6670"),
}
"""Kind of neurons in neurons.json -> what it is called, and its color."""


def draw_neurons(frequencies: Floats, tasks: Sequence[str], layers: Sequence[int], path: Path) -> None:
    """One panel a task: layers by neurons, colored by how often each is active (the papers' figure 2b).

    Args:
        frequencies: (K, L, d_z).
        tasks: K names.
        layers: L numbers of layers.
        path: PNG file to be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_rows = -(-len(tasks) // COLUMNS)
    size = (4.6 * COLUMNS + 0.8, 0.6 + n_rows * (0.7 + 0.055 * len(layers)))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(n_rows, COLUMNS, figsize=size, squeeze=False, layout="constrained")
        for axis, task, shares in zip(axes.flat, tasks, frequencies, strict=False):
            drawn = axis.imshow(shares, aspect="auto", interpolation="nearest", cmap="magma", vmin=0, vmax=1)
            axis.set_title(task.replace("_", " "), fontsize=10)
            axis.set_xlabel("neuron (entry of Za)")
            axis.set_ylabel("decoder layer")
            places = range(0, len(layers), max(1, len(layers) // 6))
            axis.set_yticks(list(places), [str(layers[place]) for place in places])
        for axis in axes.flat[len(tasks) :]:
            axis.axis("off")
        figure.colorbar(drawn, ax=axes, shrink=0.6, label="share of the reply's tokens at which it is active")
        figure.savefig(path, dpi=130, transparent=True)
        plt.close(figure)


def draw_overlap(found: Mapping[str, Any], path: Path) -> None:
    """Two measures of what each pair of tasks shares, after tuning and before; `found` is what neurons.json holds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tasks = list(found["tasks"])
    panels = [
        (f"Jaccard index of active neurons (frequency \u2265 {found['threshold']:g})", "jaccard"),
        ("Jaccard index, before tuning", "jaccard_before_tuning"),
        ("rank correlation of frequencies", "rank_correlation"),
        ("rank correlation, before tuning", "rank_correlation_before_tuning"),
    ]
    side = 1.6 + 0.62 * len(tasks)
    with plt.rc_context(STYLE):
        roomy = ConstrainedLayoutEngine(wspace=0.05)
        figure, axes = plt.subplots(2, 2, figsize=(2 * side + 1.0, 2 * side - 0.4), layout=roomy)
        for axis, (title, key) in zip(axes.flat, panels, strict=True):
            _draw_matrix(axis, tasks, found["pairs"], key)
            axis.set_title(title, fontsize=9)
        figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.5, label="1: the same neurons, equally often")
        figure.savefig(path, dpi=130, transparent=True)
        plt.close(figure)


def draw_layers(found: Mapping[str, Any], path: Path) -> None:
    """How many neurons of each layer are shared, specific and never used; `found` is what neurons.json holds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    layers = found["layers"]
    below = np.zeros(len(layers))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9.2, 3.2), layout="constrained")
        for kind, (label, color) in KINDS.items():
            counts = np.array(found["neurons_by_layer"][kind], dtype=np.float64)
            axis.bar(range(len(layers)), counts, 0.85, bottom=below, color=color, label=label)
            below += counts
        axis.set_xticks(range(len(layers)), [str(layer) for layer in layers], fontsize=8)
        axis.set(xlabel="decoder layer", ylabel="neurons", xlim=(-0.6, len(layers) - 0.4))
        axis.legend(frameon=False, fontsize=8, ncols=len(KINDS), loc="lower center", bbox_to_anchor=(0.5, 1.0))
        figure.savefig(path, dpi=130, transparent=True)
        plt.close(figure)


def _draw_matrix(axis: Axes, tasks: Sequence[str], pairs: Sequence[Mapping[str, Any]], key: str) -> None:
    """A symmetric matrix of tasks with the values of `key` written in; related pairs stand in bold."""
    values = np.full((len(tasks), len(tasks)), np.nan)
    for pair in pairs:
        first, second = (tasks.index(task) for task in pair["tasks"])
        value = np.nan if pair[key] is None else pair[key]
        values[first, second] = values[second, first] = value
        for x, y in ((first, second), (second, first)):
            color = "black" if value > 0.6 else "white"
            weight = "bold" if pair["related"] else "normal"
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8, fontweight=weight)
    axis.imshow(values, cmap="viridis", vmin=0, vmax=1)
    names = [task.replace("_", "\n", 1).replace("_", " ") for task in tasks]
    axis.set_xticks(range(len(tasks)), names, fontsize=7, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(tasks)), names, fontsize=7)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_edgecolor(TEXT)
