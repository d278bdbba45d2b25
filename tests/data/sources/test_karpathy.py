"""Karpathy's file: which images are in which split, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.data.sources.base import BadRecord
from neuraltuning.data.sources.karpathy import read_karpathy
from neuraltuning.errors import InputError
from tests.data.sources.published import picture


def karpathy(place: Path, **of_first: Any) -> None:
    """Five images in the file's five splits and folders."""
    images = []
    for number, split in enumerate(["train", "restval", "val", "test", "train"]):
        folder = "train2014" if split == "train" else "val2014"
        name = f"COCO_{folder}_{number:012d}.jpg"
        picture(place / "images" / folder / name, number)
        sentences = [{"raw": f" A dog {number}\nruns. ", "tokens": ["a"], "sentid": 9, "imgid": 1}, {"raw": "A dog."}]
        images.append(
            {"cocoid": 100 + number, "filepath": folder, "filename": name, "split": split, "sentences": sentences}
        )
    images[0].update(of_first)
    (place / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))


def test_splits_and_captions(tmp_path: Path) -> None:
    karpathy(tmp_path)
    splits = read_karpathy(tmp_path, tmp_path / "images")
    assert {name: split.counts for name, split in splits.items()} == {
        "train": {"images": 3, "captions": 6},
        "validation": {"images": 1, "captions": 2},
        "test": {"images": 1, "captions": 2},
    }
    assert splits["train"].published == {"images": 113_287}
    samples = [entry.read()[0] for entry in splits["train"]]
    assert [s.id for s in samples] == ["coco-train-100", "coco-train-101", "coco-train-104"]
    assert samples[1].captions == ("A dog 1 runs.", "A dog.")


def test_bad_images_and_files(tmp_path: Path) -> None:
    karpathy(tmp_path, filepath="../..")
    first, second, _ = read_karpathy(tmp_path, tmp_path / "images")["train"].entries
    with pytest.raises(BadRecord, match="lies outside of"):
        first.read()
    assert second.read()
    karpathy(tmp_path, sentences=[{"raw": "  "}])
    with pytest.raises(BadRecord, match="it has no caption"):
        read_karpathy(tmp_path, tmp_path / "images")["train"].entries[0].read()
    karpathy(tmp_path, sentences=[{}])
    with pytest.raises(InputError, match=r"dataset_coco\.json, image 0, sentences\.0\.raw: field required"):
        read_karpathy(tmp_path, tmp_path / "images")
    (tmp_path / "dataset_coco.json").write_text("[]")
    with pytest.raises(InputError, match="is not Karpathy's file"):
        read_karpathy(tmp_path, tmp_path / "images")
