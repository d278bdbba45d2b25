"""Which objects a mention means: by names, phrases, place, size, relations, and what was said before.

Where several objects are left that it could be, it stays unclear. Knows nothing of tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from neuraltuning.mmud.asserted import is_asserted, is_predicate
from neuraltuning.mmud.layout import MARGIN, Layout
from neuraltuning.mmud.mentions import Mention, directions, find_mentions
from neuraltuning.mmud.referents import CLASS, Referent, stem
from neuraltuning.mmud.vocabulary import (
    ARTICLES,
    COLOURS,
    FUNCTION_WORDS,
    LARGE,
    ORDINALS,
    PAIRS,
    PEOPLE,
    PLACES,
    SMALL,
)
from neuraltuning.mmud.words import Word, is_unchanged, word_set

_SIZE_RATIO = 1.2
"""How much larger than the next an object has to be."""
_RELATED_WEIGHT = 0.3
"""What a word counts that a phrase says of something beside the object, against one of the object itself."""
_AGES = word_set("baby young younger youngest adult grown old older oldest mature")
_TALL = word_set("tall taller tallest short shorter shortest")
_SENTENCE_PARTS = word_set(", ; . ! ? while whereas but")
_BESIDE = word_set("beside behind around")
_HAVING = word_set("holding riding")
_RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "on the left of", "left of"),
    "right": ("to the right of", "on the right of", "right of"),
    "top": ("above", "over"),
    "bottom": ("below", "under", "beneath", "underneath"),
    "near": (
        *("next to", "near", "beside", "by", "closest to", "nearest to", "close to", "on top of", "on", "with", "in"),
        *_HAVING,
    ),
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a mention means.

    Attributes:
        mention: it; its end may have moved behind more words than were found at first.
        numbers: of the objects, from 1 on; empty where it is unclear.
    """

    mention: Mention
    numbers: tuple[int, ...]


def resolve(words: Sequence[Word], referents: Sequence[Referent], size: tuple[int, int]) -> list[Meaning]:
    """What each mention in an answer means, in the text's order; mentions of nothing that is annotated are left out.

    Args:
        words: of the answer.
        referents: the objects.
        size: width and height of the image.
    """
    return _Resolver(words, referents, Layout(size)).run()


