"""Grids: which runs they ask for, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuraltuning.ablation.grid import load_grid
from neuraltuning.ablation.schedule import expected_runs
from neuraltuning.errors import InputError
from tests.ablation.conftest import MakeGrid

GRIDS = Path(__file__).parents[2] / "configs" / "grids"


def test_variants_that_come_to_the_same_settings_are_one_run(make_grid: MakeGrid) -> None:
    grid = make_grid(
        variants={
            "plain": {},
            "the same, said": {"set": {"model.tuner.method": "neural_tuning"}},
            "longer": {"set": {"tuning.steps": 3}},
        }
    )
    plain, same, longer = (variant.candidates[0] for variant in grid.variants)
    assert [run.name for run in plain] == [run.name for run in same]
    assert len({run.name for run in (*plain, *longer)}) == 4  # two seeds each
    assert plain[1].settings.seed == 1
    assert longer[0].settings.tuning.steps == 3


def test_what_does_not_change_a_result_does_not_change_its_name(make_grid: MakeGrid) -> None:
    first, second = (
        make_grid(set=changes).variants[0].candidates[0][0].name
        for changes in (
            {},
            {"data.workers": 2, "evaluation.batch_size": 2, "model.tuner.settings.lora": {"r": 3}},
        )
    )
    assert first == second
    assert make_grid(set={"evaluation.samples": {"test": 4}}).variants[0].candidates[0][0].name != first


def test_the_published_runs_are_those_of_the_shipped_grids() -> None:
    """A setting that came later doesn't rename them."""
    asked = {
        run.name
        for path in GRIDS.glob("*.yaml")
        for variant in load_grid(path).variants
        for runs in variant.candidates
        for run in runs
    }
    published = {path.stem for path in (GRIDS.parents[1] / "docs" / "results" / "ablation").glob("*.json")}
    assert len(published) > 20
    assert published <= asked


def test_values_to_choose_from_are_combined(make_grid: MakeGrid) -> None:
    choose = {"tuning.learning_rates.tuner": [1e-3, 1e-2], "tuning.warmup_steps": [0, 1]}
    grid = make_grid(variants={"plain": {"choose": choose}, "LoRA": {"set": {"model.tuner.method": "lora"}}})
    found = [
        (runs[0].settings.tuning.learning_rates["tuner"], runs[0].settings.tuning.warmup_steps)
        for runs in grid.variants[0].candidates
    ]
    assert found == [(1e-3, 0), (1e-3, 1), (1e-2, 0), (1e-2, 1)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"variants": {"plain": {}, "x": {"set": {"tuning.stepps": 3}}}},
            r"variant 'x': there is no key tuning.stepps",
        ),
        (
            {"variants": {"plain": {}, "x": {"set": {"model.tuner.settings.neural_tuning.gamma": 3}}}},
            "variant 'x': neural_tuning has no setting named 'gamma'",
        ),
        (
            {"variants": {"plain": {}, "x": {"set": {"model.tuner.settings.neural_tuning.beta": 3.0}}}},
            "variant 'x': beta must be in",
        ),
        ({"variants": {"plain": {}, "x": {"set": {"seed.of": 3}}}}, "seed is a single value"),
        ({"reference": "none"}, "reference 'none' is none of its variants"),
        ({"task": "dancing"}, "dancing"),
        ({"task": "captioning"}, "captioning is not in the mixture of 'plain'"),
        ({"split": "validation"}, "evaluation.samples names no split 'validation'"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(
    make_grid: MakeGrid, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        make_grid(**changes)


def test_the_published_grid_covers_what_it_promises() -> None:
    grid = load_grid(GRIDS / "ablation.yaml")
    assert grid.settings.seeds == [0, 1, 2]
    assert {"tuner", "modules", "alpha", "beta with four tasks", "beta with one task"} <= set(grid.settings.studies)
    for variant in grid.of_study("tuner").values():
        assert len(variant.candidates) >= 3  # learning rates to choose from


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_grids_are_valid_and_say_how_many_runs_they_are(path: Path) -> None:
    assert f" {expected_runs(load_grid(path))} runs" in path.read_text(encoding="utf-8")
