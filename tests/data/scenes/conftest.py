"""A few hundred samples of each split, generated once."""

from __future__ import annotations

import pytest

from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes import SPLIT_SIZES, SceneDataset


@pytest.fixture(scope="session")
def train_samples() -> list[Sample]:
    return list(SceneDataset("train", 1000))


@pytest.fixture(scope="session")
def samples_by_split(train_samples: list[Sample]) -> dict[str, list[Sample]]:
    others = {split: list(SceneDataset(split, 120)) for split in SPLIT_SIZES if split != "train"}
    return {"train": train_samples, **others}
