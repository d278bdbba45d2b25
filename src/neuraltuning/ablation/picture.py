"""One picture of all differences of a grid: a row a variant, a dot with its interval for each way of scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from neuraltuning.ablation.comparison import FORCED, FREE, VariantOutcome
from neuraltuning.files import atomic_path

STYLES = {FREE: ("#1f6feb", "o", "free replies", 0.12), FORCED: ("#d1730f", "s", "teacher-forced", -0.12)}


def draw_differences(studies: Mapping[str, Sequence[VariantOutcome]], path: Path) -> bool:
    """Draws them into a PNG; False, and no picture, where there is no difference to be shown."""
    from matplotlib.figure import Figure

    rows: list[tuple[str, VariantOutcome | None]] = []
    for name, outcomes in studies.items():
        compared = [outcome for outcome in outcomes if outcome.differences]
        if compared:
            rows.append((f"{name} (beside {outcomes[0].name})", None))
            rows += [(outcome.name, outcome) for outcome in compared]
    if not rows:
        return False
    figure = Figure(figsize=(8.0, 0.9 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, outcome) in enumerate(rows):
        for way, (color, marker, label, shift) in STYLES.items():
            found = None if outcome is None else outcome.differences.get(way)
            if found is None:
                continue
            axes.plot(100 * found.mean, place - shift, marker, color=color, markersize=5, label=label, zorder=3)
            if found.interval is not None:
                low, high = found.interval
                axes.hlines(place - shift, 100 * low, 100 * high, color=color, linewidth=1.6)
    axes.axvline(0, color="#666666", linewidth=1)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    for tick, (_, outcome) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if outcome is None else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("difference from the reference, points")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return True
