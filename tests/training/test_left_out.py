"""Leaving records out: listed once, shared by all processes, and too many of them are an error."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.tasks import Example
from neuraltuning.training import left_out as module
from neuraltuning.training.left_out import LeftOut, left_out_summary, mark_resumed
from neuraltuning.training.mixture import InTurn, Mixture, interleave
from tests.tiny_models import sample


class Broken(Sequence[Sample]):
    """Samples of which some can't be read."""

    def __init__(self, size: int, bad: set[int]) -> None:
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if index in self.bad:
            raise InputError(f"sample {index} is damaged.")
        return sample(index)


def listed(path: Path) -> list[int]:
    return [json.loads(line)["place"] for line in path.read_text().splitlines()]


def test_a_record_is_listed_once_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "left_out.jsonl"
    mixture = Mixture(Broken(50, {7, 30}), {"captioning": 1}, 0, 150, left_out=LeftOut(path, "tuning", "mine", 50, 0.1))
    with caplog.at_level(logging.WARNING, "neuraltuning"):
        drawn = [mixture[place][0].id.split("/")[0] for place in range(150)]
    assert set(drawn) == {f"squares-{place}" for place in range(50)} - {"squares-7", "squares-30"}
    assert sorted(listed(path)) == [7, 30]
    first = json.loads(path.read_text().splitlines()[0])
    assert first == {
        "stage": "tuning",
        "source": "mine",
        "place": first["place"],
        "reason": f"sample {first['place']} is damaged.",
    }
    assert len(caplog.records) == 1
    said = left_out_summary(path)
    assert said is not None
    assert said.startswith(f"Records that could not be used were left out: 2 of mine. The first: {first['reason']} All")
    assert left_out_summary(tmp_path / "none.jsonl") is None


def test_too_many_are_an_error(tmp_path: Path) -> None:
    """Of a small source all records count, so that one in ten is too many at once."""
    left_out = LeftOut(tmp_path / "l.jsonl", "tuning", "mine", 10, 0.05)
    mixture = Mixture(Broken(10, {3}), {"captioning": 1}, 0, 40, left_out=left_out)
    with pytest.raises(InputError, match=r"More than 5\.0% of the records of mine can't be used \(1 of the") as caught:
        [mixture[place] for place in range(40)]
    assert "\n" not in str(caught.value)
    assert "data.max_left_out" in str(caught.value)


def test_a_share_is_judged_over_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", 100)
    left_out = LeftOut(tmp_path / "l.jsonl", "tuning", "mine", 10_000, 0.02)
    left_out.note(5, "one.", seen=1)
    left_out.note(6, "two.", seen=2)
    left_out.note(5, "one.", seen=3)
    left_out.note(7, "three.", seen=150)
    with pytest.raises(InputError, match=r"4 of the 160"):
        left_out.note(8, "four.", seen=160)


def test_what_one_process_finds_counts_for_all(tmp_path: Path) -> None:
    one, other = (LeftOut(tmp_path / "l.jsonl", "tuning", "mine", 100, 0.02) for _ in range(2))
    one.note(1, "broken.", 1)
    other.note(1, "broken.", 2)
    other.note(2, "broken.", 3)
    assert listed(tmp_path / "l.jsonl") == [1, 2]
    with pytest.raises(InputError):
        one.note(3, "broken.", 4)
    LeftOut(tmp_path / "l.jsonl", "tuning", "other", 100, 0.02).note(1, "broken.", 1)
    LeftOut(tmp_path / "l.jsonl", "warmup", "mine", 100, 0.02).note(1, "broken.", 1)
    assert "3 of mine, 1 of other" in str(left_out_summary(tmp_path / "l.jsonl"))


def test_what_was_found_before_a_run_went_on_is_listed_and_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    LeftOut(path, "tuning", "mine", 100, 0.01).note(1, "broken.", 1)
    mark_resumed(tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()
    mark_resumed(path)
    left_out = LeftOut(path, "tuning", "mine", 100, 0.01)
    left_out.note(2, "broken.", 50)
    assert "2 of mine" in str(left_out_summary(path))
    with pytest.raises(InputError, match="2 of the 51"):
        left_out.note(1, "broken.", 51)


def test_half_a_line_of_a_killed_process_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    LeftOut(path, "tuning", "mine", 100, 1.0).note(1, "broken.", 1)
    path.write_bytes(path.read_bytes() + b'{"stage": "tu')
    LeftOut(path, "tuning", "mine", 100, 1.0).note(2, "broken.", 2)
    assert "2 of mine" in str(left_out_summary(path))


def test_without_a_list_an_unreadable_record_is_an_error() -> None:
    mixture = Mixture(Broken(5, {3}), {"captioning": 1}, 0, 5)
    with pytest.raises(InputError, match="sample 3 is damaged"):
        [mixture[place] for place in range(5)]


def test_texts_that_fit_no_row_are_left_out(tmp_path: Path) -> None:
    def fits(example: Example) -> bool:
        return example.sample is None or example.sample.id != "squares-4"

    left_out = LeftOut(tmp_path / "l.jsonl", "tuning", "mine", 6, 0.5)
    mixture = Mixture(Broken(6, set()), {"referring_segmentation": 1}, 0, 6, left_out=left_out, fits=fits)
    assert all(mixture[place] for place in range(6))
    assert listed(tmp_path / "l.jsonl") == [4]
    assert "data.row_length" in (tmp_path / "l.jsonl").read_text()
    alone = Mixture(Broken(6, set()), {"referring_segmentation": 1}, 0, 6, fits=fits)
    with pytest.raises(InputError, match=r"squares-4.*data\.row_length"):
        [alone[place] for place in range(6)]


def test_samples_in_turn_pass_over_what_can_not_be_read(tmp_path: Path) -> None:
    parts = [Broken(6, {1}), Broken(3, set())]
    notes = [LeftOut(tmp_path / "l.jsonl", "alignment", name, 6, 0.5) for name in ("a", "b")]
    samples = InTurn(parts, (2.0, 1.0), notes)
    assert len(samples) == 9
    shown = [samples[place].id for place in range(9)]
    assert len(shown) == 9
    assert "squares-1" in shown  # the second source's
    assert listed(tmp_path / "l.jsonl") == [1]


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0), (0.1, 0.7, 0.2), (3, 1e-3), (1.0, 2.0, 4.0, 0.5)])
def test_sources_come_by_their_weights_and_skip_nothing(weights: tuple[float, ...]) -> None:
    counts = [0] * len(weights)
    for index in range(3000):
        part, place = interleave(index, weights)
        assert place == counts[part]
        counts[part] += 1
        for number, weight in enumerate(weights):
            assert abs(counts[number] - (index + 1) * weight / sum(weights)) < len(weights)
