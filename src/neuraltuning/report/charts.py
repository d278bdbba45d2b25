"""Charts as HTML and inline SVG that follow the page's light or dark colors and print as they look.

Bars compare one score with its baselines; curves show what training logged. Knows nothing of files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from neuraltuning.report.html import Html, element

WIDTH, HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 36
_MOST_POINTS = 240


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: what it stands for.
        share: its length, 0..1.
        value: the number as it is written beside it.
        interval: low and high end of the whisker, 0..1; None for none.
        style: "model", "other" (the same model, scored differently) or "baseline".
    """

    label: str
    share: float
    value: str
    interval: tuple[float, float] | None = None
    style: str = "baseline"


def bar_chart(bars: Sequence[Bar], name: str) -> Html:
    """Horizontal bars from 0 to 1, one a row, with whiskers."""
    rows = []
    for bar in bars:
        whisker = None
        if bar.interval is not None:
            low, high = (min(1.0, max(0.0, end)) for end in bar.interval)
            whisker = element("span", class_="whisker", style=f"left:{low:.2%};width:{high - low:.2%}")
        fill = element("span", class_=f"fill {bar.style}", style=f"width:{min(1.0, max(0.0, bar.share)):.2%}")
        track = element("span", fill, whisker, class_="track", aria_hidden="true")
        label, value = element("span", bar.label, class_="label"), element("span", bar.value, class_="value")
        rows.append(element("div", label, track, value, class_="bar", role="listitem"))
    return element("div", rows, class_="bars", role="list", aria_label=name)


@dataclass(frozen=True)
class Curve:
    """One quantity over training.

    Attributes:
        points: (step, value), steps rising.
        marks: (step, value) shown as dots: values on validation.
    """

    points: Sequence[tuple[float, float]]
    marks: Sequence[tuple[float, float]] = ()


def curve_chart(name: str, curve: Curve, stages: Sequence[tuple[str, float]]) -> Html:
    """A line over steps, smoothed where it is long, with its raw values behind it.

    Args:
        name: what is on the y axis.
        curve: the values; at least one point or mark.
        stages: name and first step of each training stage.
    """
    everything = [*curve.points, *curve.marks]
    xs, ys = [x for x, _ in everything], [y for _, y in everything]
    x_ticks = ticks(0.0, max(xs), 4)
    x_low, x_high = 0.0, max(xs)
    y_ticks = enclosing_ticks(min(ys), max(ys), 4)
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1.0)
        up = (y - y_low) / ((y_high - y_low) or 1.0)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)

    parts: list[Html] = []
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        parts.append(element("text", short(tick), x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))
    for tick in x_ticks:
        x, _ = place(tick, y_low)
        parts.append(element("text", short(tick), x=f"{x:.1f}", y=HEIGHT - _BOTTOM + 15, text_anchor="middle"))
    for stage, start in stages[1:]:
        x, _ = place(start, y_low)
        parts.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=_TOP, y2=HEIGHT - _BOTTOM, class_="stage"))
        parts.append(element("text", stage, x=f"{x + 4:.1f}", y=_TOP + 9, class_="stage-name"))
    parts.append(element("text", "step", x=(WIDTH + _LEFT - _RIGHT) / 2, y=HEIGHT - 4, text_anchor="middle"))

    ends = [start for _, start in stages[1:]] + [math.inf]
    begin = -math.inf
    for end in ends:  # each stage by itself: what it starts from isn't a trend of the stage before
        points = [point for point in curve.points if begin < point[0] <= end]
        begin = end
        smooth = smoothed(points)
        if smooth is not points:
            parts.append(_line([place(x, y) for x, y in thinned(points)], "raw"))
        if smooth:
            parts.append(_line([place(x, y) for x, y in thinned(smooth)], "line"))
    marks = [place(*mark) for mark in curve.marks]
    if len(marks) > 1:
        parts.append(_line(marks, "validation"))
    for x, y in marks:
        parts.append(element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.2, class_="mark"))
    svg = element("svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{name} over training steps")
    return element("figure", element("figcaption", name), svg, class_="curve")


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within low..high, about `count` of them; at least one."""
    step = _round_step(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)] or [low]


def enclosing_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from one at or below `low` to one at or above `high`; at least two."""
    step = _round_step(low, high, count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _round_step(low: float, high: float, count: int) -> float:
    raw = (high - low) / count or abs(high) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999)


def short(value: float) -> str:
    """A tick's label: "20k", "0.05", "1e-4"."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if value and abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.0e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:g}"


def smoothed(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Running mean over a twentieth of the points; short curves come back as they are."""
    half = len(points) // 40
    if half < 1:
        return points
    totals = [0.0]
    for _, y in points:
        totals.append(totals[-1] + y)
    result = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        result.append((x, (totals[i + reach + 1] - totals[i - reach]) / (2 * reach + 1)))
    return result


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 240 points, evenly chosen, the last one among them."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stride = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(i * stride)] for i in range(_MOST_POINTS)]


def _line(points: Sequence[tuple[float, float]], style: str) -> Html:
    if len(points) == 1:
        return element("circle", cx=f"{points[0][0]:.1f}", cy=f"{points[0][1]:.1f}", r=2, class_="dot")
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=style)
