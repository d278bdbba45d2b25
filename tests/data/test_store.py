"""The Parquet store: what is written comes back by place, other programs can read it, damage is named."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from neuraltuning.data import store
from neuraltuning.data.sample import Expression, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.source import open_split
from neuraltuning.data.store import SplitWriter, StoredSamples
from neuraltuning.errors import InputError
from tests.data.scenes.test_dataset import fingerprint


def encoded(sample: Sample) -> bytes:
    file = io.BytesIO()
    sample.image.save(file, "PNG")
    return file.getvalue()


def write_split(items: Iterable[tuple[Sample, bytes]], folder: Path) -> None:
    with SplitWriter(folder) as writer:
        for sample, image in items:
            writer.add(sample, image)


@pytest.fixture(scope="module")
def scenes() -> list[Sample]:
    return list(SceneDataset("validation", 37, seed=1))


@pytest.fixture
def folder(tmp_path: Path, scenes: list[Sample], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "SHARD_BYTES", 20 * len(encoded(scenes[0])))
    (tmp_path / "data" / "train").mkdir(parents=True)
    write_split(((s, encoded(s)) for s in scenes), tmp_path / "data" / "train")
    return tmp_path / "data"


def test_samples_come_back_by_place(folder: Path, scenes: list[Sample]) -> None:
    assert len(list((folder / "train").iterdir())) > 1
    samples = open_split(str(folder), "train", 0)
    assert isinstance(samples, StoredSamples)
    assert len(samples) == len(scenes)
    for place in (36, 0, 17, 15, 16, -1, 20):
        assert fingerprint(samples[place]) == fingerprint(scenes[place])
    with pytest.raises(IndexError):
        samples[37]


def test_parts_of_a_split_and_copies_in_other_processes(folder: Path, scenes: list[Sample]) -> None:
    samples = open_split(str(folder), "train", 0, 9)
    assert [s.id for s in samples] == [s.id for s in scenes[:9]]
    assert [s.id for s in samples[2:5]] == [s.id for s in scenes[2:5]]
    assert [s.id for s in pickle.loads(pickle.dumps(samples))] == [s.id for s in scenes[:9]]


def test_the_pictures_files_are_kept_as_they_are(folder: Path, scenes: list[Sample]) -> None:
    rows = pyarrow.parquet.read_table(folder / "train").to_pylist()
    assert len(rows) == len(scenes)
    assert rows[0]["image"]["bytes"] == encoded(scenes[0])
    assert rows[5]["objects"][0]["category"] == scenes[5].objects[0].category
    assert (rows[0]["height"], rows[0]["width"]) == (224, 224)


def test_ignored_pixels_come_back(tmp_path: Path, scenes: list[Sample]) -> None:
    ignored = np.zeros((224, 224), dtype=bool)
    ignored[5:9, 7:99] = True
    write_split([(replace(scenes[0], ignored=ignored), encoded(scenes[0])), (scenes[1], encoded(scenes[1]))], tmp_path)
    first, second = StoredSamples(tmp_path)
    assert first.ignored is not None
    assert np.array_equal(first.ignored, ignored)
    assert second.ignored is None


def test_expressions_come_back_and_older_data_sets_have_none(tmp_path: Path, scenes: list[Sample]) -> None:
    expressions = (Expression("the two of them", (0, 1)), Expression("the unicorn", ()))
    pair = next(s for s in scenes if len(s.objects) > 1)
    write_split([(replace(pair, expressions=expressions), encoded(pair))], tmp_path)
    assert StoredSamples(tmp_path)[0].expressions == expressions
    path = tmp_path / "part-00000.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.drop_columns(["expressions"]), path)
    (older,) = StoredSamples(tmp_path)
    assert older.expressions == ()
    assert fingerprint(older) == fingerprint(pair)
    rows = table.to_pylist()
    rows[0]["expressions"][0]["objects"] = [0, 9]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(InputError, match="an expression names object 9 of"):
        StoredSamples(tmp_path)[0]


def test_an_empty_split_is_one(tmp_path: Path) -> None:
    write_split([], tmp_path)
    assert len(StoredSamples(tmp_path)) == 0


def test_only_what_is_asked_for_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pyarrow.parquet.ParquetFile.read_row_group

    def counted(file: pyarrow.parquet.ParquetFile, number: int, **options: bool) -> pyarrow.Table:
        read.append(number)
        return original(file, number, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", counted)
    samples = open_split(str(folder), "train", 0)
    assert not read
    assert samples[3] and samples[4]
    assert len(read) == 1


def test_damage_is_named(folder: Path) -> None:
    first, *others = sorted((folder / "train").iterdir())
    data = first.read_bytes()
    first.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"part-00000\.parquet is no complete Parquet file"):
        open_split(str(folder), "train", 0)
    table = pyarrow.parquet.read_table(others[0])
    pyarrow.parquet.write_table(table.drop_columns(["captions"]), first)
    with pytest.raises(InputError, match="has no column 'captions'"):
        open_split(str(folder), "train", 0)
    for path in (first, *others):
        path.unlink()
    with pytest.raises(InputError, match=r"holds no part-\*\.parquet"):
        StoredSamples(folder / "train")


def test_a_bad_record_is_named(folder: Path) -> None:
    path = min((folder / "train").iterdir())
    rows = pyarrow.parquet.read_table(path)
    schema, rows = rows.schema, rows.to_pylist()
    rows[0]["image"]["bytes"] = b"no picture"
    rows[1]["objects"][0]["mask"]["counts"] = "oooo0"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)
    samples = open_split(str(folder), "train", 0)
    with pytest.raises(InputError, match=rf"sample {rows[0]['id']}: its image is not a picture"):
        samples[0]
    with pytest.raises(InputError, match=rf"sample {rows[1]['id']}: the mask's"):
        samples[1]
    assert np.any(samples[2].objects[0].mask)


@pytest.fixture
def beside(tmp_path: Path, scenes: list[Sample]) -> Path:
    """A split of 20 scenes whose pictures stand beside the shards."""
    (tmp_path / "train").mkdir()
    with SplitWriter(tmp_path / "train", beside=True) as writer:
        for sample in scenes[:20]:
            writer.add(sample, encoded(sample))
    return tmp_path


def test_pictures_beside_the_shards_come_back_too(beside: Path, scenes: list[Sample]) -> None:
    samples = open_split(str(beside), "train", 0)
    assert [fingerprint(sample) for sample in samples] == [fingerprint(sample) for sample in scenes[:20]]
    pictures = sorted(path.relative_to(beside / "train").as_posix() for path in beside.rglob("*.png"))
    assert pictures[0] == "pictures/00000/00000000.png"
    assert len(pictures) == 20
    table = pyarrow.parquet.read_table(beside / "train" / "part-00000.parquet")
    assert table["image"].to_pylist()[19] == {"bytes": None, "path": pictures[19]}


def test_a_picture_that_is_gone_is_named(beside: Path) -> None:
    (beside / "train" / "pictures" / "00000" / "00000003.png").unlink()
    with pytest.raises(InputError, match=r"its image pictures/00000/00000003\.png is missing"):
        open_split(str(beside), "train", 0)[3]


@pytest.mark.parametrize("name", ["../secret.png", "pictures/../../secret.png", "/etc/passwd", "pictures/s3://x/y.png"])
def test_no_picture_is_read_from_elsewhere(beside: Path, name: str) -> None:
    (beside / "secret.png").write_bytes(b"secret")
    path = beside / "train" / "part-00000.parquet"
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    rows[0]["image"]["path"] = name
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(InputError, match="is no file of pictures"):
        open_split(str(beside), "train", 0)[0]


def test_datasets_reads_a_store(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = str(folder / "train" / "*.parquet")
    table = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"), split="train")
    pictures = table.cast_column("image", datasets.Image())
    ours = open_split(str(folder), "train", 0)
    assert len(table) == len(ours)
    for place in (0, len(ours) - 1):
        sample = ours[place]
        assert table[place]["id"] == sample.id
        assert [o["category"] for o in table[place]["objects"]] == [o.category for o in sample.objects]
        assert np.array_equal(np.asarray(pictures[place]["image"].convert("RGB")), np.asarray(sample.image))
