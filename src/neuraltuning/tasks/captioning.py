"""Captioning: describe the whole image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuraltuning.data.sample import Sample
from neuraltuning.evaluation.metrics.captions import CaptionMetric
from neuraltuning.tasks.base import Example, Metric, ScoringResources, Task

REQUESTS = (
    "Describe the image.",
    "What is in this picture?",
    "Please write a caption for this image.",
    "What does the image show?",
)
HELD_OUT_REQUESTS = ("Tell me what you see.", "Give me a short description of this picture.")


class Captioning(Task):
    """`Describe the image.` -> one to three sentences (journal paper, table 3)."""

    name: ClassVar[str] = "captioning"
    success: ClassVar[tuple[str, float]] = ("object_f1", 0.8)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """One example: any of the captions is to be learnt, all of them are accepted."""
        if not sample.captions:
            return []
        requests = HELD_OUT_REQUESTS if held_out_wordings else REQUESTS
        return [
            Example(
                task=self.name,
                id=f"{sample.id}/{self.name}/0",
                image=sample.image,
                prompt=str(rng.choice(requests)),
                reply=sample.captions[int(rng.integers(len(sample.captions)))],
                references=sample.captions,
                sample=sample,
            )
        ]

    def metric(self, resources: ScoringResources) -> Metric:
        return CaptionMetric(resources.categories)
