"""Scenes on disk come back as they were; damaged files are refused with the file and the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.data.scenes import SceneDataset, read_scenes, write_scenes
from neuraltuning.errors import InputError
from tests.data.scenes.test_dataset import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "scenes", "test_classes", 3, seed=4)


def test_what_was_written_is_read_back(folder: Path) -> None:
    samples = read_scenes(folder)
    assert [fingerprint(sample) for sample in samples] == [
        fingerprint(sample) for sample in SceneDataset("test_classes", 3, seed=4)
    ]
    assert {(sample.source, sample.license) for sample in samples} == {("scenes", "CC-BY-SA-4.0")}
    assert "OpenMoji" in (folder / "LICENSE.txt").read_text()


def test_an_earlier_copy_is_replaced_but_other_files_are_not(folder: Path) -> None:
    write_scenes(folder, "validation", 1)
    assert [sample.id for sample in read_scenes(folder)] == ["scenes-validation-000000"]
    with pytest.raises(InputError, match="holds other files"):
        write_scenes(folder.parent, "validation", 1)
    assert folder.is_dir()
    with pytest.raises(InputError, match="is a file"):
        write_scenes(folder / "LICENSE.txt", "validation", 1)


def _shorten(record: dict[str, Any]) -> None:
    record["objects"][0]["mask"]["counts"] = record["objects"][0]["mask"]["counts"][:-4]


def _overflow(record: dict[str, Any]) -> None:
    record["objects"][0]["mask"]["counts"] = "oooooooooooooooo0" * 9


def _resize(record: dict[str, Any]) -> None:
    record["objects"][0]["mask"]["size"] = [9999, 9999]


def _drop_field(record: dict[str, Any]) -> None:
    del record["captions"]


def _wrong_index(record: dict[str, Any]) -> None:
    record["reasoning"][0]["objects"] = [77] * len(record["reasoning"][0]["objects"])


def _wrong_kind(record: dict[str, Any]) -> None:
    record["objects"][0]["phrases"][0]["kind"] = "guess"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_shorten, "runs add up to"),
        (_overflow, "line 2: not a sample"),
        (_resize, "size"),
        (_drop_field, "field 'captions' is missing"),
        (_wrong_index, "object 77"),
        (_wrong_kind, "unknown kind of phrase 'guess'"),
    ],
)
def test_a_damaged_record_is_named_by_its_line(
    folder: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = folder / "samples.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[1])
    damage(record)
    path.write_text("\n".join([lines[0], json.dumps(record), lines[2]]) + "\n")
    with pytest.raises(InputError, match=r"samples\.jsonl, line 2") as error:
        read_scenes(folder)
    assert message in str(error.value)


def test_broken_files_are_named(folder: Path) -> None:
    image = next(iter(sorted((folder / "images").iterdir())))
    content = image.read_bytes()
    image.write_bytes(content[:300])
    with pytest.raises(InputError, match=image.name):
        read_scenes(folder)
    image.unlink()
    with pytest.raises(InputError, match=image.name):
        read_scenes(folder)
    image.write_bytes(content)
    (folder / "samples.jsonl").write_text("{\n")
    with pytest.raises(InputError, match="line 1"):
        read_scenes(folder)
    (folder / "samples.jsonl").unlink()
    with pytest.raises(InputError, match=r"samples\.jsonl"):
        read_scenes(folder)
