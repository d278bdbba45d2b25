"""Every referring phrase is true of its object and of no other, says a reader that shares no code with its writer."""

from __future__ import annotations

import re
from collections import Counter

from neuraltuning.data.sample import OBJECT_TAG, PHRASE_KINDS, Sample
from tests.data.scenes.phrase_reader import referents


def test_each_phrase_refers_to_exactly_its_object(samples_by_split: dict[str, list[Sample]]) -> None:
    checked: Counter[str] = Counter()
    for sample in (sample for samples in samples_by_split.values() for sample in samples):
        for index, item in enumerate(sample.objects):
            for phrase in item.phrases:
                assert referents(sample, phrase.text) == [index], (sample.id, phrase.text)
                checked[phrase.kind] += 1
    assert set(checked) == set(PHRASE_KINDS)
    assert min(checked.values()) > 100


def test_every_object_can_be_named_and_no_phrase_is_shared(samples_by_split: dict[str, list[Sample]]) -> None:
    for sample in (sample for samples in samples_by_split.values() for sample in samples):
        texts = [phrase.text for item in sample.objects for phrase in item.phrases]
        assert len(texts) == len(set(texts))
        assert all(item.phrases for item in sample.objects)


def test_at_least_two_fifths_of_the_phrases_need_more_than_the_class(train_samples: list[Sample]) -> None:
    """The share under a uniform choice of an object, then of a kind among those the object has."""
    shares: Counter[str] = Counter()
    for item in (item for sample in train_samples for item in sample.objects):
        kinds = {phrase.kind for phrase in item.phrases}
        for kind in kinds:
            shares[kind] += 1 / len(kinds)  # type: ignore[assignment]
    assert 1 - shares["class"] / sum(shares.values()) >= 0.4


def test_a_class_phrase_is_given_only_to_the_one_object_of_its_class(train_samples: list[Sample]) -> None:
    for sample in train_samples:
        counts = Counter(item.category for item in sample.objects)
        for item in sample.objects:
            assert any(phrase.kind == "class" for phrase in item.phrases) == (counts[item.category] == 1)


def mentions(sample: Sample) -> list[tuple[int, str]]:
    """What the answers to reasoning questions call which object."""
    found = []
    for question in sample.reasoning:
        parts = [re.sub(r"^(,|\s|and )*", "", part).strip().lower() for part in question.answer.split(OBJECT_TAG)[:-1]]
        found += list(zip(question.objects, parts, strict=True))
    return found


def test_answers_name_an_object_by_its_place_if_class_and_colour_do_not_tell_it(train_samples: list[Sample]) -> None:
    """In one way: else which of several true phrases comes is left to chance, and no reader can learn it."""
    by_place = 0
    for sample in train_samples:
        names: dict[int, str] = {}
        for index, name in mentions(sample):
            assert names.setdefault(index, name) == name
            assert referents(sample, name) == [index], (sample.id, name)
        for index, name in names.items():
            item = sample.objects[index]
            texts = {
                kind: [p.text for p in item.phrases if p.kind == kind] for kind in ("class", "attribute", "position")
            }
            if texts["class"] or texts["attribute"]:
                continue
            if any(item.category in text for text in texts["position"]):
                assert re.search(r"\b(left|right|upper|lower|\w+most|lowest|middle|from the|corner)\b", name), name
                by_place += 1
    assert by_place > 50
