"""UPMC Food-101's files: titles and labels, and the development samples that are drawn by a rule."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from neuraltuning.data.sample import QuestionAnswer
from neuraltuning.data.sources import food101
from neuraltuning.data.sources.base import BadRecord, Split
from neuraltuning.data.sources.food101 import read_food101
from neuraltuning.errors import InputError
from tests.data.sources.published import picture


def write_titles(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Forty pages of training in two classes, one to test."""
    rows = [
        [f"{label}_{n}.jpg", f'The best "{label}", ever\n', label]
        for label in ("apple_pie", "crème_brûlée")
        for n in range(20)
    ]
    write_titles(tmp_path / "texts" / "train_titles.csv", rows)
    write_titles(tmp_path / "texts" / "test_titles.csv", [["sushi_1.jpg", "", "sushi"]])
    for file, _, label in rows:
        picture(tmp_path / "images" / "train" / label / file, 0, (4, 4))
    picture(tmp_path / "images" / "test" / "sushi" / "sushi_1.jpg", 0, (4, 4))
    return tmp_path


def names(split: Split) -> list[str]:
    return [entry.name for entry in split]


def test_a_page_is_a_question_with_its_title(place: Path) -> None:
    splits = read_food101(place, place)
    assert {name: split.counts for name, split in splits.items()} == {
        "train": {"pages": 36},
        "validation": {"pages": 4},
        "test": {"pages": 1},
    }
    sample, _ = splits["train"].entries[0].read()
    assert sample.questions == (
        QuestionAnswer('Which dish does this page show? Its title is: The best "apple_pie", ever', "apple pie", ""),
    )
    assert sample.id.startswith("food-101-train-apple_pie-apple_pie_")
    untitled, _ = splits["test"].entries[0].read()
    assert untitled.questions == (QuestionAnswer("Which dish does this page show?", "sushi", ""),)


def test_development_samples_are_drawn_by_seed_label_and_file_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_food101(place, place)
    assert sorted(names(first["train"]) + names(first["validation"])) == sorted(
        f"{label}_{n}.jpg" for label in ("apple_pie", "crème_brûlée") for n in range(20)
    )
    path = place / "texts" / "train_titles.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    write_titles(path, rows[::-1])
    assert sorted(names(read_food101(place, place)["validation"])) == sorted(names(first["validation"]))
    monkeypatch.setattr(food101, "DEVELOPMENT", 3)
    assert set(names(read_food101(place, place)["validation"])) < set(names(first["validation"]))
    monkeypatch.setattr(food101, "SEED", 1)
    assert not set(names(read_food101(place, place)["validation"])) <= set(names(first["validation"]))


def test_titles_beside_the_pictures_folder(place: Path) -> None:
    for path in (place / "texts").iterdir():
        path.rename(place / path.name)
    assert set(read_food101(place, place)) == {"train", "validation", "test"}


def test_files_and_pictures_that_are_none(place: Path) -> None:
    (place / "images" / "test" / "sushi" / "sushi_1.jpg").unlink()
    with pytest.raises(BadRecord, match=r"sushi_1\.jpg can't be read"):
        read_food101(place, place)["test"].entries[0].read()
    path = place / "texts" / "test_titles.csv"
    for rows, message in (
        ([["a.jpg", "A", "sushi"], ["b.jpg", "B"]], "record 2: 2 fields instead of file, title and label"),
        ([["a.jpg", "A", ""]], "record 1: an empty file name or label"),
    ):
        write_titles(path, rows)
        with pytest.raises(InputError, match=message):
            read_food101(place, place)
    path.write_bytes("a.jpg,A,sushi\nb.jpg,crème,sushi\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"test_titles\.csv, record 2, is no UTF-8 text of three columns"):
        read_food101(place, place)
    for path in (place / "texts").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"holds neither texts/train_titles\.csv nor"):
        read_food101(place, place)
