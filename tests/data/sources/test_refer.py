"""REFER's files: what becomes of refs, sentences, polygons and run lengths, and files that don't fit."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.sample import Sample
from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.refer import PUBLISHED, read_refer
from neuraltuning.errors import InputError
from tests.data.sources.published import SIZE, refer


@pytest.fixture
def place(tmp_path: Path) -> Path:
    refer(tmp_path / "refcoco", tmp_path / "train2014")
    return tmp_path


def read(place: Path, name: str = "refcoco", split_by: str | None = None) -> dict[str, list[Sample]]:
    splits = read_refer(name, place / "refcoco", place / "train2014", split_by)
    return {split: [entry.read()[0] for entry in entries] for split, entries in splits.items()}


def test_splits_images_refs_and_sentences(place: Path) -> None:
    splits = read_refer("refcoco", place / "refcoco", place / "train2014")
    counts = {name: split.counts for name, split in splits.items()}
    assert counts == {
        "train": {"images": 2, "refs": 4, "sentences": 6},
        "validation": {"images": 1, "refs": 1, "sentences": 2},
        "test_a": {"images": 1, "refs": 1, "sentences": 1},
    }
    assert splits["train"].published == {"refs": 42_404, "sentences": 120_624}
    samples = read(place)
    first, second = samples["train"]
    assert (first.id, first.source) == ("refcoco-unc-train-11", "refcoco")
    assert [p.text for p in first.objects[0].phrases] == ["left dog", "the dog of café 0"]
    assert [p.text for p in first.objects[1].phrases] == ["left dog"]
    assert {(o.category, o.supercategory) for o in (*first.objects, *second.objects)} == {("dog", "animal")}
    assert (first.image.height, first.image.width) == SIZE


def test_masks_are_the_union_of_polygons_or_the_runs(place: Path) -> None:
    samples = read(place)
    masks = [o.mask for sample in samples["train"] for o in sample.objects]
    expected = np.zeros((4, *SIZE), dtype=bool)
    expected[0, 5:25, 5:15] = expected[0, 10:18, 30:38] = True
    expected[1, 12:21, 20:32] = True
    expected[2, 2:32, 1:4] = True
    expected[3, 20:35, 40:55] = True
    for mask, wanted in zip(masks, expected, strict=True):
        assert np.array_equal(mask, wanted)
    assert samples["train"][0].objects[1].box == (20.0, 12.0, 12.0, 9.0)
    (cut,) = samples["validation"][0].objects  # a polygon that reaches beyond the image is cut off at its edge
    assert cut.box == (0.0, 30.0, 12.0, 10.0)


def test_another_division_into_splits_is_chosen_by_name(place: Path) -> None:
    refer(place / "refcoco", place / "train2014", "google")
    assert read(place, split_by="google")["train"][0].id == "refcoco-google-train-11"
    with pytest.raises(InputError, match=r"There is no .*refs\(umd\)\.p; there are refs\(google\)\.p, refs\(unc\)\.p"):
        read(place, "refcocog")


def test_the_published_counts_are_those_of_the_protocols() -> None:
    assert sum(refs for refs, _ in PUBLISHED["refcoco", "unc"].values()) == 50_000
    assert sum(sentences for _, sentences in PUBLISHED["refcoco", "unc"].values()) == 142_210
    assert sum(refs for refs, _ in PUBLISHED["refcocog", "umd"].values()) == 49_822
    assert PUBLISHED["refclef", "unc"] == {"validation": (9_970, 12_029)}


def test_more_refs_than_published_are_of_another_division(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As RefCOCOg's google file has under umd's name, whose splits are among umd's; fewer may be a part of the file."""
    counts = {name: (len(entries), 0) for name, entries in read(place).items()}
    monkeypatch.setitem(PUBLISHED, ("refcoco", "unc"), {name: (refs + 9, 0) for name, (refs, _) in counts.items()})
    read(place)
    monkeypatch.setitem(PUBLISHED, ("refcoco", "unc"), dict.fromkeys(counts, (0, 0)))
    with pytest.raises(InputError, match=r"refs\(unc\)\.p is of another division: its split \w+ has \d+ refs, where"):
        read(place)


