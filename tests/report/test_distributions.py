from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from neuraltuning.data.statistics import Statistics
from neuraltuning.report.distributions import draw_distributions


@pytest.mark.parametrize(
    ("found", "panels"),
    [
        (Statistics(samples=2, caption_lengths=Counter({3: 1})), 1),
        (Statistics(samples=2, caption_lengths=Counter({3: 1}), pair_lengths=Counter({5000: 1, 7: 500})), 2),
        (
            Statistics(
                samples=3,
                objects=Counter({0: 1, 9: 2}),
                categories=Counter(dog=18),
                caption_lengths=Counter({0: 3}),
                pair_lengths=Counter({400: 3}),
            ),
            3,
        ),
    ],
)
def test_each_panel_is_drawn_that_there_is_something_for(found: Statistics, panels: int, tmp_path: Path) -> None:
    assert draw_distributions(found, tmp_path / "a.svg")
    tree = ET.parse(tmp_path / "a.svg")
    drawn = [g for g in tree.iter("{http://www.w3.org/2000/svg}g") if g.get("id", "").startswith("axes_")]
    assert len(drawn) == panels
    draw_distributions(found, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert draw_distributions(found, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").width > 300 * panels


def test_nothing_is_written_where_there_is_nothing(tmp_path: Path) -> None:
    assert not draw_distributions(Statistics(samples=4), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
