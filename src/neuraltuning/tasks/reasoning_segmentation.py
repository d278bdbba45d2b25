"""Reasoning segmentation: a question that names no object -> an answer with a mask for each object it names."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuraltuning.data.sample import OBJECT_TAG, Sample
from neuraltuning.evaluation.metrics.segmentation import SegmentationMetric
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example, Metric, ScoringResources, Task
from neuraltuning.tasks.referring_segmentation import every_object


class ReasoningSegmentation(Task):
    """`Which of these keeps you dry in the rain?` -> `The umbrella <OBJ> keeps you dry in the rain.` (MMUD)."""

    name: ClassVar[str] = "reasoning_segmentation"
    tokens: ClassVar[tuple[str, ...]] = (OBJECT_TAG,)
    success: ClassVar[tuple[str, float]] = ("iou", 0.5)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """One example a question; the wordings are the data set's, so `held_out_wordings` changes nothing here."""
        return [
            Example(
                task=self.name,
                id=f"{sample.id}/{self.name}/{place}",
                image=sample.image,
                prompt=sample.reasoning[place].question,
                reply=sample.reasoning[place].answer,
                targets={OBJECT_TAG: [sample.objects[i].mask for i in sample.reasoning[place].objects]},
                kind=sample.reasoning[place].kind,
                sample=sample,
            )
            for place in rng.permutation(len(sample.reasoning))
        ]

    def metric(self, resources: ScoringResources) -> Metric:
        return SegmentationMetric(OBJECT_TAG)

    def constant_replies(self, example: Example) -> dict[str, Reply]:
        return {"all_objects": every_object(example)}
