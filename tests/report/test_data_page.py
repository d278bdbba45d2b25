"""The page of a data set: self-contained, escaped, complete, and the same each time."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest

from neuraltuning.data.sample import Expression, QuestionAnswer, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.errors import InputError
from neuraltuning.report import data_page
from neuraltuning.report.data_page import write_data_page
from neuraltuning.report.gallery import colored_text
from tests.data.test_check import store
from tests.mmud.data import write_data
from tests.report.test_page import Page

HOSTILE = "<script>alert('x')</script> <img src=http://example.org/x onerror=alert(1)>"


def written(folder: Path, split: str = "train", limit: int = 4) -> tuple[str, Page]:
    html = write_data_page(str(folder), split, limit, folder.parent / "page.html").read_text(encoding="utf-8")
    return html, Page(html)


def two_objects() -> Sample:
    return next(sample for sample in SceneDataset("train", 50) if len(sample.objects) == 2)


def test_the_page_loads_nothing_and_text_stays_text(tmp_path: Path) -> None:
    sample = replace(
        two_objects(),
        captions=(HOSTILE,),
        questions=(QuestionAnswer(HOSTILE, HOSTILE, ""),),
        reasoning=(QuestionAnswer(HOSTILE, f"{HOSTILE} <OBJ> <OBJ-9>.", "", (1,)),),
        expressions=(Expression(HOSTILE, ()),),
        license=HOSTILE,
    )
    store(tmp_path / "data", {"train": [sample]})
    html, page = written(tmp_path / "data")
    assert "<script>" not in html
    assert page.words.count("<script>alert('x')</script>") >= 6
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert tag != "img" or attributes["alt"]


def test_objects_and_their_tags_have_their_masks_color(tmp_path: Path) -> None:
    sample = replace(
        two_objects(),
        reasoning=(QuestionAnswer("Which?", "The second <OBJ> and the first <OBJ>.", "", (1, 0)),),
        expressions=(Expression("both things", (0, 1)), Expression("the unicorn", ())),
    )
    store(tmp_path / "data", {"train": [sample]})
    html, page = written(tmp_path / "data")
    second, first = "--mask:#d55e00", "--mask:#0072b2"
    assert f'<span class="name" style="{second}">The second</span>' in html
    assert f'<span class="badge" style="{second}">2</span>' in html
    assert f'<span class="name" style="{first}">the first</span>' in html
    for item, color in zip(sample.objects, (first, second), strict=True):
        assert f'<span class="name" style="{color}">{item.category}</span>' in html
        assert item.phrases[0].text in page.words
    assert "both things : 1 2" in page.words
    assert "the unicorn : none" in page.words


def test_statistics_are_of_the_whole_split_and_samples_are_spread_over_it(tmp_path: Path) -> None:
    write_data(tmp_path / "data", train=31, test=2)
    html, page = written(tmp_path / "data")
    assert "Samples 31" in page.words
    assert re.findall(r"scenes-train-0000\d\d", page.words) == [
        f"scenes-train-0000{n}" for n in ("00", "10", "20", "30")
    ]
    (figure,) = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
    assert b"<svg" in base64.b64decode(figure)
    assert written(tmp_path / "data")[0] == html
    assert "Samples 2" in written(tmp_path / "data", split="test")[1].words


def test_long_lists_are_cut_and_said_to_be(tmp_path: Path) -> None:
    asked = tuple(QuestionAnswer(f"Question {n}?", str(n), "") for n in range(40))
    bare = replace(two_objects(), objects=(), reasoning=(), captions=(), questions=asked)
    store(tmp_path / "data", {"train": [bare]})
    html, page = written(tmp_path / "data")
    assert "Question 5?" in page.words and "Question 6?" not in page.words
    assert "and 34 more questions" in page.words
    assert "The 15 most frequent of 40" in page.words
    assert "svg+xml" not in html  # there is nothing of figure A.7


def test_scenes_are_shown_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_page, "COUNTED", 5)
    html = write_data_page("scenes", "validation", 2, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "500 samples. Counted are the first 5 samples." in Page(html).words


def test_empty_splits_and_missing_ones(tmp_path: Path) -> None:
    store(tmp_path / "data", {"train": []})
    assert "0 samples" in written(tmp_path / "data")[1].words
    with pytest.raises(InputError, match=r"no split 'test' in .*: its splits are train"):
        written(tmp_path / "data", split="test")


def test_tokens_without_an_object_go_on_counting() -> None:
    assert ">3<" in colored_text("The dog <OBJ>.", (), 3, (2,))
    assert 'class="badge none"' in colored_text("A <OBJ> b <OBJ>", (), 1)
