"""Counting what a data set holds, and the distributions of figure A.7 of the journal paper beside MMUD's own.

Works on texts alone, so that no picture and no mask of a large data set is decoded. Knows nothing of drawing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import track

from neuraltuning.data.records import to_record
from neuraltuning.data.sample import OBJECT_TAG, Sample
from neuraltuning.data.store import StoredSamples
from neuraltuning.errors import InputError

MMUD_OBJECTS = {"1": 7393, "2": 13515, "3": 6022, "4": 3981, "5": 2311, "6": 1386, "> 6": 1881}
"""Objects of a sample -> samples of MMUD (journal paper, figure A.7c)."""
MMUD_CAPTION_LENGTHS = (50, 200)
"""Tokens of most captions of MMUD (journal paper, appendix A.3). The bars of figure A.7a have no published numbers."""
MMUD_PAIR_LENGTHS = (100, 400)
"""Tokens of most reasoning questions with their answers in MMUD (appendix A.3, figure A.7b)."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass
class Statistics:
    """What some samples hold.

    Attributes:
        samples: their number.
        objects: objects of a sample -> samples.
        caption_lengths: tokens of a caption -> captions.
        pair_lengths: tokens of a reasoning question and its answer -> such pairs.
        categories: class name -> objects.
        answers: answer -> visual questions with it.
        phrases: their number.
        expressions: those of several objects, or of none.
        licenses: (licence, source) -> samples.
    """

    samples: int = 0
    objects: Counter[int] = field(default_factory=Counter)
    caption_lengths: Counter[int] = field(default_factory=Counter)
    pair_lengths: Counter[int] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    phrases: int = 0
    expressions: int = 0
    licenses: Counter[tuple[str, str]] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """What there is how often, in words."""
        return {
            "samples": self.samples,
            "objects": self.categories.total(),
            "phrases": self.phrases,
            "expressions": self.expressions,
            "captions": self.caption_lengths.total(),
            "reasoning questions": self.pair_lengths.total(),
            "visual questions": self.answers.total(),
        }

    def object_shares(self) -> dict[str, int]:
        """Objects of a sample -> samples, in the groups of `MMUD_OBJECTS`, and "0" where there are such samples."""
        most = len(MMUD_OBJECTS) - 1
        groups = {"0": self.objects[0]} if self.objects[0] else {}
        groups |= {name: self.objects[int(name)] for name in list(MMUD_OBJECTS)[:most]}
        return groups | {f"> {most}": sum(n for count, n in self.objects.items() if count > most)}

    def __add__(self, other: Statistics) -> Statistics:
        fields = {name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__}
        return Statistics(**fields)


def statistics(records: Iterable[Mapping[str, Any]], where: object = "the data") -> Statistics:
    """Counts records (see `neuraltuning.data.records.to_record`); pictures and masks aren't looked at.

    Args:
        records: to be counted.
        where: they come from, for sentences.

    Raises:
        InputError: a record is damaged.
    """
    found = Statistics()
    for record in records:
        try:
            _count(record, found)
        except (AttributeError, KeyError, TypeError) as error:
            name = record.get("id")
            raise InputError(f"Sample {name} in {where} is damaged ({error}); convert the data set again.") from error
    return found


def _count(record: Mapping[str, Any], found: Statistics) -> None:
    objects = record["objects"]
    found.samples += 1
    found.objects[len(objects)] += 1
    found.categories.update(item["category"] for item in objects)
    found.phrases += sum(len(item["phrases"]) for item in objects)
    found.expressions += len(record.get("expressions") or ())
    found.caption_lengths.update(n_tokens(caption) for caption in record["captions"])
    found.pair_lengths.update(n_tokens(f"{q['question']} {q['answer']}") for q in record["reasoning"])
    found.answers.update(question["answer"] for question in record["questions"])
    found.licenses[record["license"], record["source"]] += 1


def n_tokens(text: str) -> int:
    """Words and punctuation marks of a text, an `<OBJ>` counted as one.

    The paper counts tokens and doesn't say of which tokenizer; those of language models are somewhat more.
    """
    return len(_TOKEN.findall(text.replace(OBJECT_TAG, " OBJ ")))


def split_statistics(samples: Sequence[Sample]) -> Statistics:
    """Counts all samples of a split; a stored one is streamed, others are read one after the other.

    Raises:
        InputError: a record is damaged.
    """

    def counted(records: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        return track(records, "Counting", total=len(samples), console=Console(stderr=True))

    if isinstance(samples, StoredSamples):
        return statistics(counted(samples.texts()), samples.folder)
    return statistics(counted(to_record(sample) for sample in samples))
