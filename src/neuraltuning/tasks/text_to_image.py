"""Text to image: a description -> a picture."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.evaluation.metrics.generation import GenerationMetric
from neuraltuning.tasks.base import Example, Metric, ScoringResources, Task

IMAGE_TOKEN = "<GEN>"
REQUESTS = ("Draw a picture: {}", "Please draw this: {}", "Make an image of the following. {}", "Draw: {}")
HELD_OUT_REQUESTS = ("Paint what I describe. {}", "I want a picture of this scene: {}")
REPLY = f"Here is the picture {IMAGE_TOKEN}."


class TextToImage(Task):
    """`Draw a picture: Two dogs on a green background.` -> `Here is the picture <GEN>.` (journal paper, table 3)."""

    name: ClassVar[str] = "text_to_image"
    tokens: ClassVar[tuple[str, ...]] = (IMAGE_TOKEN,)
    max_new_tokens: ClassVar[int] = 16
    success: ClassVar[tuple[str, float]] = ("among_16", 1.0)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """One example, from any of the captions."""
        if not sample.captions:
            return []
        requests = HELD_OUT_REQUESTS if held_out_wordings else REQUESTS
        caption = sample.captions[int(rng.integers(len(sample.captions)))]
        return [
            Example(
                task=self.name,
                id=f"{sample.id}/{self.name}/0",
                image=None,
                prompt=str(rng.choice(requests)).format(caption),
                reply=REPLY,
                targets={IMAGE_TOKEN: [sample.image]},
                references=sample.captions,
                sample=sample,
            )
        ]

    def metric(self, resources: ScoringResources) -> Metric:
        if resources.features is None:
            raise InputError("Scoring drawn pictures needs the features of a named image encoder.")
        return GenerationMetric(resources.features, IMAGE_TOKEN)
