"""ReasonSeg's files: shapes over each other, questions by their kind, pixels that count nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.reasonseg import read_reasonseg
from neuraltuning.errors import InputError
from neuraltuning.reply import Reply
from neuraltuning.tasks import ScoringResources, get_task
from tests.data.sources.published import SIZE, picture


def corners(x: int, y: int, width: int, height: int) -> list[list[float]]:
    return [[x, y], [x + width - 1, y], [x + width - 1, y + height - 1], [x, y + height - 1]]


def annotation(**fields: Any) -> dict[str, Any]:
    return {
        "text": ["the thing that barks", "the pet"],
        "is_sentence": False,
        "shapes": [
            {"label": "ignore small", "points": corners(12, 12, 4, 4), "image_name": "a.jpg"},
            {"label": "target", "points": corners(10, 10, 20, 10)},
            {"label": "Flag", "points": [[1, 1]]},
            {"label": "Ignore", "points": corners(0, 0, 40, 30)},
        ],
        **fields,
    }


def reasonseg(place: Path, split: str = "train", data: bytes | None = None, **fields: Any) -> Any:
    """The one entry of a split."""
    picture(place / split / "a.jpg", 1)
    (place / split / "a.json").write_bytes(data or json.dumps(annotation(**fields)).encode())
    (entry,) = read_reasonseg(place, place)["validation" if split == "val" else split]
    return entry


def test_the_largest_shape_is_drawn_first(tmp_path: Path) -> None:
    sample, _ = reasonseg(tmp_path).read()
    target = np.zeros(SIZE, dtype=bool)
    target[10:20, 10:30] = True
    ignored = np.zeros(SIZE, dtype=bool)
    ignored[:30, :40] = True
    ignored &= ~target
    target[12:16, 12:16] = False
    ignored[12:16, 12:16] = True
    assert np.array_equal(sample.objects[0].mask, target)
    assert np.array_equal(sample.ignored, ignored)


@pytest.mark.parametrize(
    ("split", "is_sentence", "questions"),
    [
        ("train", False, ["What is the thing that barks in this image?", "What is the pet in this image?"]),
        ("train", True, ["the thing that barks", "the pet"]),
        ("val", False, ["What is the thing that barks in this image?"]),
    ],
)
def test_questions(tmp_path: Path, split: str, is_sentence: bool, questions: list[str]) -> None:
    sample, _ = reasonseg(tmp_path, split, is_sentence=is_sentence).read()
    assert [q.question for q in sample.reasoning] == questions
    assert {(q.answer, q.objects) for q in sample.reasoning} == {("It is <OBJ>.", (0,))}


def test_ignored_pixels_count_nowhere(tmp_path: Path) -> None:
    sample, _ = reasonseg(tmp_path).read()
    task = get_task("reasoning_segmentation")
    example = task.examples(sample, np.random.default_rng(0))[0]

    def score(mask: Any) -> float:
        metric = task.metric(ScoringResources())
        metric.update(example, Reply("", masks=mask[None], scores=np.ones(1, dtype=np.float32)))
        return float(metric.compute()["oiou"])

    target = sample.objects[0].mask
    assert score(target | sample.ignored) == 1.0
    outside = target.copy()
    outside[35:, 50:] = True
    assert score(outside) < 1.0


def test_nothing_to_find(tmp_path: Path) -> None:
    sample, _ = reasonseg(tmp_path, shapes=[]).read()
    assert (sample.objects, sample.ignored) == ((), None)
    assert {(q.answer, q.objects) for q in sample.reasoning} == {("There is none.", ())}


def test_files_of_windows(tmp_path: Path) -> None:
    text = json.dumps(annotation(text=["the café\u2019s sign"]), ensure_ascii=False)
    sample, _ = reasonseg(tmp_path, data=text.encode("cp1252")).read()
    assert sample.reasoning[0].question == "What is the café\u2019s sign in this image?"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": []}, "it has no text"),
        ({"shapes": [{"label": "target", "points": [[1, 1], [2, 2]]}]}, "'target' has 2 points"),
        ({"shapes": [{"points": [[1, 1]]}]}, r"shapes\.0\.label: field required"),
        (
            {"shapes": [{"label": "target", "points": [[1, float("nan")], [2, 2], [3, 3]]}]},
            r"shapes\.0\.points\.0\.1: input should be a finite number",
        ),
    ],
)
def test_bad_files(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        reasonseg(tmp_path, **fields).read()


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="it is no JSON"):
        reasonseg(tmp_path, data=b"{").read()
    (tmp_path / "train" / "a.json").unlink()
    with pytest.raises(InputError, match="train holds no JSON file"):
        read_reasonseg(tmp_path, tmp_path)
    with pytest.raises(InputError, match="none of ReasonSeg's folders"):
        read_reasonseg(tmp_path / "train", tmp_path)


def test_masking_everything_masks_nothing_where_nothing_is_annotated(tmp_path: Path) -> None:
    sample, _ = reasonseg(tmp_path, shapes=[]).read()
    task = get_task("reasoning_segmentation")
    (example, _) = task.examples(sample, np.random.default_rng(0))
    assert task.constant_replies(example)["all_objects"].masks.shape == (0, *SIZE)
