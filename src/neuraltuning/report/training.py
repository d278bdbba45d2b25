"""The training curves of the report, from the records of training_log.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuraltuning.report.charts import Curve, curve_chart
from neuraltuning.report.html import Html, element
from neuraltuning.report.metric_names import metric_name, title
from neuraltuning.report.run_files import number

_NO_CURVES = frozenset(("stage", "step", "seconds", "epoch", "validation"))
_FIRST = ("loss", "learning_rate")


def training_section(log: Sequence[Mapping[str, Any]]) -> Html | None:
    """One small chart for every logged quantity, validation as dots; None without records."""
    curves, stages = read_curves(log)
    if not curves:
        return None
    order = sorted(curves, key=lambda key: (key not in _FIRST, not key.startswith("loss"), key))
    charts = [curve_chart(curve_title(key), curves[key], stages) for key in order]
    names = ", then ".join(title(stage).lower() for stage, _ in stages)
    note = (
        f"Stages: {names}. Faint lines are the logged values, strong ones their running mean over a twentieth of the "
        "steps, dots the scores on validation."
    )
    return element(
        "section", element("h2", "Training"), element("p", note, class_="note"), _grid(charts), id="training"
    )


def read_curves(log: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Curve], list[tuple[str, float]]]:
    """Curves by key, over steps that go on counting where a stage begins again, and each stage's first step."""
    points: dict[str, list[tuple[float, float]]] = {}
    marks: dict[str, list[tuple[float, float]]] = {}
    stages: list[tuple[str, float]] = []
    offset = last = 0.0
    for record in log:
        step = number(record.get("step"))
        if step is None:
            continue
        stage = str(record.get("stage", ""))
        if not stages or stages[-1][0] != stage:
            if stages and step + offset <= last:
                offset = last
            stages.append((stage, last if stages else 0.0))
        last = max(last, step + offset)
        for key, value in record.items():
            if key not in _NO_CURVES and (plotted := number(value)) is not None:
                _append(points.setdefault(key, []), step + offset, plotted)
        for key, value in _flat(record.get("validation")):
            # Validation names a loss as training does, but for the prefix.
            _append(marks.setdefault(f"loss/{key}" if f"loss/{key}" in points else key, []), step + offset, value)
    keys = dict.fromkeys([*points, *marks])
    return {key: Curve(points.get(key, ()), marks.get(key, ())) for key in keys}, stages


def curve_title(key: str) -> str:
    """A logged key in words: "loss/text/captioning" -> "Loss: text, captioning"."""
    first, *rest = key.split("/")
    if first != "loss" and rest:
        return f"{title(first)}: {', '.join(metric_name(part).label for part in rest)}"
    return title(first) + (f": {', '.join(part.replace('_', ' ') for part in rest)}" if rest else "")


def _append(points: list[tuple[float, float]], step: float, value: float) -> None:
    """Adds a point; those at or after its step are from before training was resumed, and go."""
    while points and points[-1][0] >= step:
        points.pop()
    points.append((step, value))


def _flat(value: Any, prefix: str = "") -> list[tuple[str, float]]:
    """("task/score", number) of nested validation scores, without their intervals and counts."""
    if isinstance(value, Mapping):
        return [
            pair
            for key, inner in value.items()
            if not str(key).endswith("_ci95") and key not in ("n", "by_kind", "missing")
            for pair in _flat(inner, f"{prefix}/{key}" if prefix else str(key))
        ]
    plotted = number(value)
    return [] if plotted is None else [(prefix, plotted)]


def _grid(charts: Sequence[Html]) -> Html:
    return element("div", charts, class_="curves")
