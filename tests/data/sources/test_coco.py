"""Files in COCO's format: objects and captions by image, crowds, class names as phrases, and files that don't fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.data.sample import Phrase
from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.coco import read_coco
from neuraltuning.errors import InputError
from tests.data.sources.published import SIZE, box_polygon, picture, runs


def instances() -> dict[str, Any]:
    """Two dogs and a cup; a person beside a crowd of persons; an image without objects."""
    shapes: list[tuple[int, int, Any]] = [
        (9, 18, [box_polygon(2, 2, 9, 9)]),
        (9, 18, [box_polygon(20, 2, 9, 9), box_polygon(30, 2, 4, 4)]),
        (9, 47, runs(40, 20, 9, 9, compressed=True)),
        (25, 1, [box_polygon(2, 2, 9, 9)]),
        (25, 1, runs(0, 20, 60, 20, compressed=False)),
    ]
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 4, "name": "Attribution License", "url": "https://example.org"}],
        "images": [
            {"id": i, "file_name": f"{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1], "license": 4}
            for i in (9, 25, 30)
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "segmentation": shape, "iscrowd": int(n == 4)}
            for n, (image, category, shape) in enumerate(shapes)
        ],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person"},
            {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 47, "name": "cup"},
        ],
    }


def captions() -> dict[str, Any]:
    return {
        "images": instances()["images"],
        "annotations": [
            {"id": n, "image_id": image, "caption": text}
            for n, (image, text) in enumerate(((9, "Two  dogs.\n"), (9, "A cup."), (30, "A wall.")))
        ],
    }


def coco(place: Path, edit: Callable[[dict[str, Any], dict[str, Any]], Any] = lambda *files: None) -> Path:
    (place / "annotations").mkdir(parents=True, exist_ok=True)
    own, texts = instances(), captions()
    edit(own, texts)
    (place / "annotations" / "instances_train2017.json").write_text(json.dumps(own))
    (place / "annotations" / "captions_train2017.json").write_text(json.dumps(texts))
    (place / "annotations" / "person_keypoints_train2017.json").write_text("{}")
    for i in (9, 25, 30):
        picture(place / "train2017" / f"{i:012d}.jpg", i)
    return place


def test_objects_and_captions_by_image(tmp_path: Path) -> None:
    (split,) = read_coco(coco(tmp_path), tmp_path).values()
    assert split.counts == {"images": 3, "objects": 4, "crowds": 1, "captions": 3}
    dogs, people, wall = (entry.read()[0] for entry in split)
    assert (dogs.id, dogs.license) == ("coco-train-9", "Attribution License")
    assert dogs.captions == ("Two dogs.", "A cup.")
    assert [(o.category, o.supercategory) for o in dogs.objects] == [("dog", "animal")] * 2 + [("cup", "")]
    assert [o.phrases for o in dogs.objects] == [(), (), (Phrase("the cup", "class"),)]
    assert dogs.objects[1].mask.sum() == 9 * 9 + 4 * 4
    assert dogs.objects[2].box == (40.0, 20.0, 9.0, 9.0)
    (person,) = people.objects  # the crowd is no object, but the person isn't the only one
    assert (person.box, person.phrases) == ((2.0, 2.0, 9.0, 9.0), ())
    assert (wall.objects, wall.captions) == ((), ("A wall.",))


def test_one_kind_of_file_alone_and_pictures_at_the_top(tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    (split,) = read_coco(tmp_path / "annotations", tmp_path / "train2017").values()
    assert split.counts["captions"] == 3
    assert split.entries[0].read()[0].captions
    coco(tmp_path)
    (tmp_path / "annotations" / "captions_train2017.json").rename(tmp_path / "annotations" / "captions_val.json")
    splits = read_coco(tmp_path, tmp_path / "train2017")
    assert list(splits) == ["validation", "train"]
    assert splits["train"].entries[0].read()[0].captions == ()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda i, c: i["annotations"][3].update(image_id=99),
            "annotation 3 is about image 99, which the file d",
        ),
        (lambda i, c: c["annotations"][2].update(image_id=99), "captions.*annotation 2 is about image 99"),
        (lambda i, c: i["annotations"][0].update(category_id=5), "annotation 0 has no category 5"),
        (lambda i, c: i["annotations"][0].pop("segmentation"), "annotation 0, segmentation: field required"),
        (lambda i, c: i["images"][1].pop("file_name"), "image 1, file_name: field required"),
        (lambda i, c: c.pop("annotations"), "captions_train2017.json, the file, the whole of it"),
        (lambda i, c: i.update(licenses=[{"id": 1}]), "license 0, name: field required"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, edit: Callable[[Any, Any], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_coco(coco(tmp_path, edit), tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda i, c: i["images"][0].update(license=[{}], file_name="a\0.jpg"), "is no file's name"),
        (lambda i, c: i["annotations"][0].update(segmentation=[]), "annotation 0: the segmentation is neither"),
        (
            lambda i, c: i["images"][0].update(width=61),
            "60 columns, but its annotations are about 40 and 61",
        ),
        (lambda i, c: i["images"][0].update(file_name="../../x.jpg"), "lies outside of"),
        (lambda i, c: i["images"][0].update(file_name="none.jpg"), r"train2017/none\.jpg can't be read"),
        (lambda i, c: i["images"][0].update(file_name="a" * 300 + ".jpg"), r"a\.jpg can't be read: File name too long"),
    ],
)
def test_a_bad_object_or_picture_spoils_its_image_alone(
    tmp_path: Path, edit: Callable[[Any, Any], Any], message: str
) -> None:
    (split,) = read_coco(coco(tmp_path, edit), tmp_path).values()
    with pytest.raises(BadRecord, match=message):
        split.entries[0].read()
    assert split.entries[1].read()


def test_no_files_and_too_many(tmp_path: Path) -> None:
    coco(tmp_path)
    with pytest.raises(InputError, match=r"holds no instances_\*\.json and no captions_\*\.json"):
        read_coco(tmp_path / "train2017", tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.with_name("instances_train2014.json").write_text(path.read_text())
    with pytest.raises(InputError, match="files of the split train of two years"):
        read_coco(tmp_path, tmp_path)
    path.with_name("instances_train2014.json").unlink()
    path.write_text(path.read_text()[:-40])
    with pytest.raises(InputError, match=r"instances_train2017\.json is no JSON"):
        read_coco(tmp_path, tmp_path)
    path.write_text("[]")
    with pytest.raises(InputError, match=r"instances_train2017\.json is not in COCO's format"):
        read_coco(tmp_path, tmp_path)
