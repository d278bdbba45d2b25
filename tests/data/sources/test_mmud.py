"""MMUD's pickles: tags stay where they stand, and records that are none are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuraltuning.data.sample import QuestionAnswer
from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.mmud import FIELDS, question_answer, read_mmud
from neuraltuning.errors import InputError
from tests.data.sources.published import mmud, mmud_record


def test_a_record_becomes_a_sample(tmp_path: Path) -> None:
    mmud(tmp_path / "mmud", tmp_path / "images")
    splits = read_mmud(tmp_path / "mmud", tmp_path / "images")
    assert {name: split.counts for name, split in splits.items()} == {
        "train": {"images": 2},
        "validation": {"images": 1},
    }
    assert splits["train"].published == {"images": 33_682}
    first, second = (entry.read()[0] for entry in splits["train"])
    assert first.id == "mmud-train-000000"
    assert first.captions == ("A dog and a cup stand on a table.",)
    assert [(o.category, [p.text for p in o.phrases]) for o in first.objects] == [
        ("dog", ["the dog", "a brown dog"]),
        ("cup", ["the cup"]),
    ]
    assert [o.box for o in first.objects] == [o.box for o in second.objects]
    assert first.objects[1].box == (30.0, 5.0, 9.0, 9.0)
    assert first.reasoning == (
        QuestionAnswer(
            "What is drunk from?",
            "The cup <OBJ> is drunk from, and the dog <OBJ> waits for the cup <OBJ> .",
            "knowledge",
            (1, 0, 1),
        ),
    )


@pytest.mark.parametrize(
    ("text", "answer", "objects"),
    [
        ("##Question: Which? ##Answer: <SEP> The cup<LCL-1>.", "The cup <OBJ>.", (0,)),
        ("Which?<SEP>The cup <OBJ-1> and the cup <OBJ-2>.", "The cup <OBJ> and the cup <OBJ>.", (0, 1)),
        ("##question: Which? <SEP> ##answer: It <LCL-12>", "It <OBJ>", (11,)),
        ("Which? <SEP> None of them.", "None of them.", ()),
    ],
)
def test_texts_as_they_are_written(text: str, answer: str, objects: tuple[int, ...]) -> None:
    found = question_answer(text, 12)
    assert (found.question, found.answer, found.objects) == ("Which?", answer, objects)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Which? The cup.", "has 0 <SEP>"),
        ("Which? <SEP> The <SEP> cup.", "has 2 <SEP>"),
        ("##Question: ##Answer: <SEP> The cup.", "its question is empty"),
        ("Which? <SEP> ##Answer:", "its answer is empty"),
        ("Which <LCL-1>? <SEP> It.", "its question has a tag"),
        ("Which? <SEP> It <LCL-3>.", "points to object 3 of 2"),
        ("Which? <SEP> It <LCL-0>.", "points to object 0 of 2"),
    ],
)
def test_texts_that_are_none(text: str, message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        question_answer(text, 2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image path", 5, "its field 'image path' holds int"),
        ("height", True, "its field 'height' holds bool"),
        ("image path", "..\\..\\secret.jpg", "lies outside of"),
        ("category names", ["dog"], "2 descriptions, 2 masks and 1 categories"),
        ("category names", ["dog", 3], "the category of object 2 is no text"),
        ("object descriptions", [["the dog"], [7]], "the descriptions of object 2 are no texts"),
        ("masks", [[[1, 2, 9, 4, 5, 12]], "none"], "object 2: the segmentation is neither"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, field: str, value: Any, message: str) -> None:
    record = list(mmud_record(0))
    record[FIELDS.index(field)] = value
    mmud(tmp_path / "mmud", tmp_path / "images", [tuple(record)])
    (entry,) = read_mmud(tmp_path / "mmud", tmp_path / "images")["train"]
    with pytest.raises(BadRecord, match=message):
        entry.read()


def test_files_that_are_none(tmp_path: Path) -> None:
    mmud(tmp_path / "mmud", tmp_path / "images", [mmud_record(0), ("too", "short")])
    with pytest.raises(InputError, match=r"mmud_train\.pkl, record 1: not the 12 fields"):
        read_mmud(tmp_path / "mmud", tmp_path / "images")
    mmud(tmp_path / "mmud", tmp_path / "images")
    (tmp_path / "mmud" / "mmud_train.pkl").rename(tmp_path / "mmud" / "mmud_7.pkl")
    with pytest.raises(InputError, match="its name doesn't end in a split's"):
        read_mmud(tmp_path / "mmud", tmp_path / "images")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pickle"):
        read_mmud(tmp_path / "empty", tmp_path / "images")
