"""What is counted of a data set, and that pictures aren't touched for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from neuraltuning.data import store
from neuraltuning.data.records import to_record
from neuraltuning.data.sample import Expression, QuestionAnswer
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.statistics import MMUD_OBJECTS, Statistics, n_tokens, split_statistics, statistics
from neuraltuning.data.store import StoredSamples
from neuraltuning.errors import InputError
from tests.mmud.data import write_data


def test_tokens_are_words_and_marks() -> None:
    assert n_tokens("The dog's cup <OBJ>, and a café.") == 11
    assert n_tokens("") == 0


def test_everything_is_counted() -> None:
    (scene,) = SceneDataset("train", 1)
    sample = replace(
        scene,
        objects=scene.objects[:1] * 8,
        captions=("A dog.", "A dog sleeps."),
        reasoning=(QuestionAnswer("Which barks?", "The dog <OBJ>.", "", (0,)),),
        questions=(QuestionAnswer("How many?", "1", ""), QuestionAnswer("And cats?", "1", "")),
        expressions=(Expression("the dogs", (0, 1)),),
        license="MIT",
    )
    found = statistics([to_record(sample), to_record(replace(sample, objects=(), reasoning=(), expressions=()))])
    assert found.counts() == {
        "samples": 2,
        "objects": 8,
        "phrases": 8 * len(scene.objects[0].phrases),
        "expressions": 1,
        "captions": 4,
        "reasoning questions": 1,
        "visual questions": 4,
    }
    assert found.caption_lengths == {3: 2, 4: 2}
    assert found.pair_lengths == {7: 1}
    assert found.answers == {"1": 4}
    assert found.licenses == {("MIT", "scenes"): 2}
    assert found.object_shares() == {"0": 1, "1": 0, "2": 0, "3": 0, "4": 0, "5": 0, "6": 0, "> 6": 1}
    assert (found + found).counts() == {what: 2 * count for what, count in found.counts().items()}
    assert list(Statistics().object_shares()) == list(MMUD_OBJECTS)


def test_mmuds_own_numbers_add_up() -> None:
    assert sum(MMUD_OBJECTS.values()) == 36_489


def test_a_damaged_record_is_named() -> None:
    record = {**to_record(SceneDataset("train", 1, seed=0)[0]), "captions": [None]}
    with pytest.raises(InputError, match=f"Sample {record['id']} in there is damaged"):
        statistics([record], "there")


def test_a_stored_split_is_counted_without_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path, train=40)
    monkeypatch.setattr(store, "decode_image", None)
    samples = StoredSamples(tmp_path / "train")
    assert split_statistics(samples) == split_statistics(SceneDataset("train", 40, seed=0))
    assert split_statistics(samples[5:9]).samples == 4
    assert all("mask" not in item for record in samples.texts() for item in record["objects"])
