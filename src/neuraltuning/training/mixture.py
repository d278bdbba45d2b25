"""Which examples of a sample a step trains on: each task in its share, deterministic from the sample's place.

Several sources are interleaved by their weights; which of them an item comes from is a function of its place too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from neuraltuning.data.sample import Sample
from neuraltuning.data.shuffle import shuffled
from neuraltuning.errors import InputError
from neuraltuning.tasks import Example, get_task
from neuraltuning.training.left_out import LeftOut


class Rows(Protocol):
    """Lists of examples by place, each about one image."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> list[Example]: ...


class Mixture(Dataset[list[Example]]):
    """Item i: the examples of one sample, chosen at random from (seed, i) alone, so that a run can be resumed anywhere.

    A task with the share 2.3 contributes two examples, and a third with probability 0.3, as far as the sample has them.
    No item is empty: where the shares give nothing, one task is drawn by its share, and a sample that offers no example
    of any task is passed over.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        shares: Mapping[str, float],
        seed: int,
        length: int,
        *,
        left_out: LeftOut | None = None,
        fits: Callable[[Example], bool] | None = None,
    ) -> None:
        """Takes samples in a random order, again and again if `length` is larger than their number.

        Args:
            samples: a split.
            shares: task's name -> examples of it an image on average.
            seed: of the order and of the choice.
            length: items in all.
            left_out: where samples are noted, and passed over, that can't be read, or of which nothing fits; without it
                they are errors.
            fits: whether a row has room for an example; others aren't chosen.
        """
        self.samples, self.seed, self.length = samples, seed, length
        self.shares = {name: (get_task(name), share) for name, share in shares.items() if share > 0}
        self.left_out, self.fits = left_out, fits
        self._order = shuffled(samples, seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Example]:
        size = len(self.samples)
        epoch, place = divmod(index, size) if size else (0, 0)
        rng = np.random.default_rng((self.seed, index))
        for further in range(size):
            chosen = self._choose(self._order(epoch, (place + further) % size), rng, index + further + 1)
            if chosen:
                return chosen
        raise InputError(f"No sample offers an example of any task that is asked for ({', '.join(self.shares)}).")

    def _choose(self, place: int, rng: np.random.Generator, seen: int) -> list[Example]:
        sample = read_or_note(self.samples, place, self.left_out, seen)
        if sample is None:
            return []
        chosen: list[Example] = []
        for task, share in self.shares.values():
            wanted = int(share) + int(rng.random() < share % 1.0)
            if wanted:
                chosen += task.examples(sample, rng)[:wanted]
        if not chosen and self.shares:
            tasks, shares = zip(*self.shares.values(), strict=True)
            for number in rng.choice(len(tasks), len(tasks), replace=False, p=np.array(shares) / sum(shares)):
                chosen = chosen or tasks[number].examples(sample, rng)[:1]
        fitting = [example for example in chosen if self.fits is None or self.fits(example)]
        if chosen and not fitting:
            reason = f"{sample.id}: its texts find no room in a row; raise data.row_length."
            if self.left_out is None:
                raise InputError(reason)
            self.left_out.note(place, reason, seen)
        return fitting


class Interleaved(Dataset[list[Example]]):
    """Items of several sources in turn, each as often as its weight says."""

    def __init__(self, parts: Sequence[Rows], weights: Sequence[float], length: int) -> None:
        self.parts, self.weights, self.length = parts, weights, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Example]:
        part, place = interleave(index, self.weights)
        return self.parts[part][place]


class InTurn(Sequence[Sample]):
    """The samples of several sources in turn by their weights, each source from its first sample on."""

    def __init__(
        self, parts: Sequence[Sequence[Sample]], weights: Sequence[float], left_out: Sequence[LeftOut]
    ) -> None:
        self.parts, self.weights, self.left_out = parts, weights, left_out

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        part, place = interleave(index, self.weights)
        samples = self.parts[part]
        for further in range(place, place + len(samples)):
            sample = read_or_note(samples, further % len(samples), self.left_out[part], further + 1)
            if sample is not None:
                return sample
        left_out = self.left_out[part]
        raise InputError(f"No sample of {left_out.source} can be read; the reasons are in {left_out.path}.")


def read_or_note(samples: Sequence[Sample], place: int, left_out: LeftOut | None, seen: int) -> Sample | None:
    """A sample; None where it can't be read, which is noted.

    Raises:
        InputError: it can't be read and there is nowhere to note it, or too many can't.
    """
    try:
        return samples[place]
    except InputError as error:
        if left_out is None:
            raise
        left_out.note(place, str(error), seen)
        return None


def interleave(index: int, weights: Sequence[float]) -> tuple[int, int]:
    """Which source item `index` comes from, and how many earlier ones do.

    Each source has its exact share of any first items, up to one: of w1 and the rest, those items are the first's at
    which floor(i * w1 / (w1 + rest)) grows; the others are shared out in the same way.
    """
    left = [Fraction(weight) for weight in weights]
    for number, weight in enumerate(left[:-1]):
        share = weight / sum(left[number:])
        before = int(index * share)
        if int((index + 1) * share) > before:
            return number, before
        index -= before
    return len(left) - 1, index
