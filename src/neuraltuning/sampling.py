"""Drawing the next token at random, as temperature and top-p say (Holtzman et al. 2020). Knows nothing of models."""

from __future__ import annotations

import torch
from torch import Tensor

from neuraltuning.generate import Choice

LIKELIEST = 512
"""Tokens among which the nucleus is looked for first; sorting a whole vocabulary takes as long as a layer."""


def sampler(temperature: float, top_p: float, seed: int) -> Choice | None:
    """Chooses tokens for one reply, with a generator of its own.

    Args:
        temperature: logits are divided by it; 0 takes the likeliest token, which None stands for.
        top_p: tokens are drawn from the likeliest ones that together have at least this probability, in (0, 1].
        seed: the same one chooses the same from the same logits.
    """
    if temperature == 0.0:
        return None
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor) -> int:
        probabilities = (logits.double().cpu() / temperature).softmax(-1)
        if top_p < 1.0:
            kept, tokens = probabilities.topk(min(LIKELIEST, len(probabilities)))
            if float(kept.sum()) < top_p:
                kept, tokens = probabilities.sort(descending=True)
            kept = kept[kept.cumsum(0) - kept < top_p]
            return int(tokens[torch.multinomial(kept, 1, generator=generator)])
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return choose
