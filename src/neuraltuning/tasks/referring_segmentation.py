"""Referring segmentation: one or several objects named by phrases -> a mask each."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neuraltuning.data.sample import OBJECT_TAG, ObjectAnnotation, Phrase, Sample
from neuraltuning.evaluation.metrics.segmentation import SegmentationMetric
from neuraltuning.reply import Reply
from neuraltuning.tasks.base import Example, Metric, ScoringResources, Task

REQUESTS = (
    "Please segment {}.",
    "Segment {}.",
    "Can you segment {}?",
    "Show me {}.",
    "Where is {} in the picture? Please mark it.",
    "Find {}.",
    "Mark {} in the image.",
)
HELD_OUT_REQUESTS = (
    "Could you outline {} for me?",
    "I would like a mask of {}.",
    "Highlight {}, please.",
    "Cut out {}.",
)
SEVERAL_SHARE = 0.25
"""Share of requests for two or three objects at once, where the image has as many."""


class ReferringSegmentation(Task):
    """`Please segment the left dog.` -> `The left dog <OBJ>.` (journal paper, table 1)."""

    name: ClassVar[str] = "referring_segmentation"
    tokens: ClassVar[tuple[str, ...]] = (OBJECT_TAG,)
    success: ClassVar[tuple[str, float]] = ("iou", 0.5)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """One example an object that has a phrase, some of them asking for further objects too.

        Where no phrase has a kind, as in RefCOCO, each is an example by itself: every sentence is scored there.
        """
        named = [o for o in sample.objects if o.phrases]
        if not any(p.kind for o in named for p in o.phrases):
            sentences = [(o, p) for o in named for p in o.phrases]
            asked = ([sentences[i]] for i in rng.permutation(len(sentences)))
        else:
            asked = (self._choose(named, int(place), rng) for place in rng.permutation(len(named)))
        requests = HELD_OUT_REQUESTS if held_out_wordings else REQUESTS
        examples = []
        for number, pairs in enumerate(asked):
            phrases = [p for _, p in pairs]
            reply = join([f"{p.text} {OBJECT_TAG}" for p in phrases])
            examples.append(
                Example(
                    task=self.name,
                    id=f"{sample.id}/{self.name}/{number}",
                    image=sample.image,
                    prompt=str(rng.choice(requests)).format(join([p.text for p in phrases])),
                    reply=reply[0].upper() + reply[1:] + ".",
                    targets={OBJECT_TAG: [o.mask for o, _ in pairs]},
                    kind="several" if len(pairs) > 1 else phrases[0].kind,
                    sample=sample,
                )
            )
        return examples

    @staticmethod
    def _choose(
        named: list[ObjectAnnotation], place: int, rng: np.random.Generator
    ) -> list[tuple[ObjectAnnotation, Phrase]]:
        """An object, sometimes with others of the image, and a phrase for each."""
        objects = [named[place]]
        if len(named) > 1 and rng.random() < SEVERAL_SHARE:
            others = [o for i, o in enumerate(named) if i != place]
            more = int(rng.integers(1, min(2, len(others)) + 1))
            objects += [others[i] for i in rng.permutation(len(others))[:more]]
        return [(o, choose_phrase(o, rng)) for o in objects]

    def metric(self, resources: ScoringResources) -> Metric:
        return SegmentationMetric(OBJECT_TAG)

    def constant_replies(self, example: Example) -> dict[str, Reply]:
        return {"all_objects": every_object(example)}


def choose_phrase(annotation: ObjectAnnotation, rng: np.random.Generator) -> Phrase:
    """A phrase of the object: first its kind, uniformly among those it has, then one of that kind."""
    kinds = sorted({p.kind for p in annotation.phrases})
    kind = kinds[int(rng.integers(len(kinds)))]
    phrases = [p for p in annotation.phrases if p.kind == kind]
    return phrases[int(rng.integers(len(phrases)))]


def join(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def every_object(example: Example) -> Reply:
    """The baseline that understands nothing: as many masks as are wanted, each of them all annotated objects."""
    assert example.sample is not None
    union = np.zeros((example.sample.image.height, example.sample.image.width), dtype=bool)
    for annotation in example.sample.objects:
        union |= annotation.mask
    wanted = len(example.targets[OBJECT_TAG])
    return Reply(text="", masks=np.repeat(union[None], wanted, axis=0), scores=np.ones(wanted, dtype=np.float32))
