"""Checking a data set: each kind of finding where it is, nothing where nothing is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from neuraltuning.data.check import check
from neuraltuning.data.convert import convert, summary
from neuraltuning.data.near_duplicates import difference_hash
from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.source import open_split
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from neuraltuning.packing import Packer
from tests.data.sources.published import refer
from tests.data.test_store import encoded, write_split
from tests.tiny_models import model_settings


def store(folder: Path, splits: dict[str, list[Sample]]) -> None:
    for name, samples in splits.items():
        (folder / name).mkdir(parents=True)
        write_split(((s, encoded(s)) for s in samples), folder / name)


def kinds(folder: Path) -> list[tuple[str, str, str]]:
    return [(p.kind, p.split, p.sample) for p in check(folder).problems]


@pytest.fixture
def splits() -> dict[str, list[Sample]]:
    return {name: list(SceneDataset(name, 5, seed=2)) for name in ("train", "validation")}


def test_nothing_is_found_where_nothing_is(tmp_path: Path, splits: dict[str, list[Sample]]) -> None:
    store(tmp_path, splits)
    findings = check(tmp_path)
    assert findings.samples == {"train": 5, "validation": 5}
    assert findings.problems == []


def paler(image: Image.Image) -> Image.Image:
    return image.point(lambda value: int(0.9 * value + 12)).resize((300, 300)).resize((224, 224))


@pytest.mark.parametrize(
    ("edit", "kind", "split"),
    [
        (lambda s: replace(s, captions=(), reasoning=(), questions=(), objects=()), "useless", "train"),
        (lambda s: replace(s, objects=(replace(s.objects[0], mask=s.objects[0].mask & False),)), "empty_mask", "train"),
        (lambda s: replace(s, objects=(replace(s.objects[0], phrases=()),)), "unused_object", "train"),
    ],
)
def test_a_sample_that_is_of_no_use(
    tmp_path: Path, splits: dict[str, list[Sample]], edit: Callable[[Sample], Sample], kind: str, split: str
) -> None:
    bare = replace(splits["train"][2], reasoning=(), questions=())
    splits["train"][2] = edit(bare)
    store(tmp_path, splits)
    assert kinds(tmp_path) == [(kind, split, bare.id)]
    assert bool(check(tmp_path).fatal) == (kind == "empty_mask")


def test_pictures_that_stand_twice(tmp_path: Path, splits: dict[str, list[Sample]]) -> None:
    train, validation = splits["train"], splits["validation"]
    train[4] = replace(train[4], image=train[0].image, objects=())
    validation[1] = replace(validation[1], image=train[1].image, objects=())
    validation[3] = replace(validation[3], image=paler(train[2].image), objects=(), reasoning=())
    for samples in (train, validation):
        for place, sample in enumerate(samples):
            samples[place] = replace(sample, reasoning=())
    store(tmp_path, splits)
    assert kinds(tmp_path) == [
        ("duplicate", "train", train[4].id),
        ("leak", "validation", validation[1].id),
        ("near_leak", "validation", validation[3].id),
    ]
    assert check(tmp_path).problems[1].detail == f"as {train[1].id} of train"


def test_records_that_can_not_be_read(tmp_path: Path, splits: dict[str, list[Sample]]) -> None:
    store(tmp_path, splits)
    path = tmp_path / "train" / "part-00000.parquet"
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    rows[3]["image"]["bytes"] = rows[3]["image"]["bytes"][:900]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    assert kinds(tmp_path) == [("unreadable", "train", "number 3")]
    assert "truncated or damaged" in check(tmp_path).fatal[0].detail


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda row: row["objects"][0]["mask"].update(size=[224, 223]), "mask_size"),
        (lambda row: row["reasoning"][0].update(objects=[]), "tag_without_object"),
        (lambda row: row["reasoning"][0].update(answer="Nothing."), "object_without_tag"),
        (lambda row: row["reasoning"][0].update(objects=[9] * len(row["reasoning"][0]["objects"])), "unreadable"),
        (lambda row: row["captions"].append("A dog <OBJ>."), "stray_tag"),
        (lambda row: row["captions"].append(None), "unreadable"),
        (lambda row: row["objects"][0].update(category=None), "unreadable"),
        (lambda row: row["questions"][0].update(answer=None), "unreadable"),
    ],
)
def test_masks_and_tags_that_belong_to_nothing(
    tmp_path: Path, splits: dict[str, list[Sample]], edit: Callable[[dict[str, Any]], None], kind: str
) -> None:
    store(tmp_path, splits)
    path = tmp_path / "train" / "part-00000.parquet"
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    place = next(n for n, row in enumerate(rows) if row["reasoning"])
    edit(rows[place])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    [found] = check(tmp_path).problems
    assert (found.kind, found.split) == (kind, "train")
    assert bool(check(tmp_path).fatal) == (kind != "stray_tag")


def test_texts_that_find_no_room_in_a_row(tmp_path: Path, splits: dict[str, list[Sample]]) -> None:
    """Training leaves them out; only if they are many it fails."""
    model = MultitaskModel.build(model_settings(tmp_path / "model"))
    splits["train"][1] = replace(splits["train"][1], captions=("A very long caption. " * 60,))
    store(tmp_path / "data", splits)
    packer = Packer(model, 600)
    findings = check(tmp_path / "data", packer, max_left_out=0.3)
    [found] = findings.problems
    assert (found.kind, found.sample) == ("too_long", splits["train"][1].id)
    assert found.detail.endswith("positions, a row has 600")
    assert findings.fatal == []
    assert check(tmp_path / "data", packer, max_left_out=0.1).fatal == [found]


def test_polygons_that_reached_out_of_their_image(tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    manifest = convert("refcoco", tmp_path / "refcoco", tmp_path / "images", tmp_path / "out")
    assert manifest["splits"]["validation"]["cut_off"] == {"refcoco-unc-validation-13": 1}
    assert "polygons of 1 objects cut off at the image's edge" in summary(manifest)[-1]
    [found] = check(tmp_path / "out").problems
    assert (found.kind, found.split, found.sample) == ("cut_off", "validation", "refcoco-unc-validation-13")
    assert check(tmp_path / "out").fatal == []


def test_what_the_manifest_names_and_is_not_there(tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    convert("refcoco", tmp_path / "refcoco", tmp_path / "images", tmp_path / "out")
    (tmp_path / "out" / "train" / "part-00000.parquet").rename(tmp_path / "out" / "train" / "part-00001.parquet")
    shutil.rmtree(tmp_path / "out" / "test_a")
    findings = check(tmp_path / "out")
    assert findings.samples == {"train": 0, "validation": 1, "test_a": 0}
    assert [(p.kind, p.split) for p in findings.fatal] == [("unreadable", "train"), ("unreadable", "test_a")]
    assert "train lacks part-00000.parquet, which dataset.json names" in findings.fatal[0].detail
    with pytest.raises(InputError, match=r"train lacks part-00000\.parquet"):
        open_split(str(tmp_path / "out"), "train", 0)
    with pytest.raises(InputError, match=r"There is no split 'test_a' in .*: its splits are train, validation"):
        open_split(str(tmp_path / "out"), "test_a", 0)


def test_a_damaged_shard_does_not_hide_the_other_splits(tmp_path: Path, splits: dict[str, list[Sample]]) -> None:
    store(tmp_path, splits)
    path = tmp_path / "train" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert kinds(tmp_path) == [("unreadable", "train", "all")]
    assert check(tmp_path).samples == {"train": 0, "validation": 5}


def test_the_hash_tells_pictures_apart_and_not_their_brightness(splits: dict[str, list[Sample]]) -> None:
    images = [sample.image for samples in splits.values() for sample in samples]
    codes = [difference_hash(image) for image in images]
    assert all((difference_hash(paler(i)) ^ c).bit_count() <= 3 for i, c in zip(images, codes, strict=True))
    apart = [(a ^ b).bit_count() for n, a in enumerate(codes) for b in codes[:n]]
    assert np.median(apart) > 10


def test_a_folder_without_a_data_set(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no split"):
            check(folder)
