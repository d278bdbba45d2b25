"""Runs on several sources, and on sources with records that can't be read."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.training.run import tune
from neuraltuning.training.stages import Tuning
from tests.tiny_models import sample
from tests.training.conftest import Make, stage
from tests.training.test_left_out import Broken
from tests.training.test_run import assert_equal_runs, at_step, ctrl_c

SOURCES = {
    "many": {"source": "many", "weight": 2.0},
    "words": {"source": "words", "mixture": {"captioning": 1.0}},
}
SCORED = {"samples": {"many.test": 3}}


class Named(Sequence[Sample]):
    """Squares whose ids begin with their source."""

    def __init__(self, source: str, size: int) -> None:
        self.source, self.size = source, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        one = sample(index)
        return Sample(f"{self.source}-{index}", one.image, one.objects, one.captions, one.reasoning, one.questions)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int | None]]:
    """What was opened: source, split, size."""
    calls: list[tuple[str, str, int | None]] = []

    def open_split(source: str, split: str, seed: int, size: int | None = None) -> Sequence[Sample]:
        calls.append((source, split, size))
        if source == "damaged" and split == "train":
            return Broken(24, {3})
        return Named(source, size or 40)

    monkeypatch.setattr("neuraltuning.training.run.open_split", open_split)
    return calls


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(Sample, task) of all examples that are packed for training steps and validation."""
    seen: list[tuple[str, str]] = []
    collate = Tuning.collate

    def noting(self: Tuning, rows: Sequence[Any]) -> Any:
        seen.extend((example.id.split("/")[0], example.task) for row in rows for example in row)
        return collate(self, rows)

    monkeypatch.setattr(Tuning, "collate", noting)
    return seen


def settings(make: Make, **data: Any) -> Any:
    return make(data={"sources": SOURCES, "row_length": 160, **data}, evaluation=SCORED, validation_samples=6)


def test_sources_come_by_weight_with_their_own_tasks(
    tmp_path: Path, make: Make, opened: list[tuple[str, str, int | None]], trained_on: list[tuple[str, str]]
) -> None:
    tune(settings(make), tmp_path / "run")
    assert opened == [
        ("many", "validation", 4),
        ("words", "validation", 2),
        ("many", "train", None),
        ("words", "train", None),
    ]
    assert {task for name, task in trained_on if name.startswith("words")} == {"captioning"}
    assert {task for name, task in trained_on if name.startswith("many")} > {"captioning"}
    images = list(dict.fromkeys(name for name, _ in trained_on[: len(trained_on) // 2]))
    assert {name.split("-")[0] for name in images} == {"many", "words"}


def test_a_run_on_several_sources_and_workers_goes_on_to_the_same_end(
    tmp_path: Path, make: Make, opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(settings(make), tmp_path / "whole")
    with monkeypatch.context() as patch:
        at_step(patch, Tuning, 2, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune(settings(make, workers=2), tmp_path / "parts")
    tune(settings(make, workers=1, max_left_out=0.5), tmp_path / "parts", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_a_source_without_what_a_stage_learns_from_is_left_to_the_others(
    tmp_path: Path, make: Make, opened: list[tuple[str, str, int | None]]
) -> None:
    tune(
        make(
            data={"sources": SOURCES, "row_length": 160},
            evaluation=SCORED,
            warmup=stage(1, "bridges", "decoders"),
            alignment_images=6,
            steps=1,
        ),
        tmp_path / "run",
    )
    warmup = opened[2:5]  # behind the alignment
    assert {source for source, _, _ in warmup} == {"many"}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_records_are_left_out_and_said(
    tmp_path: Path, make: Make, opened: list[Any], caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    data = {"source": "damaged", "row_length": 160, "workers": workers, "max_left_out": 0.1}
    with caplog.at_level(logging.WARNING, "neuraltuning"):
        tune(make(data=data, alignment_images=6, batch_size=6, steps=4), tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "left_out.jsonl").read_text().splitlines()]
    assert [(r["stage"], r["source"], r["place"]) for r in records] == [
        ("alignment", "damaged", 3),
        ("tuning", "damaged", 3),
    ]
    assert caplog.messages[-1].startswith(
        "Records that could not be used were left out: 1 of damaged. The first: sample 3 is damaged. All are listed in"
    )


def test_too_many_bad_records_end_a_run_with_a_sentence(tmp_path: Path, make: Make, opened: list[Any]) -> None:
    data = {"source": "damaged", "row_length": 160, "max_left_out": 0.001}
    with pytest.raises(InputError, match=r"More than 0\.1% of the records of damaged .* sample 3 is damaged") as caught:
        tune(make(data=data, alignment_images=6), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_an_empty_split_is_refused(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuraltuning.training.run.open_split", lambda source, split, seed, size=None: [])
    with pytest.raises(InputError, match=r"The split validation of squares is empty"):
        tune(make(), tmp_path / "run")
