"""A data set by its name in a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuraltuning.data.sample import Sample
from neuraltuning.data.shards import PATTERN
from neuraltuning.errors import InputError


def open_split(source: str, split: str, seed: int, size: int | None = None) -> Sequence[Sample]:
    """The samples of one split.

    Args:
        source: "scenes", made on the fly; or a folder with one subfolder a split, as `neuraltuning data convert` and
            `neuraltuning data scenes` write them; or an address of what `data convert` wrote (`s3://`, ...).
        split: "train", "validation", "test", ...
        seed: of the scenes.
        size: only so many samples; all by default.

    Raises:
        InputError: there is no such data set or split, or its address can't be reached.
    """
    from neuraltuning.data.scenes import SceneDataset, read_scenes
    from neuraltuning.data.store import open_stored, split_names

    if source == "scenes":
        return SceneDataset(split, size, seed)
    samples: Sequence[Sample] | None = open_stored(source, split)
    if samples is None:
        folder = Path(source) / split
        if not folder.is_dir() and list(Path(source).glob(f"*/{PATTERN}")):
            raise InputError(
                f"There is no split {split!r} in {source}: its splits are {', '.join(split_names(source))}."
            )
        if not folder.is_dir():
            raise InputError(
                f"There is no data set {source!r}: give scenes, or a folder or an address that has a subfolder {split}."
            )
        samples = read_scenes(folder)
    return samples if size is None else samples[:size]


def category_names(source: str) -> tuple[str, ...] | None:
    """All class names of a data set, where they are known without reading it."""
    from neuraltuning.data.scenes import CATEGORIES

    return tuple(c.name for c in CATEGORIES) if source == "scenes" else None
