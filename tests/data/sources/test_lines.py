"""One's own JSON lines: what they may say, and the sentence for what they may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuraltuning.data.sample import Expression, Phrase, QuestionAnswer
from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.lines import read_lines
from neuraltuning.errors import InputError
from tests.data.sources.published import SIZE, box_polygon, picture, runs


def line() -> dict[str, Any]:
    return {
        "image": "pictures/a.png",
        "objects": [
            {"category": "dog", "mask": [box_polygon(2, 3, 10, 12)], "phrases": ["the dog"]},
            {
                "category": "cup",
                "mask": runs(30, 5, 9, 9, True),
                "phrases": [{"text": "the red cup", "kind": "attribute"}],
            },
            {"category": "hat", "supercategory": "clothes", "mask": "masks/hat.png"},
        ],
        "expressions": [{"text": "what is dressed", "objects": [0, 2]}, {"text": "the cat", "objects": []}],
        "captions": ["A dog and a cup."],
        "reasoning": [{"question": "Which barks?", "answer": "The dog <OBJ>.", "objects": [0]}],
        "questions": [{"question": "How many dogs?", "answer": "1", "kind": "count"}],
        "license": "CC0-1.0",
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    picture(tmp_path / "pictures" / "a.png", 1)
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[20:30, 40:50] = 255
    mask[20, 40:50] = 120  # an edge that is softened
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "hat.png")
    return tmp_path


def entries(place: Path, *lines: Any) -> list[Any]:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    (place / "train.jsonl").write_text(text + "\n", encoding="utf-8")
    return read_lines(place, place)["train"].entries


def test_everything_that_a_line_may_say(place: Path) -> None:
    only_image = {"image": "pictures/a.png", "id": "mine"}
    first, second = (entry.read()[0] for entry in entries(place, line(), "", only_image))
    assert first.id == "train-000001"
    assert [(o.category, o.box) for o in first.objects] == [
        ("dog", (2.0, 3.0, 10.0, 12.0)),
        ("cup", (30.0, 5.0, 9.0, 9.0)),
        ("hat", (40.0, 21.0, 10.0, 9.0)),
    ]
    assert first.objects[0].phrases == (Phrase("the dog", ""),)
    assert first.objects[1].phrases == (Phrase("the red cup", "attribute"),)
    assert first.objects[2].supercategory == "clothes"
    assert first.reasoning == (QuestionAnswer("Which barks?", "The dog <OBJ>.", "", (0,)),)
    assert first.expressions == (Expression("what is dressed", (0, 2)), Expression("the cat", ()))
    assert first.questions == (QuestionAnswer("How many dogs?", "1", "count"),)
    assert (first.captions, first.license) == (("A dog and a cup.",), "CC0-1.0")
    assert (second.id, second.objects) == ("mine", ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imgae": "x"}, "imgae: extra inputs are not permitted"),
        ({"captions": "A dog."}, "captions: input should be a valid list"),
        ({"objects": [{"category": "dog"}]}, r"objects\.0\.mask: field required"),
        ({"objects": [{"category": "dog", "mask": []}]}, r"objects\.0: the segmentation is neither"),
        (
            {"objects": [{"category": "dog", "mask": "masks/none.png"}]},
            r"objects\.0: its mask .*none\.png can't be read",
        ),
        ({"objects": [{"category": "dog", "mask": "../hat.png"}]}, r"objects\.0: its mask .* lies outside of"),
        ({"objects": [{"category": "dog", "mask": "masks/small.png"}]}, r"small\.png has 4 rows and 4 columns"),
        ({"objects": [{"category": "dog", "mask": "masks/black.png"}]}, r"objects\.0: the mask is empty"),
        (
            {"reasoning": [{"question": "Which?", "answer": "The dog.", "objects": [0]}]},
            r"reasoning\.0: its answer has 0 <OBJ>, but objects names 1",
        ),
        (
            {"reasoning": [{"question": "Which?", "answer": "It <OBJ>.", "objects": [3]}]},
            r"reasoning\.0: it names object 3, and objects has 3, counted from 0",
        ),
        (
            {"expressions": [{"text": "both", "objects": [0, -1]}]},
            r"expressions\.0: it names object -1, and objects has 3, counted from 0",
        ),
        ({"image": "pictures/none.png"}, r"its image .*none\.png can't be read"),
        (
            {"objects": [{"category": "dog", "mask": [[10**400, 1, 2, 3, 4, 5]]}]},
            r"objects\.0: a polygon of the segmentation holds something else than finite numbers",
        ),
    ],
)
def test_what_a_line_may_not_say(place: Path, change: dict[str, Any], message: str) -> None:
    Image.new("L", (4, 4), 255).save(place / "masks" / "small.png")
    Image.new("L", SIZE[::-1]).save(place / "masks" / "black.png")
    (entry,) = entries(place, {**line(), **change})
    with pytest.raises(BadRecord, match=message):
        entry.read()


def test_lines_and_folders_that_are_none(place: Path) -> None:
    first, second = entries(place, "{", line())
    with pytest.raises(BadRecord, match="it is no JSON"):
        first.read()
    assert (first.name, second.name) == ("line 1", "line 2")
    (place / "train.jsonl").write_bytes(b'{"image": "a.jpg"}\n\n{"image": "caf\xe9.jpg"}\n')
    with pytest.raises(InputError, match=r"train\.jsonl, line 3, is no text in UTF-8 .*; save it in that encoding"):
        read_lines(place, place)
    (place / "train.jsonl").unlink()
    with pytest.raises(InputError, match="holds no JSON-lines file"):
        read_lines(place, place)
