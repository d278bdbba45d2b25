"""Which examples of a sample a step trains on: each task in its share, deterministic from the sample's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.tasks import Example, get_task


class Mixture(Dataset[list[Example]]):
    """Item i: the examples of one sample, chosen at random from (seed, i) alone, so that a run can be resumed anywhere.

    A task with the share 2.3 contributes two examples, and a third with probability 0.3, as far as the sample has them.
    No item is empty: where the shares give nothing, one task is drawn by its share, and a sample that offers no example
    of any task is passed over.
    """

    def __init__(self, samples: Sequence[Sample], shares: Mapping[str, float], seed: int, length: int) -> None:
        """Takes samples in a random order, again and again if `length` is larger than their number.

        Args:
            samples: a split.
            shares: task's name -> examples of it an image on average.
            seed: of the order and of the choice.
            length: items in all.
        """
        self.samples, self.seed, self.length = samples, seed, length
        self.shares = {name: (get_task(name), share) for name, share in shares.items() if share > 0}
        self._kept: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Example]:
        epoch, place = divmod(index, len(self.samples))
        order = self._order(epoch)
        rng = np.random.default_rng((self.seed, index))
        for further in range(len(order)):
            chosen = self._choose(self.samples[int(order[(place + further) % len(order)])], rng)
            if chosen:
                return chosen
        raise InputError(f"No sample offers an example of any task that is asked for ({', '.join(self.shares)}).")

    def _choose(self, sample: Sample, rng: np.random.Generator) -> list[Example]:
        chosen: list[Example] = []
        for task, share in self.shares.values():
            wanted = int(share) + int(rng.random() < share % 1.0)
            if wanted:
                chosen += task.examples(sample, rng)[:wanted]
        if not chosen and self.shares:
            tasks, shares = zip(*self.shares.values(), strict=True)
            for place in rng.choice(len(tasks), len(tasks), replace=False, p=np.array(shares) / sum(shares)):
                chosen = chosen or tasks[place].examples(sample, rng)[:1]
        return chosen

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The order of the samples in one epoch, kept for the next call."""
        if self._kept is None or self._kept[0] != epoch:
            self._kept = (epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self.samples)))
        return self._kept[1]
