"""gRefCOCO's files: sentences of one object, of several and of none, and what is asked and scored of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.check import check
from neuraltuning.data.convert import convert, summary
from neuraltuning.data.sample import Expression, Sample
from neuraltuning.data.source import open_split
from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.grefcoco import read_grefcoco
from neuraltuning.errors import InputError
from neuraltuning.reply import Reply
from neuraltuning.tasks import Example, ScoringResources, get_task
from tests.data.sources.published import SIZE, box_polygon, picture, runs


def ref(number: int, meant: Any, *sentences: str, image: int = 21, split: str = "train") -> dict[str, Any]:
    return {
        "image_id": image,
        "split": split,
        "sentences": [
            {"tokens": s.split(), "raw": s, "sent": s, "sent_id": 10 * number + n, "exist": meant != [-1]}
            for n, s in enumerate(sentences)
        ],
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",
        "category_id": [-1] if meant == [-1] else [1],
        "ann_id": meant,
        "sent_ids": [10 * number + n for n in range(len(sentences))],
        "ref_id": number,
    }


REFS = [
    ref(0, [203, 201], "everyone in red", "both people"),
    ref(1, [-1], "the zebra"),
    ref(2, [202], "the middle one"),
    ref(3, 202, "person by the tree"),
    ref(4, [201, 202, 203], "all people", image=21),
    ref(5, [301], "the dog", image=31, split="val"),
    ref(6, [], "the cat", image=31, split="val"),
]


def grefcoco(place: Path, refs: list[Any] | None = None) -> None:
    """An image with three people, from right to left in the file, and one with a dog."""
    shapes = {201: (50, 5, 8, 20), 202: (25, 5, 8, 20), 203: (2, 5, 8, 20), 301: (10, 10, 9, 9)}
    annotations = [
        {
            "id": number,
            "image_id": 31 if number == 301 else 21,
            "category_id": 18 if number == 301 else 1,
            "segmentation": [box_polygon(*shape)],
            "iscrowd": 0,
            "area": 1.0,
            "bbox": list(shape),
        }
        for number, shape in shapes.items()
    ]
    crowd = {"id": 204, "image_id": 21, "category_id": 1, "segmentation": runs(0, 30, 60, 5, False), "iscrowd": 1}
    images = [
        {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in (21, 31)
    ]
    categories = [
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 18, "name": "dog", "supercategory": "animal"},
    ]
    instances = {"images": images, "annotations": [*annotations, crowd], "categories": categories}
    (place / "grefcoco").mkdir(exist_ok=True)
    (place / "grefcoco" / "instances.json").write_text(json.dumps(instances))
    (place / "grefcoco" / "grefs(unc).json").write_text(json.dumps(REFS if refs is None else refs))
    for i in (21, 31):
        picture(place / "train2014" / f"COCO_train2014_{i:012d}.jpg", i)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    grefcoco(tmp_path)
    return tmp_path


def read(place: Path) -> dict[str, list[Sample]]:
    splits = read_grefcoco(place / "grefcoco", place / "train2014")
    return {name: [entry.read()[0] for entry in split] for name, split in splits.items()}


def examples(sample: Sample) -> dict[str, Example]:
    """Prompt -> example."""
    found = get_task("referring_segmentation").examples(sample, np.random.default_rng(0))
    assert len({e.id for e in found}) == len(found)
    return {e.prompt: e for e in found}


def one_with(text: str, sample: Sample) -> Example:
    (example,) = [e for prompt, e in examples(sample).items() if text in prompt]
    return example


def test_sentences_of_one_of_several_and_of_none(place: Path) -> None:
    samples = read(place)
    (people,), (dog,) = samples["train"], samples["validation"]
    assert people.id == "grefcoco-train-21"
    assert [o.box[0] for o in people.objects] == [2.0, 25.0, 50.0]  # from left to right
    assert [[p.text for p in o.phrases] for o in people.objects] == [[], ["the middle one", "person by the tree"], []]
    assert people.expressions == (
        Expression("everyone in red", (0, 2)),
        Expression("both people", (0, 2)),
        Expression("the zebra", ()),
        Expression("all people", (0, 1, 2)),
    )
    assert [p.text for p in dog.objects[0].phrases] == ["the dog"]
    assert dog.expressions == (Expression("the cat", ()),)


def test_counts(place: Path) -> None:
    splits = read_grefcoco(place / "grefcoco", place / "train2014")
    assert splits["train"].counts == {
        "images": 1,
        "refs": 5,
        "sentences": 6,
        "sentences of several objects": 3,
        "of none": 1,
    }
    manifest = convert("grefcoco", place / "grefcoco", place / "train2014", place / "out")
    assert "5 refs, 6 sentences, 3 sentences of several objects, 1 of none, 0 left out" in summary(manifest)[0]


def test_what_is_asked_and_replied_comes_through_the_store(place: Path) -> None:
    convert("grefcoco", place / "grefcoco", place / "train2014", place / "out")
    (people,) = open_split(str(place / "out"), "train", 0)
    assert len(examples(people)) == 6
    several = one_with("everyone in red", people)
    assert several.reply == "Everyone in red: person <OBJ> and person <OBJ>."
    assert [np.flatnonzero(mask.any(axis=0))[0] for mask in several.targets["<OBJ>"]] == [2, 50]
    assert several.kind == "several"
    nothing = one_with("the zebra", people)
    assert (nothing.reply, nothing.targets, nothing.kind) == ("There is none.", {"<OBJ>": []}, "none")
    assert one_with("the middle one", people).reply == "The middle one <OBJ>."
    assert check(place / "out").problems == []  # objects that expressions mean are of use


def test_it_is_scored_as_gres_is(place: Path) -> None:
    """gIoU and cIoU compare the united masks; an empty target wants an empty reply."""
    (people,) = read(place)["train"]
    task = get_task("referring_segmentation")
    metric = task.metric(ScoringResources())
    several, zebra = one_with("everyone in red", people), one_with("the zebra", people)
    left, middle, right = (o.mask for o in people.objects)

    def answer(example: Example, *masks: Any) -> None:
        stacked = np.stack(masks) if masks else np.zeros((0, *SIZE), dtype=bool)
        metric.update(example, Reply("", masks=stacked, scores=np.ones(len(masks), dtype=np.float32)))

    answer(several, left | right)  # one mask for both, as GRES's models give
    answer(several, right, left)  # in another order
    answer(several)
    answer(zebra)
    answer(zebra, middle)
    scores = metric.compute()
    assert scores["giou"] == (1 + 1 + 0 + 1 + 0) / 5
    area = int(left.sum())
    assert scores["united_oiou"] == pytest.approx((2 + 2) * area / ((2 + 2 + 2 + 0 + 1) * area))
    assert (scores["n_acc"], scores["t_acc"]) == (1 / 2, 2 / 3)
    assert scores["by_kind"]["none"]["n_acc"] == 1 / 2
    (reply,) = task.constant_replies(zebra).values()
    assert np.array_equal(reply.masks, (left | middle | right)[None])  # masking all finds something where nothing is


def test_a_pickle_of_the_same(place: Path) -> None:
    as_json = read(place)
    (place / "grefcoco" / "grefs(unc).json").unlink()
    (place / "grefcoco" / "grefs(unc).p").write_bytes(pickle.dumps(REFS, 2))
    assert [s.expressions for s in read(place)["train"]] == [s.expressions for s in as_json["train"]]
    (place / "grefcoco" / "grefs(unc).p").unlink()
    with pytest.raises(InputError, match=r"grefs\(unc\)\.json can't be read"):
        read(place)


def test_crowds_are_left_out_of_what_is_meant(place: Path) -> None:
    grefcoco(place, [ref(0, [201, 204], "the right ones"), ref(1, [201, 204, 203], "all of them")])
    (sample,) = read(place)["train"]
    assert sample.expressions == (Expression("all of them", (0, 1)),)
    assert [p.text for p in sample.objects[1].phrases] == ["the right ones"]
    grefcoco(place, [ref(7, [204], "the crowd")])
    with pytest.raises(BadRecord, match="ref 7 means crowds alone"):
        read(place)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda refs: refs[0].update(ann_id=[201, 999]), "don't belong together: ref 0 is about annotation 999 of im"),
        (lambda refs: refs[0].update(ann_id=[-1, 201]), "ref 0 is about annotation -1 of image 21"),
        (lambda refs: refs[5].update(ann_id=[201]), "ref 5 is about annotation 201 of image 31"),
        (lambda refs: refs[1].update(image_id=99), "don't belong together: ref 1 is about image 99"),
        (
            lambda refs: refs[0].update(split="test"),
            r"ref 0: gRefCOCO has no split 'test' \(train, val, testA",
        ),
        (lambda refs: refs[0].pop("ann_id"), r"grefs\(unc\)\.json, ref 0, ann_id: field required"),
    ],
)
def test_refs_of_other_instances_or_splits(place: Path, edit: Callable[[Any], Any], message: str) -> None:
    refs = json.loads(json.dumps(REFS))
    edit(refs)
    grefcoco(place, refs)
    with pytest.raises(InputError, match=message):
        read(place)
