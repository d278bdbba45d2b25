"""Visual question answering: counting, color, yes or no, what is where."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuraltuning.data.sample import Sample
from neuraltuning.evaluation.metrics.vqa import VQAMetric
from neuraltuning.tasks.base import Example, Metric, ScoringResources, Task


class VisualQuestionAnswering(Task):
    """`How many dogs are there?` -> `2` (journal paper, table 1)."""

    name: ClassVar[str] = "visual_question_answering"
    max_new_tokens: ClassVar[int] = 16
    success: ClassVar[tuple[str, float]] = ("accuracy", 1.0)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """One example a question; the wordings are the data set's, so `held_out_wordings` changes nothing here."""
        return [
            Example(
                task=self.name,
                id=f"{sample.id}/{self.name}/{place}",
                image=sample.image,
                prompt=sample.questions[place].question,
                reply=sample.questions[place].answer,
                references=sample.questions[place].annotated or (sample.questions[place].answer,),
                kind=sample.questions[place].kind,
                sample=sample,
            )
            for place in rng.permutation(len(sample.questions))
        ]

    def metric(self, resources: ScoringResources) -> Metric:
        return VQAMetric()
