"""Which items are kept for the report, and what is written of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuraltuning.data.records import encode_mask
from neuraltuning.evaluation.evaluator import Answered
from neuraltuning.evaluation.showcase import mentions_in, write_showcase
from neuraltuning.reply import Reply
from neuraltuning.report.run_files import read_run
from neuraltuning.tasks import Example, ScoringResources, Task, get_task
from tests.tiny_models import sample


class Verdicts:
    """Scores an item by what its prompt says."""

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        return {"good": float(example.prompt.startswith("good"))}

    def merge(self, other: Any) -> None:
        raise NotImplementedError

    def compute(self) -> dict[str, Any]:
        raise NotImplementedError


class Judged(Task):
    name = "judged"
    success = ("good", 1.0)

    def examples(self, sample: Any, rng: Any, *, held_out_wordings: bool = False) -> list[Example]:
        raise NotImplementedError

    def metric(self, resources: ScoringResources) -> Any:
        return Verdicts()


def judged(verdicts: str) -> Answered:
    """Items that are good (+) or bad (-)."""
    prompts = [f"{'good' if v == '+' else 'bad'} {place}" for place, v in enumerate(verdicts)]
    examples = [Example("judged", str(i), sample().image, prompt, "yes") for i, prompt in enumerate(prompts)]
    return Answered(Judged(), examples, [Reply("no") for _ in examples])


def records(folder: Path, split: str = "test", task: str = "judged") -> list[dict[str, Any]]:
    paths = sorted((folder / "showcase" / split / task).glob("*.json"), key=lambda p: int(p.stem))
    return [json.loads(p.read_text()) for p in paths]


@pytest.mark.parametrize(
    ("verdicts", "count", "chosen"),
    [
        ("+-+-+-+-", 4, [0, 2, 1, 3]),
        ("++++++++", 4, [0, 1, 2, 3]),
        ("--------", 4, [0, 1, 2, 3]),
        ("+-------", 4, [0, 1, 2, 3]),
        ("-+++++++", 4, [1, 2, 3, 0]),
        ("+-", 8, [0, 1]),
        ("+-+-", 1, [0]),
        ("-", 1, [0]),
        ("+-+-", 0, []),
    ],
)
def test_the_first_successes_and_failures_are_shown(
    tmp_path: Path, verdicts: str, count: int, chosen: list[int]
) -> None:
    write_showcase(tmp_path, "test", judged(verdicts), ScoringResources(), count)
    found = records(tmp_path)
    assert [int(r["id"]) for r in found] == chosen
    assert [r["verdict"] for r in found] == ["success" if verdicts[i] == "+" else "failure" for i in chosen]


def test_an_earlier_showcase_of_the_task_is_replaced_and_others_stay(tmp_path: Path) -> None:
    write_showcase(tmp_path, "test", judged("++++"), ScoringResources(), 4)
    write_showcase(tmp_path, "validation", judged("+"), ScoringResources(), 4)
    write_showcase(tmp_path, "test", judged("-"), ScoringResources(), 4)
    assert len(records(tmp_path)) == len(records(tmp_path, "validation")) == 1
    assert {p.name for p in (tmp_path / "showcase" / "test" / "judged").iterdir()} == {"0.json", "0.png"}


def test_masks_pictures_and_scores_reach_the_report(tmp_path: Path) -> None:
    from pycocotools import mask as coco

    shown = sample()
    masks = np.stack([o.mask for o in shown.objects])
    segmentation = Example(
        "referring_segmentation",
        "a",
        shown.image,
        "Segment them.",
        "The red square <OBJ> and the blue square <OBJ>.",
        {"<OBJ>": list(masks)},
        kind="several",
        sample=shown,
    )
    reply = Reply("The red square <OBJ>, the cat <OBJ> and the blue square <OBJ>.", masks[[0, 0, 1]], np.ones(3, "f"))
    task = get_task("referring_segmentation")
    write_showcase(tmp_path, "test", Answered(task, [segmentation], [reply]), ScoringResources(), 2)
    [record] = records(tmp_path, task="referring_segmentation")
    assert [m["phrase"] for m in record["masks"]] == ["The red square", "the cat", "the blue square"]
    np.testing.assert_array_equal(coco.decode(record["masks"][2]["rle"]).astype(bool), masks[1])
    assert len(record["target_masks"]) == 2
    with Image.open(tmp_path / "showcase" / "test" / "referring_segmentation" / "0.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(shown.image))

    (tmp_path / "metrics.json").write_text(json.dumps({"splits": {"test": {"referring_segmentation": {"oiou": 0.5}}}}))
    [item] = read_run(tmp_path).showcase["test"]["referring_segmentation"]
    assert item.prompt == "Segment them."
    assert item.kind == "several"
    assert len(item.masks) == 3
    assert item.scores["iou"] < 1.0
    assert item.success == (item.scores["iou"] >= 0.5)


def test_drawn_pictures_stand_beside_their_targets(tmp_path: Path) -> None:
    from neuraltuning.evaluation.metrics.image_features import FeatureExtractor

    def extract(images: Any) -> tuple[Any, None]:
        return np.stack([np.asarray(i.convert("RGB").resize((4, 4)), dtype=float).ravel() for i in images]), None

    task = get_task("text_to_image")
    examples = [e for i in range(17) for e in task.examples(sample(i), np.random.default_rng(0))]
    replies = [Reply("Here <GEN>.", images=(e.targets["<GEN>"][0],)) for e in examples[:-1]] + [Reply("No.")]
    resources = ScoringResources(FeatureExtractor("pixels", extract))
    write_showcase(tmp_path, "test", Answered(task, examples, replies), resources, 17)
    found = records(tmp_path, task="text_to_image")
    folder = tmp_path / "showcase" / "test" / "text_to_image"
    by_id = {r["id"]: r for r in found}
    assert by_id["squares-16/text_to_image/0"]["verdict"] == "failure"
    assert "generated" not in by_id["squares-16/text_to_image/0"]
    assert all((folder / r["target_image"]).is_file() for r in found)
    drawn = [r for r in found if "generated" in r]
    assert len(drawn) == 16
    assert all((folder / name).is_file() for r in drawn for name in r["generated"])
    assert all("among_16" in r["scores"] for r in found)
    assert sum(r["verdict"] == "success" for r in found) > 8


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("The left dog <OBJ>.", ["The left dog"]),
        ("The cat <OBJ>, the dog <OBJ> and the owl <OBJ>.", ["The cat", "the dog", "the owl"]),
        ("Well. It is the cat <OBJ> that purrs.", ["It is the cat"]),
        ("<OBJ><OBJ>", ["", ""]),
        ("Nothing.", []),
    ],
)
def test_a_mask_is_called_by_the_words_before_it(text: str, mentions: list[str]) -> None:
    assert mentions_in(text) == mentions


def test_masks_are_written_as_coco_writes_them() -> None:
    from pycocotools import mask as coco

    mask = sample().objects[1].mask
    encoded = encode_mask(mask)
    assert encoded["size"] == [40, 48]
    assert isinstance(encoded["counts"], str)
    np.testing.assert_array_equal(coco.decode(encoded).astype(bool), mask)
    json.dumps(encoded)
