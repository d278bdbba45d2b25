"""Scores the tagger against tags that people set: they are taken out, put back by the rules, and compared.

neuraltuning mmud score-tags tests/mmud/tagged_sentences.jsonl
neuraltuning mmud score-tags data/mmud --split test

Either a JSON-lines file, a line for each answer,

{"width": 640, "height": 480, "answer": "The dog <OBJ-1> sleeps beside the left chair <OBJ-3>.",
 "objects": [{"category": "dog", "phrases": ["brown dog"], "box": [120, 250, 200, 110]}, ...]}

or a data set whose reasoning answers have tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuraltuning.data.sample import OBJECT_TAG, Sample
from neuraltuning.errors import InputError
from neuraltuning.mmud.records import TAG
from neuraltuning.mmud.referents import Referent, make_referent, referents
from neuraltuning.mmud.tag import place_tags, strip_tags


@dataclass(frozen=True, slots=True, eq=False)
class TaggedAnswer:
    """An answer with tags that count as right.

    Attributes:
        answer: with `<OBJ-i>`.
        objects: of its image.
        size: the image's width and height.
    """

    answer: str
    objects: Sequence[Referent]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TagScore:
    """Tags counted over all answers; one is right if its number and its place are.

    Attributes:
        answers: so many were compared.
        expected: tags that people set.
        placed: tags that the rules set.
        right: tags that both set.
    """

    answers: int
    expected: int
    placed: int
    right: int

    @property
    def precision(self) -> float:
        """Share of the placed tags that are right; 1 where none was placed."""
        return self.right / self.placed if self.placed else 1.0

    @property
    def recall(self) -> float:
        """Share of the expected tags that were placed; 1 where none was expected."""
        return self.right / self.expected if self.expected else 1.0


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str
    phrases: tuple[str, ...] = ()
    box: tuple[float, float, float, float]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    objects: tuple[_Object, ...]
    answer: str


def read_tagged(path: Path) -> Iterator[TaggedAnswer]:
    """The answers of a JSON-lines file.

    Raises:
        InputError: the file can't be read, a line is no tagged answer, or a tag's number is none of its objects'.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error
    for number, text in enumerate(lines, start=1):
        try:
            line = _Line.model_validate_json(text.decode())
        except UnicodeDecodeError as error:
            raise InputError(f"{path}, line {number}, is no text in UTF-8 ({error}); save it as such.") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}, line {number}, {place or 'the record'}: {first['msg'].lower()}.") from error
        for found in TAG.findall(line.answer):
            if not 1 <= int(found) <= len(line.objects):
                raise InputError(f"{path}, line {number}: <OBJ-{found}> is none of its {len(line.objects)} objects.")
        given = enumerate(line.objects, start=1)
        objects = [make_referent(place, item.category, item.phrases, item.box) for place, item in given]
        yield TaggedAnswer(line.answer, objects, (line.width, line.height))


def tagged_answers(samples: Iterable[Sample]) -> Iterator[TaggedAnswer]:
    """The reasoning answers of a data set that have tags."""
    for sample in samples:
        objects = referents(sample.objects)
        for item in sample.reasoning:
            if item.objects:
                first, *parts = item.answer.split(OBJECT_TAG)
                tagged = (f"<OBJ-{index + 1}>{part}" for index, part in zip(item.objects, parts, strict=True))
                yield TaggedAnswer("".join([first, *tagged]), objects, sample.image.size)


def score_tags(answers: Iterable[TaggedAnswer]) -> TagScore:
    """How well the rules set tags again.

    Raises:
        InputError: there is no answer.
    """
    count = expected = placed = right = 0
    for answer in answers:
        wanted = tag_places(answer.answer)
        got = tag_places(place_tags(strip_tags(answer.answer), answer.objects, answer.size).answer)
        count += 1
        expected, placed, right = expected + wanted.total(), placed + got.total(), right + (wanted & got).total()
    if not count:
        raise InputError("There is no answer with tags to score against.")
    return TagScore(count, expected, placed, right)


def tag_places(answer: str) -> Counter[tuple[int, int]]:
    """An answer's tags, each as how many letters, digits and marks stand before it, and its number."""
    places: Counter[tuple[int, int]] = Counter()
    before = start = 0
    for found in TAG.finditer(answer):
        before += len("".join(answer[start : found.start()].split()))
        places[before, int(found[1])] += 1
        start = found.end()
    return places
