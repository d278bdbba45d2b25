"""TextVQA's files: ten answers a question, blank ones, and the measure that is always normalised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.textvqa import read_textvqa
from neuraltuning.errors import InputError
from neuraltuning.reply import Reply
from neuraltuning.tasks import ScoringResources, get_task
from tests.data.sources.published import picture

TEN = ["nokia"] * 4 + ["Nokia"] * 3 + ["the nokia"] * 2 + ["phone"]


def question(number: int, image: str, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "question": f"what is the brand of phone {number}?",
        "image_id": image,
        "image_classes": ["Mobile phone"],
        "flickr_original_url": "https://example.org/a.jpg",
        "image_width": 60,
        "image_height": 40,
        "answers": TEN,
        "question_tokens": ["what", "is"],
        "question_id": number,
        "set_name": name,
        **fields,
    }


def textvqa(place: Path, **of_first: Any) -> None:
    """Three questions about two images of training, one of validation, one of the test split without answers."""
    for name, images, folder in (
        ("train", ["0054c91397f2fe05", "0054c91397f2fe05", "00685bc495504d61"], "train_images"),
        ("val", ["003a8ae2ef43b901"], "train_images"),
        ("test", ["004a5edd4f09be1d"], "test_images"),
    ):
        questions = [question(n, image, name) for n, image in enumerate(images)]
        if name == "test":
            questions[0]["answers"] = [""] * 10
        if name == "train":
            questions[0].update(of_first)
        value = {"dataset_type": name, "dataset_name": "textvqa", "dataset_version": "0.5.1", "data": questions}
        (place / f"TextVQA_0.5.1_{name}.json").write_text(json.dumps(value))
        for n, image in enumerate(images):
            picture(place / "images" / folder / f"{image}.jpg", n)


def test_questions_by_image_with_all_answers(tmp_path: Path) -> None:
    textvqa(tmp_path)
    splits = read_textvqa(tmp_path, tmp_path / "images")
    assert {name: split.counts for name, split in splits.items()} == {
        "train": {"images": 2, "questions": 3},
        "validation": {"images": 1, "questions": 1},
    }  # the test questions have no answers
    assert splits["train"].published == {"questions": 34_602}
    first, second = (entry.read()[0] for entry in splits["train"])
    assert (first.id, second.id) == ("textvqa-train-0054c91397f2fe05", "textvqa-train-00685bc495504d61")
    assert [q.question for q in first.questions] == [f"what is the brand of phone {n}?" for n in (0, 1)]
    assert (first.questions[0].answer, first.questions[0].annotated) == ("nokia", tuple(TEN))


def test_its_measure_is_the_one_that_always_normalises(tmp_path: Path) -> None:
    textvqa(tmp_path, answers=["Nokia"] * 10)
    sample = read_textvqa(tmp_path, tmp_path / "images")["train"].entries[0].read()[0]
    task = get_task("visual_question_answering")
    example = next(e for e in task.examples(sample, np.random.default_rng(0)) if set(e.references) == {"Nokia"})
    metric = task.metric(ScoringResources())
    metric.update(example, Reply("nokia"))
    scores = metric.compute()
    assert scores["accuracy_always_normalise"] == 1.0
    assert scores["accuracy"] == 0.0  # VQAv2's script compares raw text where all agree


def test_a_test_split_with_answers_is_one(tmp_path: Path) -> None:
    textvqa(tmp_path)
    path = tmp_path / "TextVQA_0.5.1_test.json"
    path.write_text(path.read_text().replace('""', '"nokia"'))
    (sample,) = (entry.read()[0] for entry in read_textvqa(tmp_path, tmp_path / "images")["test"])
    assert sample.questions[0].answer == "nokia"


def test_files_and_records_that_are_none(tmp_path: Path) -> None:
    textvqa(tmp_path, answers=[" "] * 10)
    with pytest.raises(BadRecord, match="question 0 has no answer"):
        read_textvqa(tmp_path, tmp_path / "images")["train"].entries[0].read()
    textvqa(tmp_path, image_id="../0054c91397f2fe05")
    with pytest.raises(BadRecord, match="can't be read"):
        read_textvqa(tmp_path, tmp_path / "images")["train"].entries[0].read()
    textvqa(tmp_path, question=None)
    with pytest.raises(InputError, match=r"train\.json, question 0, question: input should be a valid string"):
        read_textvqa(tmp_path, tmp_path / "images")
    path = tmp_path / "TextVQA_0.5.1_train.json"
    path.write_bytes('{"data": "café"}'.encode("cp1252"))
    with pytest.raises(InputError, match=r"train\.json is no text in UTF-8"):
        read_textvqa(tmp_path, tmp_path / "images")
    path.write_text("[]")
    with pytest.raises(InputError, match=r"train\.json is not a file of TextVQA"):
        read_textvqa(tmp_path, tmp_path / "images")
    for path in tmp_path.glob("TextVQA_0.5.1_[tv]*[nl].json"):
        path.unlink()
    with pytest.raises(InputError, match=r"holds no TextVQA_0\.5\.1_train\.json .* with answers"):
        read_textvqa(tmp_path, tmp_path / "images")
