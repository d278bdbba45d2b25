"""Converting published files: a store that trains, counts and a digest, bad records by name, all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuraltuning.data.convert import FORMATS, MANIFEST, convert, summary
from neuraltuning.data.source import open_split
from neuraltuning.errors import InputError
from neuraltuning.tasks import get_task
from neuraltuning.training.mixture import Mixture
from tests.data.sources.published import mmud, mmud_record, picture, refer
from tests.data.sources.test_refer import edit_instances


@pytest.fixture
def place(tmp_path: Path) -> Path:
    refer(tmp_path / "refcoco", tmp_path / "train2014")
    mmud(tmp_path / "mmud", tmp_path / "images")
    return tmp_path


def test_a_converted_data_set_is_trained_on(place: Path) -> None:
    convert("refcoco", place / "refcoco", place / "train2014", place / "out")
    train = open_split(str(place / "out"), "train", 0)
    assert [s.id for s in train] == ["refcoco-unc-train-11", "refcoco-unc-train-12"]
    asked = [example for i in range(4) for example in Mixture(train, {"referring_segmentation": 2}, 0, 4)[i]]
    assert asked
    assert all("left dog" in e.prompt or "the dog of café" in e.prompt for e in asked)
    every = get_task("referring_segmentation").examples(train[0], np.random.default_rng(0))
    assert sorted(e.reply for e in every) == ["Left dog <OBJ>."] * 2 + ["The dog of café 0 <OBJ>."]
    assert all(mask.any() for e in asked for mask in e.targets["<OBJ>"])

    convert("mmud", place / "mmud", place / "images", place / "mmud-out")
    (example,) = Mixture(open_split(str(place / "mmud-out"), "validation", 0), {"reasoning_segmentation": 1}, 0, 1)[0]
    assert example.prompt == "What is drunk from?"
    assert len(example.targets["<OBJ>"]) == 3
    assert example.targets["<OBJ>"][0] is example.targets["<OBJ>"][2]


def test_counts_and_a_digest_are_written_and_said(place: Path) -> None:
    manifest = convert("refcoco", place / "refcoco", place / "train2014", place / "out")
    assert json.loads((place / "out" / MANIFEST).read_text()) == manifest
    assert (manifest["format"], manifest["split_by"]) == ("refcoco", "unc")
    lines = summary(manifest)
    assert lines[-2].startswith("train: 2 images, 4 refs (published: 42,404), 6 sentences (published: 120,624), 0 left")
    manifest["splits"]["train"]["published"]["refs"] = 4
    assert "4 refs (as published)" in summary(manifest)[-2]


def test_the_digest_is_of_the_content(place: Path) -> None:
    def digests() -> list[str]:
        manifest = convert("refcoco", place / "refcoco", place / "train2014", place / "out")
        return [split["sha256"] for split in manifest["splits"].values()]

    before = digests()
    assert digests() == before
    picture(place / "train2014" / "COCO_train2014_000000000013.jpg", 99)
    assert [a == b for a, b in zip(digests(), before, strict=True)] == [True, True, False]


def test_bad_records_are_left_out_by_name_up_to_a_share(place: Path) -> None:
    edit_instances(place, lambda i: i["annotations"][0].update(segmentation=[]))
    message = r"More than 1\.0% of the split train can't be used.*image 11 of refs\(unc\)\.p: annotation 100"
    with pytest.raises(InputError, match=message):
        convert("refcoco", place / "refcoco", place / "train2014", place / "out")
    assert not (place / "out").exists()
    manifest = convert("refcoco", place / "refcoco", place / "train2014", place / "out", max_left_out=0.5)
    train = manifest["splits"]["train"]
    assert train["written"] == 1
    assert train["left_out"] == [
        {"record": "image 11", "reason": "annotation 100: the segmentation is neither polygons nor run lengths"}
    ]
    assert [s.id for s in open_split(str(place / "out"), "train", 0)] == ["refcoco-unc-train-12"]


def test_an_id_that_stands_twice_is_left_out(place: Path) -> None:
    picture(place / "images" / "a.png", 0)
    (place / "lines").mkdir()
    (place / "lines" / "train.jsonl").write_text('{"image": "a.png", "id": "one"}\n' * 2)
    with pytest.raises(InputError, match=r"line 2 of train\.jsonl: its id 'one' stands twice"):
        convert("jsonl", place / "lines", place / "images", place / "out")


def test_half_a_character_spoils_its_record_alone(place: Path) -> None:
    picture(place / "images" / "a.png", 0)
    (place / "lines").mkdir()
    (place / "lines" / "train.jsonl").write_text(
        '{"image": "a.png", "captions": ["\\ud83d\\ude00"]}\n{"image": "a.png", "captions": ["A \\ud800."]}\n'
    )
    manifest = convert("jsonl", place / "lines", place / "images", place / "out", max_left_out=0.5)
    [bad] = manifest["splits"]["train"]["left_out"]
    assert bad == {"record": "line 2", "reason": "a text of it holds '\\ud800', half a character"}
    assert [s.captions for s in open_split(str(place / "out"), "train", 0)] == [("\U0001f600",)]


@pytest.mark.parametrize("name", ["../beside", "", ".", "a/b", "a\0b", "dataset.json"])
def test_a_split_can_not_leave_the_store(place: Path, name: str) -> None:
    image = {"cocoid": 1, "filename": "COCO_0000.jpg", "split": name, "sentences": [{"raw": "A dog."}]}
    (place / "dataset_coco.json").write_text(json.dumps({"images": [image]}))
    before = sorted(place.rglob("*"))
    with pytest.raises(InputError, match=r"dataset_coco\.json names a split .*, which can be no folder's name"):
        convert("coco-captions", place, place / "images" / "train2014", place / "out")
    assert sorted(place.rglob("*")) == before


def test_what_stands_there_is_kept_until_the_new_one_is_complete(place: Path) -> None:
    convert("mmud", place / "mmud", place / "images", place / "out")
    mmud(place / "mmud", place / "images", [(*mmud_record(0)[:2], "no separator", *mmud_record(0)[3:])])
    with pytest.raises(InputError, match=r"record 0 of mmud_train\.pkl: its text has 0 <SEP>"):
        convert("mmud", place / "mmud", place / "images", place / "out")
    assert len(open_split(str(place / "out"), "train", 0)) == 2
    convert("refcoco", place / "refcoco", place / "train2014", place / "out")
    assert not (place / "out" / "test").exists()
    for other in (place, place / "mmud" / "mmud_val.pkl"):
        with pytest.raises(InputError, match="holds other things"):
            convert("mmud", place / "mmud", place / "images", other)


def test_what_can_not_be_converted(place: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no format 'refcoc0'; choose one of refcoco, refcoco\+, refcocog, refclef, grefcoco, mmud, reasonseg",
    ):
        convert("refcoc0", place / "refcoco", place / "train2014", place / "out")
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        convert("refcoco", place / "nowhere", place / "train2014", place / "out")
    with pytest.raises(InputError, match="--split-by is for refcoco"):
        convert("mmud", place / "mmud", place / "images", place / "out", split_by="unc")
    assert set(FORMATS) == {
        "refcoco",
        "refcoco+",
        "refcocog",
        "refclef",
        "grefcoco",
        "mmud",
        "reasonseg",
        "duts",
        "dut-omron",
        "ecssd",
        "coco-captions",
        "vqav2",
        "textvqa",
        "snli-ve",
        "food-101",
        "coco",
        "llava",
        "jsonl",
    }
