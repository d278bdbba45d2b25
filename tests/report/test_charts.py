"""Ticks, smoothing and thinning of curves, and bars that stay within their track."""

from __future__ import annotations

import re

import pytest

from neuraltuning.report.charts import (
    Bar,
    Curve,
    bar_chart,
    curve_chart,
    enclosing_ticks,
    short,
    smoothed,
    thinned,
    ticks,
)
from neuraltuning.report.gallery import colored_text
from neuraltuning.report.html import Html, element
from neuraltuning.report.run_files import Mask
from neuraltuning.report.training import curve_title, read_curves


def test_ticks_are_round() -> None:
    assert ticks(0, 750, 4) == [0, 200, 400, 600]
    assert ticks(5, 5, 4) == [5]
    assert enclosing_ticks(0.31, 0.53, 4) == [0.3, 0.4, 0.5, 0.6]
    assert enclosing_ticks(0.0, 0.0, 4)[0] == 0.0
    low, *_, high = enclosing_ticks(-3.7, 12.2, 4)
    assert low <= -3.7 and high >= 12.2
    assert [short(x) for x in (0, 0.05, 0.0001, 20_000, 1.5)] == ["0", "0.05", "1e-4", "20k", "1.5"]


def test_smoothing_keeps_ends_and_mean_and_leaves_short_curves_alone() -> None:
    line = [(float(x), 2.0 * x) for x in range(100)]
    assert [y for _, y in smoothed(line)] == pytest.approx([y for _, y in line])
    assert smoothed(line[:30]) is not None and smoothed(line[:30]) == line[:30]
    assert len(thinned([(float(x), 0.0) for x in range(10_000)])) == 240
    assert thinned([(float(x), 0.0) for x in range(10_000)])[-1][0] == 9999.0


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [3.0, 3.0, 3.0], [-1.0, 5.0], [1e-9, 2e-9]])
def test_curves_of_every_kind_stay_in_their_frame(values: list[float]) -> None:
    svg = curve_chart(
        "Loss", Curve([(float(i + 1), y) for i, y in enumerate(values)], [(1.0, values[0])]), [("a", 0.0)]
    )
    assert "nan" not in svg and "inf" not in svg
    for points in re.findall(r'points="([^"]*)"', svg):
        for pair in points.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 360 and 0 <= y <= 210


def test_bars_are_clipped_to_their_track() -> None:
    html = bar_chart([Bar("all", 1.4, "140 %", (-0.2, 1.7))], "x")
    assert "width:100.00%" in html and "left:0.00%;width:100.00%" in html


def test_a_stage_that_begins_again_goes_on_and_a_resumed_one_does_not_jump() -> None:
    log = [{"stage": "a", "step": 10, "loss": 1.0}, {"stage": "b", "step": 5, "loss": 0.5}, {"stage": "b", "step": 6}]
    curves, stages = read_curves([*log, {"stage": "b", "step": 7, "loss": float("nan")}, {"note": 1}])
    assert list(curves["loss"].points) == [(10.0, 1.0), (15.0, 0.5)]
    assert stages == [("a", 0.0), ("b", 10.0)]
    repeated = [{"stage": "a", "step": s, "loss": y} for s, y in ((1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5), (3, 1.5))]
    resumed, _ = read_curves([*repeated, {"stage": "a", "step": 3, "validation": {"loss": 1.2}}])
    assert list(resumed["loss"].points) == [(1.0, 3.0), (2.0, 2.5), (3.0, 1.5)] and resumed["loss"].marks == [
        (3.0, 1.2)
    ]
    prefixed, _ = read_curves([{"step": 1, "loss/mask": 1.0}, {"step": 1, "validation": {"mask": 0.5}}])
    assert prefixed["loss/mask"].marks == [(1.0, 0.5)]
    counting_on, _ = read_curves([{"stage": "a", "step": 10, "loss": 1.0}, {"stage": "b", "step": 11, "loss": 0.5}])
    assert list(counting_on["loss"].points) == [(10.0, 1.0), (11.0, 0.5)]
    assert curve_title("loss/text/captioning") == "Loss: text, captioning"
    assert curve_title("captioning/cider") == "Captioning: CIDEr-D"


@pytest.mark.parametrize(
    ("text", "phrase", "name"),
    [
        ("You need the umbrella <OBJ>.", "", "the umbrella"),
        ("It is the bigger of the two apples <OBJ>.", "", "the bigger of the two apples"),
        ("The pig <OBJ>", "", "The pig"),
        ("A horse, a red car <OBJ>", "", "a red car"),
        ("It takes a family to the shop and the van <OBJ>", "", "the van"),
        ("That is my old hat <OBJ>", "old hat", "old hat"),
        ("You need the umbrella <OBJ>", "You need the umbrella", "the umbrella"),
        ("It is the cat and the dog <OBJ>", "the cat and the dog", "the cat and the dog"),
        ("dogs <OBJ>", "", "dogs"),
        ("<OBJ>", "", ""),
        ("The cat <OBJ-3>", "", "The cat"),
    ],
)
def test_names_before_object_tokens_are_found(text: str, phrase: str, name: str) -> None:
    html = colored_text(text, [Mask({}, phrase)], count=1)
    found = re.findall(r'class="name"[^>]*>(.*?)</span>', html)
    assert found == ([name] if name else [])
    assert re.sub(r"<[^>]*>", "", html).replace(" ", "").endswith("1" + ("." if text.endswith(".") else ""))


def test_html_escapes_all_but_html() -> None:
    assert element("p", "a<b", Html("<i>x</i>"), ["&", None, 3], class_='a"b', hidden=True, title=None) == (
        '<p class="a&quot;b" hidden>a&lt;b<i>x</i>&amp;3</p>'
    )
