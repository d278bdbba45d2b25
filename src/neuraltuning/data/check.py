"""Looking for what would spoil a training or a score in a data set: `neuraltuning data check`.

Reads every record of every split. Pictures that stand in two splits, as they are or nearly so, leak what is tested into
what is trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track

from neuraltuning.data.location import Location
from neuraltuning.data.near_duplicates import NearPictures, difference_hash
from neuraltuning.data.records import MaskSizeError
from neuraltuning.data.sample import OBJECT_TAG, Sample, TagError
from neuraltuning.data.shards import MANIFEST, read_manifest
from neuraltuning.data.store import open_stored, split_names
from neuraltuning.errors import InputError
from neuraltuning.tasks import get_task, task_names

if TYPE_CHECKING:
    from neuraltuning.packing import Packer

KINDS = {
    "unreadable": "a record that can't be read",
    "mask_size": "a mask of another size than its image",
    "tag_without_object": f"an answer with more {OBJECT_TAG} than objects",
    "object_without_tag": f"an answer with fewer {OBJECT_TAG} than objects",
    "stray_tag": f"an {OBJECT_TAG} in a text whose tags mean no objects",
    "too_long": "a sample with a text that finds no room in a row",
    "cut_off": "an image whose objects' polygons reached out of it, and were cut off",
    "useless": "an image that no task can learn from",
    "empty_mask": "an object whose mask covers nothing",
    "unused_object": "an object that no phrase and no answer means",
    "duplicate": "a picture that stands twice in a split",
    "leak": "a picture that stands in two splits",
    "near_leak": "a picture that nearly stands in two splits",
}
"""What is looked for -> what it is."""
FATAL = ("unreadable", "mask_size", "tag_without_object", "object_without_tag", "empty_mask")
"""What training or scoring would fail on."""


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        kind: one of `KINDS`.
        split: where it was found.
        sample: the sample's id, its place where it can't be read, or "all" where the whole split can't.
        detail: what was found.
    """

    kind: str
    split: str
    sample: str
    detail: str


@dataclass(frozen=True)
class Findings:
    """What a check found.

    Attributes:
        samples: split -> its number of samples.
        problems: in the order of the records.
        max_left_out: share of a split's samples with a text that is too long from which on training may fail.
    """

    samples: dict[str, int]
    problems: list[Problem]
    max_left_out: float = 1.0

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """(Kind, split) -> how many."""
        return Counter((problem.kind, problem.split) for problem in self.problems)

    @property
    def fatal(self) -> list[Problem]:
        """What training or scoring would fail on."""
        too_long = {s for s, n in self.samples.items() if self.counts["too_long", s] > self.max_left_out * n}
        return [p for p in self.problems if p.kind in FATAL or (p.kind == "too_long" and p.split in too_long)]

    def as_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "problems": [asdict(problem) for problem in self.problems]}


def check(source: str | Path, packer: Packer | None = None, max_left_out: float = 1.0) -> Findings:
    """Reads a data set and lists what is wrong with it.

    Args:
        source: its folder or address.
        packer: of the model and the rows that the texts have to fit; without one their length isn't looked at.
        max_left_out: see `Findings`.

    Raises:
        InputError: the folder holds no data set of `data convert`, or the address can't be reached.
    """
    problems: list[Problem] = []
    sizes: dict[str, int] = {}
    pictures = _Pictures()
    manifest = read_manifest(Location(source))
    there = split_names(source)
    for name in (*there, *(name for name in (manifest.splits if manifest else ()) if name not in there)):
        sizes[name] = 0
        try:
            samples = open_stored(source, name)
        except InputError as error:
            problems.append(Problem("unreadable", name, "all", str(error)))
            continue
        if samples is None:
            problems.append(Problem("unreadable", name, "all", f"{MANIFEST} names the split, and its folder is gone"))
            continue
        if manifest is not None and name in manifest.splits:
            cut_off = manifest.splits[name].cut_off
            problems += [Problem("cut_off", name, sample, f"of {count} objects") for sample, count in cut_off.items()]
        sizes[name] = len(samples)
        for place in track(range(len(samples)), f"Checking {name}", console=Console(stderr=True)):
            try:
                sample = samples[place]
            except InputError as error:
                problems.append(Problem(_kind(error), name, f"number {place}", str(error)))
                continue
            problems += [Problem(kind, name, sample.id, detail) for kind, detail in _in_sample(sample, packer)]
            problems += [Problem(kind, name, sample.id, d) for kind, d in pictures.add(name, sample)]
    return Findings(sizes, problems, max_left_out)


def _kind(error: InputError) -> str:
    """What kind of finding a record is that can't be read."""
    if isinstance(error.__cause__, MaskSizeError):
        return "mask_size"
    if isinstance(error.__cause__, TagError):
        return "tag_without_object" if error.__cause__.surplus > 0 else "object_without_tag"
    return "unreadable"


def _in_sample(sample: Sample, packer: Packer | None) -> Iterator[tuple[str, str]]:
    rng = np.random.default_rng(0)
    examples = [example for name in task_names() for example in get_task(name).examples(sample, rng)]
    if not examples:
        yield "useless", "it has no phrase, caption, question or answer"
    if packer is not None and not all(map(packer.fits, examples)):
        longest = max(examples, key=packer.length)
        yield "too_long", f"{longest.task}: {packer.length(longest)} positions, a row has {packer.row_length}"
    texts = [phrase.text for item in sample.objects for phrase in item.phrases]
    texts += [*sample.captions, *(expression.text for expression in sample.expressions)]
    texts += [question.question for question in (*sample.reasoning, *sample.questions)]
    for text in texts:
        if OBJECT_TAG in text:
            yield "stray_tag", repr(text)
    meant = {index for question in (*sample.reasoning, *sample.questions) for index in question.objects}
    meant |= {index for expression in sample.expressions for index in expression.objects}
    for index, annotation in enumerate(sample.objects):
        if not annotation.mask.any():
            yield "empty_mask", f"object {index} ({annotation.category})"
        elif not annotation.phrases and index not in meant:
            yield "unused_object", f"object {index} ({annotation.category})"


class _Pictures:
    """The pictures seen so far, by their pixels and by their hashes."""

    def __init__(self) -> None:
        self.equal: dict[bytes, tuple[str, str]] = {}
        self.near: NearPictures[dict[str, str]] = NearPictures(dict)  # split -> its first sample

    def add(self, split: str, sample: Sample) -> Iterator[tuple[str, str]]:
        """Findings about a picture, against all before it."""
        key = hashlib.sha256(repr(sample.image.size).encode() + sample.image.tobytes()).digest()
        code = difference_hash(sample.image)
        if key in self.equal:
            other_split, other = self.equal[key]
            yield ("duplicate", f"as {other}") if other_split == split else ("leak", f"as {other} of {other_split}")
        else:
            found = {name: other for seen in self.near.near(code) for name, other in seen.items() if name != split}
            for other_split, other in sorted(found.items())[:1]:
                yield "near_leak", f"nearly as {other} of {other_split}"
        self.equal.setdefault(key, (split, sample.id))
        self.near.at(code).setdefault(split, sample.id)
