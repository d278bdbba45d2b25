"""Looking for what would spoil a training or a score in a data set: `neuraltuning data check`.

Reads every record of every split. Pictures that stand in two splits, as they are or nearly so, leak what is tested into
what is trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from neuraltuning.data.sample import Sample
from neuraltuning.data.store import PATTERN, StoredSamples
from neuraltuning.errors import InputError
from neuraltuning.tasks import get_task, task_names

HASH_SIDE = 8
"""Rows and columns of a difference hash: 64 bits a picture."""
NEAR = 3
"""Bits that the hashes of nearly equal pictures may differ in."""
BANDS = NEAR + 1
"""Parts of a hash: of two that differ in at most `NEAR` bits, one part is equal."""

KINDS = {
    "unreadable": "a record that can't be read; training would stop at it",
    "useless": "an image that no task can learn from",
    "empty_mask": "an object whose mask covers nothing",
    "unused_object": "an object that no phrase and no answer means",
    "duplicate": "a picture that stands twice in a split",
    "leak": "a picture that stands in two splits",
    "near_leak": "a picture that nearly stands in two splits",
}
"""What is looked for -> what it is."""
FATAL = ("unreadable", "empty_mask")
"""What training or scoring would fail on."""


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        kind: one of `KINDS`.
        split: where it was found.
        sample: the sample's id, or its place where it can't be read.
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
    """

    samples: dict[str, int]
    problems: list[Problem]

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """(Kind, split) -> how many."""
        return Counter((problem.kind, problem.split) for problem in self.problems)

    @property
    def fatal(self) -> list[Problem]:
        """What training or scoring would fail on."""
        return [problem for problem in self.problems if problem.kind in FATAL]

    def as_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "problems": [asdict(problem) for problem in self.problems]}


def check(folder: Path) -> Findings:
    """Reads a data set and lists what is wrong with it.

    Raises:
        InputError: the folder holds no data set of `data convert`.
    """
    splits = sorted(p for p in folder.iterdir() if p.is_dir() and any(p.glob(PATTERN))) if folder.is_dir() else []
    if not splits:
        raise InputError(f"{folder} holds no split with {PATTERN}; write it with: neuraltuning data convert.")
    problems: list[Problem] = []
    sizes: dict[str, int] = {}
    pictures = _Pictures()
    for path in splits:
        samples = StoredSamples(path)
        sizes[path.name] = len(samples)
        for place in track(range(len(samples)), f"Checking {path.name}", console=Console(stderr=True)):
            try:
                sample = samples[place]
            except InputError as error:
                problems.append(Problem("unreadable", path.name, f"number {place}", str(error)))
                continue
            problems += [Problem(kind, path.name, sample.id, detail) for kind, detail in _in_sample(sample)]
            problems += [Problem(kind, path.name, sample.id, d) for kind, d in pictures.add(path.name, sample)]
    return Findings(sizes, problems)


def _in_sample(sample: Sample) -> Iterator[tuple[str, str]]:
    rng = np.random.default_rng(0)
    if not any(get_task(name).examples(sample, rng) for name in task_names()):
        yield "useless", "it has no phrase, caption, question or answer"
    meant = {index for question in (*sample.reasoning, *sample.questions) for index in question.objects}
    for index, annotation in enumerate(sample.objects):
        if not annotation.mask.any():
            yield "empty_mask", f"object {index} ({annotation.category})"
        elif not annotation.phrases and index not in meant:
            yield "unused_object", f"object {index} ({annotation.category})"


class _Pictures:
    """The pictures seen so far, by their pixels and by parts of their hashes."""

    def __init__(self) -> None:
        self.equal: dict[bytes, tuple[str, str]] = {}
        # by a part of the hash: hash -> split -> the first sample; plain pictures are many and have one hash
        self.near: dict[tuple[int, int], dict[int, dict[str, str]]] = defaultdict(dict)

    def add(self, split: str, sample: Sample) -> Iterator[tuple[str, str]]:
        """Findings about a picture, against all before it."""
        key = hashlib.sha256(repr(sample.image.size).encode() + sample.image.tobytes()).digest()
        code = difference_hash(sample.image)
        parts = [(band, (code >> (64 // BANDS * band)) & (2 ** (64 // BANDS) - 1)) for band in range(BANDS)]
        if key in self.equal:
            other_split, other = self.equal[key]
            yield ("duplicate", f"as {other}") if other_split == split else ("leak", f"as {other} of {other_split}")
        else:
            near = [seen for part in parts for other, seen in self.near[part].items() if _differ(code, other) <= NEAR]
            found = {name: other for seen in near for name, other in seen.items() if name != split}
            for other_split, other in sorted(found.items())[:1]:
                yield "near_leak", f"nearly as {other} of {other_split}"
        self.equal.setdefault(key, (split, sample.id))
        for part in parts:
            self.near[part].setdefault(code, {}).setdefault(split, sample.id)


def _differ(one: int, other: int) -> int:
    """In how many bits."""
    return (one ^ other).bit_count()


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether a picture, scaled to 9 x 8 grey pixels, grows brighter from each pixel to the next.

    It stays nearly the same when the picture is scaled, compressed or recoloured.
    """
    grey = np.asarray(image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")
