"""LLaVA's conversations: turns as questions, records without an image, and turns that aren't taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.data.convert import convert
from neuraltuning.data.sample import QuestionAnswer
from neuraltuning.data.source import open_split
from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.llava import read_llava
from neuraltuning.errors import InputError
from tests.data.sources.published import picture


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def record(**fields: Any) -> dict[str, Any]:
    conversation = turns("<image>\nWhat color is the bus?", "White and red.", "Is it moving?\n<image>", "No.")
    return {"id": "000000033471", "image": "coco/train2017/a.jpg", "conversations": conversation, **fields}


def llava(place: Path, *records: Any) -> Any:
    picture(place / "images" / "coco" / "train2017" / "a.jpg", 1)
    (place / "train.json").write_text(json.dumps(records))
    return read_llava(place, place / "images")["train"]


def test_turns_are_questions(tmp_path: Path) -> None:
    split = llava(tmp_path, record(), record(id=7, conversations=turns("Hi <image>", "A bus.")))
    assert split.counts == {"records": 2, "questions": 3}
    assert [entry.name for entry in split] == ["record 0 (000000033471)", "record 1 (7)"]
    first, second = (entry.read()[0] for entry in split)
    assert first.id == "llava-train-000000"
    assert first.questions == (
        QuestionAnswer("What color is the bus?", "White and red.", ""),
        QuestionAnswer("Is it moving?", "No.", ""),
    )
    assert second.questions == (QuestionAnswer("Hi", "A bus.", ""),)


def test_records_without_an_image_are_left_out_by_name(tmp_path: Path) -> None:
    text_only = {key: value for key, value in record(id="sharegpt-1").items() if key != "image"}
    llava(tmp_path, record(), text_only, record())
    with pytest.raises(InputError, match=r"record 1 \(sharegpt-1\) of train\.json: it has no image\. Mend them"):
        convert("llava", tmp_path, tmp_path / "images", tmp_path / "out")
    manifest = convert("llava", tmp_path, tmp_path / "images", tmp_path / "out", max_left_out=0.5)
    assert manifest["splits"]["train"]["left_out"] == [{"record": "record 1 (sharegpt-1)", "reason": "it has no image"}]
    # two records of one image may have one id in the published files
    assert [s.id for s in open_split(str(tmp_path / "out"), "train", 0)] == ["llava-train-000000", "llava-train-000002"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": ["a.jpg", "b.jpg"]}, "it has 2 images"),
        ({"image": None}, "it has no image"),
        ({"image": "../../secret.jpg"}, "lies outside of"),
        ({"conversations": []}, "it has 0 turns"),
        ({"conversations": turns("A?", "A.", "B?")}, "it has 3 turns instead of an answer to each question"),
        ({"conversations": turns("A?", "A.")[::-1]}, r"conversations\.0: it is from 'gpt' instead of 'human'"),
        ({"conversations": turns("A?", "A.", "<image>", "B.")}, r"conversations\.2: it is empty"),
        ({"conversations": turns("A?", "The <OBJ>.")}, "an answer holds <OBJ>"),
    ],
)
def test_records_that_are_no_questions(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    bad, good = llava(tmp_path, record(**fields), record())
    with pytest.raises(BadRecord, match=message):
        bad.read()
    assert good.read()


def test_files_that_are_no_conversations(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.json, record 0, conversations: field required"):
        llava(tmp_path, {"image": "a.jpg"})
    with pytest.raises(InputError, match=r"record 0, conversations\.0\.from: field required"):
        llava(tmp_path, record(conversations=[{"role": "user", "value": "A?"}]))
    (tmp_path / "train.json").write_text('[{"id": "1", "conv')
    with pytest.raises(InputError, match=r"train\.json is no JSON"):
        read_llava(tmp_path, tmp_path)
    (tmp_path / "train.json").unlink()
    with pytest.raises(InputError, match="holds no JSON file of conversations"):
        read_llava(tmp_path, tmp_path)
