"""Scenes as a data set: the same everywhere, exact masks, MMUD's object counts, answers that need the image."""

from __future__ import annotations

import hashlib
import pickle
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from neuraltuning.data.sample import OBJECT_TAG, Sample
from neuraltuning.data.scenes import CATEGORIES, SPLIT_SIZES, SceneDataset, categories
from neuraltuning.errors import InputError

_FINGERPRINT = """
import hashlib, sys
from neuraltuning.data.scenes import SceneDataset
from tests.data.scenes.test_dataset import fingerprint
print(fingerprint(SceneDataset("train")[int(sys.argv[1])]))
"""


def fingerprint(sample: Sample) -> str:
    """Returns a digest of everything in the sample."""
    digest = hashlib.sha256(sample.image.tobytes())
    for item in sample.objects:
        digest.update(repr((item.category, item.supercategory, item.box, item.phrases)).encode() + item.mask.tobytes())
    digest.update(repr((sample.id, sample.captions, sample.reasoning, sample.questions)).encode())
    return digest.hexdigest()


def test_a_sample_depends_on_seed_split_and_index_alone() -> None:
    whole = [fingerprint(sample) for sample in SceneDataset("validation", 6)]
    backward = [fingerprint(SceneDataset("validation")[index]) for index in reversed(range(6))]
    assert whole == backward[::-1]
    assert len(set(whole)) == 6
    assert fingerprint(SceneDataset("validation", seed=1)[0]) != whole[0]
    assert fingerprint(SceneDataset("test")[0]) != whole[0]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_generates_the_same(hash_seed: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _FINGERPRINT, "17"],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(path for path in (".", *sys.path) if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == fingerprint(SceneDataset("train")[17])


def test_it_can_be_pickled_and_sliced_and_refuses_what_is_outside() -> None:
    samples = pickle.loads(pickle.dumps(SceneDataset("test", 3, seed=5)))
    assert fingerprint(samples[-1]) == fingerprint(SceneDataset("test", seed=5)[2])
    assert [sample.id for sample in samples[1:]] == ["scenes-test-000001", "scenes-test-000002"]
    with pytest.raises(IndexError):
        samples[3]
    with pytest.raises(InputError, match="no split 'val'"):
        SceneDataset("val")
    with pytest.raises(InputError, match="size -1"):
        SceneDataset("test", -1)


def test_masks_are_disjoint_and_boxes_tight(train_samples: list[Sample]) -> None:
    for sample in train_samples[:300]:
        assert sample.image.size == (224, 224)
        assert sample.image.mode == "RGB"
        masks = np.stack([item.mask for item in sample.objects])
        assert masks.dtype == bool
        assert masks.sum(axis=0).max() == 1
        assert masks.sum(axis=(1, 2)).min() >= 250
        for item in sample.objects:
            rows, columns = np.nonzero(item.mask)
            x, y, width, height = item.box
            assert (columns.min(), rows.min()) == (x, y)
            assert (columns.max() + 1 - x, rows.max() + 1 - y) == (width, height)


def test_masks_cover_what_differs_from_the_background(train_samples: list[Sample]) -> None:
    """On a plain background, nothing outside the masks is fully another color, and little inside is its color."""
    differing = []
    for sample in train_samples:
        if " plain " not in " ".join(sample.captions):
            continue
        pixels = np.asarray(sample.image, dtype=np.int64)
        covered = np.any([item.mask for item in sample.objects], axis=0)
        packed = (pixels @ (65536, 256, 1))[~covered]
        background = pixels[~covered][packed == np.bincount(packed).argmax()][0]
        difference = np.abs(pixels - background).max(axis=-1)
        # Edges that are less than half opaque stay outside: they differ by half of the contrast, two together by more.
        assert difference[~covered].max() <= 192
        assert (difference[~covered] > 128).mean() < 0.001
        differing.append((difference[covered] > 3).mean())
    assert len(differing) > 100
    # White objects on white differ by their outlines alone.
    assert np.median(differing) > 0.99
    assert np.mean(np.array(differing) > 0.9) > 0.9


def test_object_counts_follow_mmud(train_samples: list[Sample]) -> None:
    expected = np.array([7393, 13515, 6022, 3981, 2311, 1386]) / 34608
    counts = np.bincount([len(sample.objects) for sample in train_samples], minlength=7)[1:]
    # Four standard errors of a share among 1,000 samples.
    assert np.abs(counts / len(train_samples) - expected).max() < 4 * np.sqrt(0.25 / len(train_samples))


def test_scenes_often_repeat_a_class(train_samples: list[Sample]) -> None:
    several = [sample for sample in train_samples if len(sample.objects) > 1]
    repeated = sum(max(Counter(item.category for item in sample.objects).values()) > 1 for sample in several)
    assert repeated / len(several) >= 0.4


def test_captions_name_all_objects_and_the_background(train_samples: list[Sample]) -> None:
    plurals = {category.name: category.plural for category in CATEGORIES}
    for sample in train_samples[:300]:
        assert 2 <= len(sample.captions) <= 3
        assert len(set(sample.captions)) == len(sample.captions)
        for caption in sample.captions:
            assert 1 <= caption.count(".") <= 3
            assert len(caption.split()) <= 60
            assert "background" in caption
            for item in sample.objects:
                assert item.category in caption or plurals[item.category] in caption


def test_reasoning_answers_name_and_tag_the_objects(samples_by_split: dict[str, list[Sample]]) -> None:
    for sample in (sample for samples in samples_by_split.values() for sample in samples):
        assert 2 <= len(sample.reasoning) <= 4
        for question in sample.reasoning:
            assert question.question.endswith("?")
            parts = question.answer.split(OBJECT_TAG)
            assert len(parts) - 1 == len(question.objects) == len(set(question.objects)) > 0
            for part, index in zip(parts, question.objects, strict=False):
                name = sample.objects[index].category
                assert re.search(rf"\b{name}\b", part), question
                assert not re.search(rf"\b{name}\b", question.question), question


def test_reasoning_answers_name_the_objects_along_the_axis_of_their_widest_spread(train_samples: list[Sample]) -> None:
    """Masks are scored in the answer's order."""
    several = [(s, q.objects) for s in train_samples for q in s.reasoning if len(q.objects) > 1]
    axes = set()
    for sample, objects in several:
        boxes = [sample.objects[index].box for index in objects]
        centres = np.array([(x + width / 2, y + height / 2) for x, y, width, height in boxes])
        axis = int(np.ptp(centres[:, 1]) > np.ptp(centres[:, 0]))
        assert (np.diff(centres[:, axis]) >= 0).all()
        axes.add(axis)
    assert axes == {0, 1}


def test_a_knowledge_question_is_about_all_objects_of_one_class(train_samples: list[Sample]) -> None:
    for sample in train_samples:
        for question in sample.reasoning:
            if question.kind == "knowledge":
                (name,) = {sample.objects[index].category for index in question.objects}
                assert sum(item.category == name for item in sample.objects) == len(question.objects)


def test_questions_cannot_be_answered_by_guessing(train_samples: list[Sample]) -> None:
    answers: dict[str, Counter[str]] = {}
    for sample in train_samples:
        assert 3 <= len(sample.questions) <= 6
        for question in sample.questions:
            assert OBJECT_TAG not in question.answer
            assert len(question.answer.split()) <= 3
            answers.setdefault(question.kind, Counter())[question.answer] += 1
    most_frequent = {kind: counts.most_common(1)[0][1] / counts.total() for kind, counts in answers.items()}
    assert most_frequent.keys() == {"count", "color", "yes_no", "where"}
    assert most_frequent["count"] < 0.4
    assert most_frequent["color"] < 0.2
    assert most_frequent["yes_no"] < 0.55
    assert most_frequent["where"] < 0.15


def test_counts_and_existence_are_true(train_samples: list[Sample]) -> None:
    names = {category.plural: category.name for category in CATEGORIES}
    articles = {f"{category.article} {category.name}": category.name for category in CATEGORIES}
    checked = 0
    for sample in train_samples:
        present = Counter(item.category for item in sample.objects)
        for question in sample.questions:
            text = question.question
            if counted := re.fullmatch(r"How many (.+?) (?:are there|can you see|are in the picture)\?", text):
                number = len(sample.objects) if counted[1] == "objects" else present[names[counted[1]]]
                assert question.answer == str(number)
                checked += 1
            elif there := re.fullmatch(
                r"(?:Is there|Can you see|Does the image show) (.+?)(?: in the picture)?\?", text
            ):
                assert question.answer == ("yes" if present[articles[there[1]]] else "no")
                checked += 1
    assert checked > 1000


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_splits_keep_their_classes_apart(split: str, samples_by_split: dict[str, list[Sample]]) -> None:
    """No text of a split mentions a class of the other side, and no image holds one."""
    allowed = {category.name for category in categories(split)}
    foreign = [category for category in CATEGORIES if category.name not in allowed]
    pattern = re.compile("|".join(rf"\b{name}\b" for category in foreign for name in (category.name, category.plural)))
    for sample in samples_by_split[split]:
        assert {item.category for item in sample.objects} <= allowed
        if split != "test_classes":
            found = pattern.search(_all_text(sample))
            assert found is None, (sample.id, found)


def test_the_wordings_of_test_wordings_are_used_nowhere_else(samples_by_split: dict[str, list[Sample]]) -> None:
    """With class names, colors and places taken out, no question of the split has a frame or fact of another split."""
    held_out = {
        _frame(question.question) for sample in samples_by_split["test_wordings"] for question in sample.questions
    }
    others = {
        _frame(question.question)
        for split, samples in samples_by_split.items()
        if split != "test_wordings"
        for sample in samples
        for question in sample.questions
    }
    assert held_out.isdisjoint(others)
    facts = {wording for category in CATEGORIES for fact in category.facts for wording in (fact.trained,)}
    for sample in samples_by_split["test_wordings"]:
        for question in sample.reasoning:
            assert not any(fact in question.question for fact in facts)
    seen = {question.question for sample in samples_by_split["train"] for question in sample.reasoning}
    asked = {question.question for sample in samples_by_split["test_wordings"] for question in sample.reasoning}
    assert seen.isdisjoint(asked)


def _frame(question: str) -> str:
    names = sorted(
        (name for category in CATEGORIES for name in (category.name, category.plural)), key=len, reverse=True
    )
    question = re.sub(
        "|".join(rf"\b(?:an? |the )?{name}\b" for name in [*names, "background", "objects"]), "X", question
    )
    return re.sub(r"\b(?:above|below|to the (?:left|right) of|in the \w+ \w+ corner) ?X?", "Y", question)


def _all_text(sample: Sample) -> str:
    texts = [phrase.text for item in sample.objects for phrase in item.phrases]
    texts += [
        text for question in (*sample.reasoning, *sample.questions) for text in (question.question, question.answer)
    ]
    return "\n".join([*texts, *sample.captions])
