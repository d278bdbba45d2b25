"""Referring segmentation: one or several objects named by phrases -> a mask each; for what isn't there, none."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuraltuning.data.sample import OBJECT_TAG, Expression, ObjectAnnotation, Phrase, Sample
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
UNNAMED = "object"
"""What an object without a class name is called."""
NO_OBJECT = "There is none."
"""The reply where an expression means nothing of the image."""


class ReferringSegmentation(Task):
    """`Please segment the left dog.` -> `The left dog <OBJ>.` (journal paper, table 1)

    An expression that means several objects is answered with a mask for each, `The dogs: dog <OBJ> and dog <OBJ>.`, in
    the order of the sample's objects; one that means none with `There is none.`
    """

    name: ClassVar[str] = "referring_segmentation"
    tokens: ClassVar[tuple[str, ...]] = (OBJECT_TAG,)
    success: ClassVar[tuple[str, float]] = ("iou", 0.5)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """One example an object that has a phrase, some of them asking for further objects too, and one an expression.

        Where no phrase has a kind, as in RefCOCO, each is an example by itself: every sentence is scored there.
        """
        named = [o for o in sample.objects if o.phrases]
        with_kinds = any(p.kind for o in named for p in o.phrases)
        sentences = [] if with_kinds else [(o, p) for o in named for p in o.phrases]
        of_phrases = len(named) if with_kinds else len(sentences)
        requests = HELD_OUT_REQUESTS if held_out_wordings else REQUESTS
        examples = []
        for number, place in enumerate(rng.permutation(of_phrases + len(sample.expressions)).tolist()):
            if place >= of_phrases:
                text, reply, masks, kind = _of_expression(sample.expressions[place - of_phrases], sample.objects)
            else:
                text, reply, masks, kind = _of_phrases(
                    self._choose(named, place, rng) if with_kinds else [sentences[place]]
                )
            examples.append(
                Example(
                    task=self.name,
                    id=f"{sample.id}/{self.name}/{number}",
                    image=sample.image,
                    prompt=str(rng.choice(requests)).format(text),
                    reply=reply[0].upper() + reply[1:],
                    targets={OBJECT_TAG: masks},
                    kind=kind,
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


_Asked = tuple[str, str, list[NDArray[np.bool_]], str]
"""What is asked for, the reply, its masks, and the example's kind."""


def _of_phrases(pairs: list[tuple[ObjectAnnotation, Phrase]]) -> _Asked:
    phrases = [p for _, p in pairs]
    reply = join([f"{p.text} {OBJECT_TAG}" for p in phrases]) + "."
    kind = "several" if len(pairs) > 1 else phrases[0].kind
    return join([p.text for p in phrases]), reply, [o.mask for o, _ in pairs], kind


def _of_expression(expression: Expression, objects: tuple[ObjectAnnotation, ...]) -> _Asked:
    if not expression.objects:
        return expression.text, NO_OBJECT, [], "none"
    meant = [objects[index] for index in expression.objects]
    if len(meant) == 1:
        return _of_phrases([(meant[0], Phrase(expression.text, ""))])
    reply = f"{expression.text}: {join([f'{o.category or UNNAMED} {OBJECT_TAG}' for o in meant])}."
    return expression.text, reply, [o.mask for o in meant], "several"


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
    """The baseline that understands nothing: as many masks as are wanted, each of them all annotated objects.

    Where none is wanted, it is one, if the image has objects.
    """
    assert example.sample is not None
    union = np.zeros((example.sample.image.height, example.sample.image.width), dtype=bool)
    for annotation in example.sample.objects:
        union |= annotation.mask
    wanted = len(example.targets[OBJECT_TAG]) or int(union.any())
    return Reply(text="", masks=np.repeat(union[None], wanted, axis=0), scores=np.ones(wanted, dtype=np.float32))
