"""Draws figure A.7 of the journal paper for any data set, beside what is published of MMUD.

Lengths of captions, lengths of reasoning questions with their answers, objects of a sample. The colors are readable on
light and dark ground. Knows nothing of pages.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuraltuning.data.statistics import MMUD_CAPTION_LENGTHS, MMUD_OBJECTS, MMUD_PAIR_LENGTHS, Statistics
from neuraltuning.report.picture_style import STYLE, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWN, MMUD = "#0072b2", "#e69f00"
BARS = 24
"""Bars of a panel of lengths, about."""
LONGEST_SHARE = 0.99
"""Texts that are longer than this share of all are counted in a panel's last bar."""


def draw_distributions(found: Statistics, path: Path) -> bool:
    """Draws the panels that the data set has something for.

    Args:
        found: its statistics.
        path: file to be written, PNG or SVG by its ending.

    Returns:
        Whether there was anything to draw; nothing is written where not.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lengths = [
        ("Caption length", found.caption_lengths, MMUD_CAPTION_LENGTHS, "captions"),
        ("Reasoning question and answer, length", found.pair_lengths, MMUD_PAIR_LENGTHS, "pairs"),
    ]
    lengths = [panel for panel in lengths if panel[1]]
    with_objects = found.categories.total() > 0
    if not lengths and not with_objects:
        return False
    n_panels = len(lengths) + with_objects
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, n_panels, figsize=(3.7 * n_panels, 2.9), squeeze=False, layout="constrained")
        for axis, panel in zip(axes[0], lengths, strict=False):
            _draw_lengths(axis, *panel)
        if with_objects:
            _draw_objects(axes[0][-1], found)
        for axis in axes[0]:
            axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
            axis.grid(axis="y", color=TEXT, alpha=0.2)
            axis.set_axisbelow(True)
            axis.margins(y=0.3)  # room for the legend
            axis.set_yticks([share for share in axis.get_yticks() if share <= 1])
            axis.legend(frameon=False, fontsize=8)
        dated: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=150, transparent=True, metadata=dated)
        plt.close(figure)
    return True


def _draw_lengths(axis: Axes, title: str, counts: Counter[int], most: tuple[int, int], what: str) -> None:
    n_texts = counts.total()
    reached, upper = 0, 0
    for length in sorted(counts):
        reached += counts[length]
        upper = length
        if reached >= LONGEST_SHARE * n_texts:
            break
    width = max(1, round(max(upper, 1.15 * most[1]) / BARS))
    last = max(upper, round(1.15 * most[1])) // width
    bars: Counter[int] = Counter()
    for length, count in counts.items():
        bars[min(length // width, last)] += count
    axis.axvspan(*most, color=MMUD, alpha=0.22, linewidth=0, label=f"most of MMUD's: {most[0]} to {most[1]}")
    places = [place * width for place in range(last + 1)]
    shares = [bars[place] / n_texts for place in range(last + 1)]
    axis.bar(places, shares, 0.9 * width, align="edge", color=OWN, label=f"{n_texts:,} {what}")
    cut = max(counts) >= (last + 1) * width
    axis.set(title=title, xlabel="tokens (longer ones in the last bar)" if cut else "tokens", xlim=(0, None))


def _draw_objects(axis: Axes, found: Statistics) -> None:
    own = found.object_shares()
    published = sum(MMUD_OBJECTS.values())
    places = range(len(own))
    axis.bar(
        [place - 0.2 for place in places],
        [count / found.samples for count in own.values()],
        0.38,
        color=OWN,
        label=f"{found.samples:,} samples",
    )
    axis.bar(
        [place + 0.2 for place in places],
        [MMUD_OBJECTS.get(name, 0) / published for name in own],
        0.38,
        color=MMUD,
        label=f"MMUD's {published:,}",
    )
    axis.set_xticks(list(places), list(own))
    axis.set(title="Objects of a sample", xlabel="objects")
