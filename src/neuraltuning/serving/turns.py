"""Whether a text means something that only the turns before it say: "segment it", "what colour are they?".

For the English that the models here are tuned on. Knows nothing of models.
"""

from __future__ import annotations

import re
from itertools import pairwise

STANDING_IN = {
    *("it", "its", "they", "them", "their", "theirs", "he", "him", "his", "she", "her", "hers"),
    *("same", "other", "others", "another", "else", "former", "latter", "again"),
}
"""Words that stand for something said before, unless it was said in the same sentence."""
POINTING = {"this", "that", "these", "those"}
"""Words that do so where nothing follows; else they point to the picture, or begin a clause."""
FIRST = 4
"""Among so many first words of a sentence, and as its last one, a word hardly means what the same sentence named."""


def refers_back(text: str) -> bool:
    """Whether the first sentence of a text has a word that stands for something said before.

    In later sentences such words mean what the sentences before them named: "Where is the cat? Please mark it."
    """
    sentence = re.split(r"[.!?](?:\s|$)", text.strip(), maxsplit=1)[0].lower()
    words = re.findall(r"\w+", sentence)
    pointed = {word for word, after in pairwise(words) if after in ("one", "ones")}
    return bool(STANDING_IN & {*words[:FIRST], *words[-1:]} or POINTING & {*pointed, *words[-1:]})
