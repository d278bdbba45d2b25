"""How matplotlib draws the project's pictures: in colors that are readable on light and on dark ground."""

from __future__ import annotations

from typing import Any

TEXT = "#77808a"

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.hashsalt": "the same file each time",
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), TEXT),
}
"""For `matplotlib.pyplot.rc_context`."""