class _Resolver:
    def __init__(self, words: Sequence[Word], referents: Sequence[Referent], layout: Layout) -> None:
        self.words, self.referents, self.layout = words, referents, layout
        self.texts = [word.text for word in words]
        names = {name for referent in referents for name in referent.names}
        if any(referent.is_person for referent in referents):
            names |= PEOPLE | PAIRS.keys()
        self.mentions = find_mentions(words, names) if names else []
        self.meanings: list[Meaning] = []

    def run(self) -> list[Meaning]:
        for place, mention in enumerate(self.mentions):
            earlier = self.mentions[:place]
            if mention.chosen and is_predicate(self.texts, mention, earlier):
                mention = replace(mention, many=True, chosen=False, modifiers=())  # "is the bigger of the two dogs"
            elif not is_asserted(self.texts, mention, earlier, is_unchanged(mention.name or "one")):
                continue
            names = [mention.name] if mention.name else self._said_names()
            found = [meaning for name in names if (meaning := self._as(name, mention, place)) is not None]
            self.meanings += sorted(found, key=lambda meaning: not meaning.numbers)[:1]
        return self.meanings

    def _said_names(self) -> list[str]:
        """The names that "the one" may stand for, the last one first; each means more than one object."""
        names = dict.fromkeys(meaning.mention.name for meaning in reversed(self.meanings))
        return [name for name in names if sum(referent.fit(name) > 0 for referent in self.referents) > 1]

    def _as(self, name: str, mention: Mention, place: int) -> Meaning | None:
        """What a mention means under a name; None: nothing that is annotated."""
        fits = {referent: referent.fit(name) for referent in self.referents}
        candidates = [r for r, fit in fits.items() if fit and not r.contradicts(frozenset(mention.modifiers))]
        if not candidates:
            return None
        if mention.many:
            return self._several(mention, candidates, fits)
        return self._one(mention, candidates, fits, place)

    # ---------------------------------------------------------------------------------------------------- several

    def _several(self, mention: Mention, candidates: list[Referent], fits: dict[Referent, int]) -> Meaning | None:
        sure = [referent for referent in candidates if fits[referent] >= CLASS]
        groups = [sure, candidates] if mention.count is not None or not sure else [sure]
        for group in groups:
            if chosen := self._group(mention, group):
                return self._meaning(mention, chosen)
        return Meaning(mention, ()) if len(candidates) > 1 else None

    def _group(self, mention: Mention, group: list[Referent]) -> list[Referent]:
        """The objects that "the two dogs on the left" means; none where the number doesn't fit."""
        count, where = mention.count, mention.directions
        if "other" in mention.modifiers:
            group = [referent for referent in group if referent.number not in self._said_alone()]
        if "both" in mention.modifiers and len(group) > 2:  # "the dogs on both sides"
            row = self.layout.ranked(group, {"left"})
            return [row[0], row[-1]]
        if count is None:
            if where and where <= {"left", "right"} and len(group) > 2:
                group = [referent for referent in group if (self.layout.x(referent) < 0.5) == ("left" in where)]
            only_one = len(group) == 1 and not group[0].may_be_several and not is_unchanged(mention.name)
            return [] if only_one else group
        if where and count < len(group):
            row = self.layout.ranked(group, where)
            inner, outer = (self.layout.outwardness(row[place], where) for place in (count, count - 1))
            return row[:count] if outer - inner > MARGIN else []
        if len(group) == count + 1 and _BESIDE & set(self.texts[mention.end : mention.end + 1]):
            group = [referent for referent in group if referent.number != self._said_last(group)]
        return group if len(group) == count else []

    # -------------------------------------------------------------------------------------------------------- one

    def _one(
        self, mention: Mention, candidates: list[Referent], fits: dict[Referent, int], place: int
    ) -> Meaning | None:
        best = max(fits[referent] for referent in candidates)
        if not mention.chosen:
            candidates = [referent for referent in candidates if fits[referent] == best]
        said = self._said_alone()
        new = mention.determiner in ARTICLES | {"another"}
        if new or "other" in mention.modifiers:
            candidates = [referent for referent in candidates if referent.number not in said]
        if not candidates or (mention.determiner == "another" and not said):
            return None
        if len(candidates) == 1:
            only_of_its_kind = list(fits.values()).count(best) == 1
            if only_of_its_kind and self.layout.contradicts(candidates[0], mention.directions):
                return None
            if only_of_its_kind and new and set(mention.modifiers) & ORDINALS.keys():
                return None  # "a second umbrella"
            return self._meaning(mention, candidates)
        rules: tuple[Callable[[], Referent | None], ...] = (
            lambda: self._by_phrase(mention, candidates),
            lambda: self._by_words(mention.modifiers, candidates),
            lambda: self._by_place(mention.modifiers, candidates),
            lambda: self._by_size(mention.modifiers, candidates),
            lambda: self._by_relation(mention, candidates, place),
            lambda: self._by_predicate(mention, candidates),
            lambda: None if new else self._by_discourse(mention, candidates),
        )
        chosen = next((found for rule in rules if (found := rule()) is not None), None)
        return Meaning(mention, ()) if chosen is None else self._meaning(mention, [chosen])

    def _by_phrase(self, mention: Mention, candidates: list[Referent]) -> Referent | None:
        matched = [referent for referent in candidates if self._phrase_end(mention, referent) > mention.stop]
        return matched[0] if len(matched) == 1 else None

    def _by_words(self, said: Sequence[str], candidates: list[Referent]) -> Referent | None:
        stems = {stem(word) for word in said if word not in FUNCTION_WORDS}
        common = frozenset.intersection(*(referent.words for referent in candidates))

        def agreement(referent: Referent) -> float:
            return len(stems & (referent.words - common)) + _RELATED_WEIGHT * len(stems & referent.related)

        return _clear_best(candidates, agreement, _RELATED_WEIGHT / 2)

    def _by_place(self, said: Sequence[str], candidates: list[Referent]) -> Referent | None:
        where = directions(said)
        if not where:
            return None
        rank = next((ORDINALS[word] for word in said if word in ORDINALS and "from" in said), None)
        if rank is not None:
            return self.layout.ranked(candidates, where)[rank - 1] if rank <= len(candidates) else None
        if where == {"middle"} and len(candidates) % 2:
            return self.layout.middle(candidates)
        return _clear_best(candidates, lambda referent: self.layout.outwardness(referent, where), MARGIN)

    def _by_size(self, said: Sequence[str], candidates: list[Referent]) -> Referent | None:
        small, large = SMALL.intersection(said) - _AGES, LARGE.intersection(said) - _AGES
        if bool(small) == bool(large):
            return None
        tall = (small | large) <= _TALL

        def extent(referent: Referent) -> float:
            return max(referent.box[3] if tall else referent.box[2] * referent.box[3], 1e-9)

        first, second = sorted(candidates, key=extent, reverse=bool(large))[:2]
        ratio = extent(first) / extent(second)
        return first if max(ratio, 1 / ratio) >= _SIZE_RATIO else None

    def _by_relation(self, mention: Mention, candidates: list[Referent], place: int) -> Referent | None:
        """By what it stands to: "the man sitting next to the bus"."""
        start = mention.end
        if self.texts[start : start + 1] and self.texts[start].endswith(("ing", "ed")):
            start += self.texts[start] not in _HAVING
        following = " ".join(self.texts[start : start + 5]) + " "
        for relation, spellings in _RELATIONS.items():
            for spelling in spellings:
                if following.startswith(spelling + " "):
                    begin = start + len(spelling.split())
                    names = [other.name for other in self.mentions[place + 1 :] if other.start == begin]
                    anchors = [r for r in self.referents if names and r.fit(names[0]) and r not in candidates]
                    return self._related(candidates, relation, anchors[0]) if len(anchors) == 1 else None
        return None

    def _related(self, candidates: list[Referent], relation: str, anchor: Referent) -> Referent | None:
        if relation != "near":
            border = self.layout.outwardness(anchor, [relation]) + MARGIN / 2
            candidates = [r for r in candidates if self.layout.outwardness(r, [relation]) > border]
        return _clear_best(candidates, lambda referent: -self.layout.gap(referent, anchor), MARGIN)

    def _by_predicate(self, mention: Mention, candidates: list[Referent]) -> Referent | None:
        """By what the sentence says of it: "One man is wearing a hat", for the phrase "man with hat"."""
        borders = _SENTENCE_PARTS | {name for referent in candidates for name in referent.names}
        said: list[str] = []
        for text in self.texts[mention.end :]:
            if text in borders:
                break
            said += [text] * (text not in PLACES)
        colours = frozenset(text for text in said if text in COLOURS)
        possible = [referent for referent in candidates if not referent.contradicts(colours)]
        if len(possible) == 1 and {COLOURS[word] for word in colours} & possible[0].words:
            return possible[0]
        if len(possible) < 2:
            return None
        return self._by_place(mention.said_place, possible) or self._by_words(said, possible)

    def _by_discourse(self, mention: Mention, candidates: list[Referent]) -> Referent | None:
        """The one that was mentioned before, or in the same sentence."""
        if mention.modifiers or not mention.name:
            return None
        numbers = {referent.number for referent in candidates}
        alone = [meaning for meaning in self.meanings if len(meaning.numbers) == 1]
        said = [meaning for meaning in alone if numbers.issuperset(meaning.numbers)]
        if not said:
            return None
        sentences = [self.words[other.head].sentence for other in (said[-1].mention, mention)]
        if len({meaning.numbers for meaning in said}) > 1 and sentences[0] != sentences[1]:
            return None
        return next(referent for referent in candidates if referent.number in said[-1].numbers)

    def _said_alone(self) -> list[int]:
        """The numbers of the objects that a mention meant alone, in the text's order."""
        return [meaning.numbers[0] for meaning in self.meanings if len(meaning.numbers) == 1]

    def _said_last(self, group: Sequence[Referent]) -> int | None:
        numbers = {referent.number for referent in group}
        return next((number for number in reversed(self._said_alone()) if number in numbers), None)

    # -------------------------------------------------------------------------------------------------------- ends

    def _meaning(self, mention: Mention, chosen: list[Referent]) -> Meaning:
        end = mention.end
        if len(chosen) == 1:
            end = max(end, self._phrase_end(mention, chosen[0]))
        if any(mention.stop <= other.head < end for other in self.mentions):
            end = mention.stop  # "the man in the red tie", where the tie has its own tag
        return Meaning(replace(mention, end=end), tuple(sorted(referent.number for referent in chosen)))

    def _phrase_end(self, mention: Mention, referent: Referent) -> int:
        """The place behind words that follow a noun as in one of the object's phrases: "the man | with the glasses"."""
        furthest = mention.stop
        for phrase in referent.phrases:
            noun = next((place for place, word in enumerate(phrase) if word in referent.heads), len(phrase))
            rest = list(phrase[noun + 1 :])
            end = mention.stop
            while rest and end < len(self.texts) and self.texts[end] in (*ARTICLES, "the", rest[0]):
                rest = rest[self.texts[end] == rest[0] :]
                end += 1
            if not rest:
                furthest = max(furthest, end)
        return furthest


def _clear_best(candidates: Sequence[Referent], score: Callable[[Referent], float], margin: float) -> Referent | None:
    """The candidate with the highest score, if the next one's is lower by a margin."""
    row = sorted(candidates, key=score, reverse=True)
    if not row or (len(row) > 1 and score(row[0]) - score(row[1]) <= margin):
        return None
    return row[0]