def test_of_a_division_that_is_counted_in_part_every_split_is_read(place: Path) -> None:
    splits = read_refer("refclef", place / "refcoco", place / "train2014")
    published = {name: split.published for name, split in splits.items()}
    assert published == {"train": {}, "validation": {"refs": 9_970, "sentences": 12_029}, "test_a": {}}


def edit_refs(place: Path, edit: Callable[[list[Any]], Any]) -> None:
    path = place / "refcoco" / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    edit(refs)
    path.write_bytes(pickle.dumps(refs, 2))


def edit_instances(place: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = place / "refcoco" / "instances.json"
    instances = json.loads(path.read_text())
    edit(instances)
    path.write_text(json.dumps(instances))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda refs: refs[2].pop("ann_id"), r"refs\(unc\)\.p, ref 2, ann_id: field required"),
        (lambda refs: refs[1]["sentences"].append({"raw": "x"}), r"ref 1, sentences\.1\.sent: field required"),
        (lambda refs: refs[0].update(image_id="eleven"), "ref 0, image_id: "),
        (lambda refs: refs[0].update(ann_id=999), "don't belong together: ref 0 is about annotation 999 of image 11"),
        (lambda refs: refs[0].update(image_id=12), "don't belong together"),
        (lambda refs: refs[4].update(split="test"), r"refs\(unc\)\.p is of another division: ref 4 .* split 'test'"),
    ],
)
def test_refs_that_are_none_or_of_other_instances(place: Path, edit: Callable[[Any], Any], message: str) -> None:
    edit_refs(place, edit)
    with pytest.raises(InputError, match=message):
        read(place)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda i: i.pop("images"), r"instances\.json, the file, the whole of it: input should be a valid list"),
        (lambda i: i["images"][0].pop("height"), "image 0, height: field required"),
        (lambda i: i["categories"].clear(), "annotation 100 has no category 18"),
    ],
)
def test_instances_that_are_none(place: Path, edit: Callable[[Any], Any], message: str) -> None:
    edit_instances(place, edit)
    with pytest.raises(InputError, match=message):
        read(place)


def test_files_that_are_missing_or_damaged(place: Path) -> None:
    (place / "refcoco" / "instances.json").write_text("{")
    with pytest.raises(InputError, match=r"instances\.json is no JSON"):
        read(place)
    (place / "refcoco" / "instances.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"instances\.json is no JSON"):
        read(place)
    (place / "refcoco" / "instances.json").unlink()
    with pytest.raises(InputError, match=r"instances\.json can't be read: No such file"):
        read(place)
    (place / "refcoco" / "refs(unc).p").unlink()
    with pytest.raises(InputError, match="unpack REFER's archive there"):
        read(place)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda i: i["annotations"][0].update(segmentation=[]), "annotation 100: the segmentation is neither"),
        (lambda i: i["annotations"][0].update(segmentation=[[1, 2, 3]]), "annotation 100: a polygon .* three points"),
        (lambda i: i["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, None]]), "else than finite numbers"),
        (lambda i: i["annotations"][0].update(segmentation=[[900, 900, 901, 900, 901, 901]]), "the mask is empty"),
        (lambda i: i["annotations"][1]["segmentation"].update(size=[4, 4]), r"the mask's size is \[4, 4\]"),
        (lambda i: i["annotations"][1]["segmentation"].update(counts="oooooo0"), "annotation 101: the mask's"),
        (lambda i: i["annotations"][1]["segmentation"].update(counts=[1, 2]), "add up to 3 pixels instead of 2400"),
        (
            lambda i: i["images"][0].update(width=61),
            "has 40 rows and 60 columns, but its annotations are about 40 and 61",
        ),
        (lambda i: i["images"][0].update(file_name="none.jpg"), r"none\.jpg can't be read"),
        (lambda i: i["images"][0].update(file_name="a\0.jpg"), "its image .* is no file's name"),
        (lambda i: i["images"][0].update(file_name="../refcoco/instances.json"), "lies outside of"),
    ],
)
def test_a_bad_object_or_picture_spoils_its_image_alone(place: Path, edit: Callable[[Any], Any], message: str) -> None:
    edit_instances(place, edit)
    bad, good = read_refer("refcoco", place / "refcoco", place / "train2014")["train"].entries
    with pytest.raises(BadRecord, match=message):
        bad.read()
    assert bad.name == "image 11"
    assert good.read()
