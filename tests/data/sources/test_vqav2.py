"""VQAv2's files: questions by image with all their answers, and files that don't belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.sources.vqav2 import read_vqav2
from neuraltuning.errors import InputError
from neuraltuning.reply import Reply
from neuraltuning.tasks import ScoringResources, get_task
from tests.data.sources.published import picture

TEN = ["red"] * 3 + ["dark red"] * 2 + ["maroon"] * 5


def vqav2(place: Path, **of_first_annotation: Any) -> None:
    """Three questions about two images of train2014, one about one of val2014."""
    for coco, images in (("train2014", [7, 7, 9]), ("val2014", [8])):
        questions = [
            {"image_id": image, "question": f"What color is {n}?", "question_id": 100 * image + n}
            for n, image in enumerate(images)
        ]
        annotations: list[dict[str, Any]] = [
            {
                "question_type": "what color",
                "multiple_choice_answer": "maroon",
                "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(TEN)],
                "image_id": q["image_id"],
                "answer_type": "other",
                "question_id": q["question_id"],
            }
            for q in questions
        ]
        if coco == "train2014":
            annotations[0].update(of_first_annotation)
        (place / f"v2_OpenEnded_mscoco_{coco}_questions.json").write_text(json.dumps({"questions": questions}))
        (place / f"v2_mscoco_{coco}_annotations.json").write_text(json.dumps({"annotations": annotations[::-1]}))
        for image in set(images):
            picture(place / "images" / coco / f"COCO_{coco}_{image:012d}.jpg", image)


def test_questions_by_image_with_all_answers(tmp_path: Path) -> None:
    vqav2(tmp_path)
    splits = read_vqav2(tmp_path, tmp_path / "images")
    assert {name: split.counts for name, split in splits.items()} == {
        "train": {"images": 2, "questions": 3},
        "validation": {"images": 1, "questions": 1},
    }
    assert splits["validation"].published == {"questions": 214_354}
    first, second = (entry.read()[0] for entry in splits["train"])
    assert (first.id, second.id) == ("vqav2-train-7", "vqav2-train-9")
    assert [q.question for q in first.questions] == ["What color is 0?", "What color is 1?"]
    question = first.questions[0]
    assert (question.answer, question.kind, question.annotated) == ("maroon", "other", tuple(TEN))


def test_a_reply_is_scored_by_the_consensus(tmp_path: Path) -> None:
    vqav2(tmp_path)
    sample = read_vqav2(tmp_path, tmp_path / "images")["validation"].entries[0].read()[0]
    task = get_task("visual_question_answering")
    (example,) = task.examples(sample, np.random.default_rng(0))
    assert example.reply == "maroon"
    for reply, accuracy in (("maroon", 1.0), ("Red", 0.9), ("dark red", 0.6), ("blue", 0.0)):
        metric = task.metric(ScoringResources())
        metric.update(example, Reply(reply))
        assert metric.compute()["accuracy"] == pytest.approx(accuracy), reply


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    vqav2(tmp_path, image_id=5)
    with pytest.raises(InputError, match="don't belong together: question 700 about image 7 has no annotation"):
        read_vqav2(tmp_path, tmp_path / "images")
    vqav2(tmp_path, answers=[{}])
    with pytest.raises(InputError, match=r"annotation \d, answers\.0\.answer: field required"):
        read_vqav2(tmp_path, tmp_path / "images")
    (tmp_path / "v2_mscoco_train2014_annotations.json").unlink()
    with pytest.raises(InputError, match=r"annotations\.json can't be read"):
        read_vqav2(tmp_path, tmp_path / "images")
    with pytest.raises(InputError, match="holds no v2_OpenEnded"):
        read_vqav2(tmp_path / "images", tmp_path / "images")
