"""`SceneDataset`: Scenes generated on the fly, each sample a function of the seed, the split and its index alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from neuraltuning.data.sample import ObjectAnnotation, Sample
from neuraltuning.data.scenes.captions import captions
from neuraltuning.data.scenes.catalog import CATEGORIES, Category
from neuraltuning.data.scenes.layout import choose_objects, draw_scene
from neuraltuning.data.scenes.phrases import mention, phrases
from neuraltuning.data.scenes.questions import questions
from neuraltuning.data.scenes.reasoning import reasoning
from neuraltuning.data.scenes.sprites import LICENSE
from neuraltuning.errors import InputError

SPLIT_SIZES: dict[str, int] = {
    "train": 100_000,
    "validation": 500,
    "test": 500,
    "test_wordings": 500,
    "test_classes": 500,
}
"""The splits and their default sizes; the last two ask in wordings, or about classes, that no other split holds."""


def categories(split: str) -> tuple[Category, ...]:
    """Returns the classes that occur in a split.

    Raises:
        InputError: there is no such split.
    """
    _check_split(split)
    return tuple(category for category in CATEGORIES if category.held_out == (split == "test_classes"))


class SceneDataset(Sequence[Sample]):
    """A split of Scenes as a sequence of samples that are generated when they are asked for."""

    def __init__(self, split: str, size: int | None = None, seed: int = 0) -> None:
        """Describes the split; nothing is generated yet.

        Args:
            split: one of `SPLIT_SIZES`.
            size: number of samples, by default the split's own. A smaller set is a prefix of a larger one.
            seed: other seeds give other samples of the same distribution.

        Raises:
            InputError: there is no such split, or the size or seed is negative.
        """
        _check_split(split)
        self.split = split
        self.size = SPLIT_SIZES[split] if size is None else size
        self.seed = seed
        if self.size < 0 or seed < 0:
            raise InputError(f"Scenes needs a size and a seed of 0 or more, not size {self.size} and seed {seed}.")

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -self.size <= index < self.size:
            raise IndexError(f"Sample {index} of {self.size}")
        return self._generate(index % self.size)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def _generate(self, index: int) -> Sample:
        split_number = int.from_bytes(hashlib.sha256(self.split.encode()).digest()[:4], "big")
        rng = np.random.default_rng([self.seed, split_number, index])
        choice = categories(self.split)
        chosen = choose_objects(rng, choice)
        while True:
            scene = draw_scene(rng, chosen)
            expressions = phrases(rng, scene)
            if all(mention(scene, number, own) for number, own in enumerate(expressions)):
                break
        held_out_wordings = self.split == "test_wordings"
        return Sample(
            id=f"scenes-{self.split}-{index:06d}",
            image=scene.image,
            objects=tuple(
                ObjectAnnotation(
                    category=item.category.name,
                    supercategory=item.category.supercategory,
                    mask=item.mask,
                    box=tuple(float(value) for value in item.box),  # type: ignore[arg-type]
                    phrases=own,
                )
                for item, own in zip(scene.objects, expressions, strict=True)
            ),
            captions=captions(rng, scene),
            reasoning=reasoning(rng, scene, expressions, held_out_wordings),
            questions=questions(rng, scene, choice, held_out_wordings),
            source="scenes",
            license=LICENSE,
        )


def _check_split(split: str) -> None:
    if split not in SPLIT_SIZES:
        raise InputError(f"Scenes has no split {split!r}; choose one of {', '.join(SPLIT_SIZES)}.")
