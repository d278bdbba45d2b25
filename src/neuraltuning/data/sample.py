"""What a data set knows of one image: objects with masks and phrases, captions, questions with answers.

A `Sample` knows nothing of tasks, prompts or networks; `neuraltuning.tasks` turns it into examples.
The fields follow MMUD's records (journal paper, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OBJECT_TAG = "<OBJ>"
"""Stands in an answer's text directly behind each mention of an object (journal paper, section 4)."""

PHRASE_KINDS = ("class", "attribute", "position", "size", "relation")
"""How a phrase singles its object out: by its name alone, a property, its place, its size, or another object."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A referring expression that is true of exactly one object of its image.

    Attributes:
        text: noun phrase with its article, lower case, no full stop: "the bigger of the two apples".
        kind: one of `PHRASE_KINDS`, or "" where the data set doesn't say.
    """

    text: str
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class ObjectAnnotation:
    """One object of an image.

    Attributes:
        category: class name in the singular, as it stands in texts: "umbrella".
        supercategory: named group of the category: "animal".
        mask: (height, width) bool, the object's visible pixels.
        box: x, y, width, height of the mask in pixels (COCO convention).
        phrases: referring expressions, each unique in the image; at least one unless the object can't be singled out.
    """

    category: str
    supercategory: str
    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]
    phrases: tuple[Phrase, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A referring expression that means several objects of its image together, or none of them (gRefCOCO).

    Attributes:
        text: as of a `Phrase`: "the two dogs on the left".
        objects: the indices of what it means in `Sample.objects`; () where nothing of the image fits it.
    """

    text: str
    objects: tuple[int, ...]


class TagError(ValueError):
    """The tags of an answer and its objects aren't one for one.

    Attributes:
        surplus: tags without an object, or objects without a tag where it is negative.
    """

    def __init__(self, answer: str, tags: int, objects: int) -> None:
        super().__init__(f"The answer {answer!r} has {tags} {OBJECT_TAG} but names {objects} objects.")
        self.surplus = tags - objects


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A question about the image and its answer.

    Attributes:
        question: one sentence, with its question mark.
        answer: the answer's text; `<OBJ>` stands behind each mention of an object that is to be segmented.
        kind: what the question asks for: "knowledge", "group", "count", "color", "yes_no", "where", ...
        objects: for each `<OBJ>` in `answer`, in order, the index of the object in `Sample.objects`.
        annotated: what each annotator answered, where several were asked (VQAv2's ten); `answer` is the usual one.
    """

    question: str
    answer: str
    kind: str
    objects: tuple[int, ...] = ()
    annotated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.answer.count(OBJECT_TAG) != len(self.objects):
            raise TagError(self.answer, self.answer.count(OBJECT_TAG), len(self.objects))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One annotated image.

    Attributes:
        id: unique in its data set: "scenes-test-000012".
        image: RGB.
        objects: the annotated objects, in a fixed order.
        captions: one or more descriptions of the whole image, one to three sentences each.
        reasoning: questions whose answers name objects and carry `<OBJ>` (reasoning segmentation).
        questions: questions with short textual answers (visual question answering).
        source: where the image comes from: "scenes".
        license: SPDX identifier of the image's licence.
        ignored: (height, width) bool, pixels that count nowhere in scores of masks (ReasonSeg's "ignore"); None: none.
        expressions: referring expressions that mean several of the objects together, or none; those of exactly one
            object are its phrases.
    """

    id: str
    image: Image.Image
    objects: tuple[ObjectAnnotation, ...] = ()
    captions: tuple[str, ...] = ()
    reasoning: tuple[QuestionAnswer, ...] = ()
    questions: tuple[QuestionAnswer, ...] = ()
    source: str = ""
    license: str = ""
    ignored: NDArray[np.bool_] | None = None
    expressions: tuple[Expression, ...] = ()
