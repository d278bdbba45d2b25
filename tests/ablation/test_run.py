"""Runs of a grid on tiny models: the shared start changes nothing, and scores come with each item's own."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from neuraltuning.ablation import run as maker
from neuraltuning.ablation.page import write_page
from neuraltuning.ablation.results import read_result
from neuraltuning.ablation.run import STARTS
from neuraltuning.ablation.schedule import RUNS, make_all
from neuraltuning.model import MultitaskModel
from neuraltuning.training.run import STAGES, tune
from tests.ablation.conftest import MakeGrid
from tests.training.conftest import stage


def test_a_run_from_the_shared_start_is_the_run_on_its_own(make_grid: MakeGrid, tmp_path: Path) -> None:
    plain, lora = (variant.candidates[0][0] for variant in make_grid().variants)
    for run in (plain, lora):
        maker.train(run.settings, run.name, tmp_path / "out")
        tune(run.settings, tmp_path / run.name)
        ours = MultitaskModel.from_pretrained(tmp_path / "out" / RUNS / run.name).trained_state()
        alone = MultitaskModel.from_pretrained(tmp_path / run.name).trained_state()
        assert ours.keys() == alone.keys()
        for name, tensor in alone.items():
            assert torch.equal(tensor, ours[name]), name
    starts = [path for path in (tmp_path / "out" / STARTS).iterdir() if path.is_dir()]
    assert len(starts) == 1  # both tuners go on from it
    weights = load_file(tmp_path / "out" / RUNS / lora.name / STAGES / "warmup" / "best" / "trained.safetensors")
    assert not any(name.startswith("tuner.") for name in weights)


def test_runs_that_read_before_their_warm_up_share_no_start(make_grid: MakeGrid, tmp_path: Path) -> None:
    reading = stage(2, "tuner", "task_tokens", mixture={"visual_question_answering": 1.0})
    names = {"slots": 90, "vocabulary": 4}
    plain = make_grid(set={"reading": reading, "model.names": names}, seeds=[0]).variants[0].candidates[0][0]
    maker.train(plain.settings, plain.name, tmp_path / "out")
    tune(plain.settings, tmp_path / "alone")
    ours = MultitaskModel.from_pretrained(tmp_path / "out" / RUNS / plain.name).trained_state()
    alone = MultitaskModel.from_pretrained(tmp_path / "alone").trained_state()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in alone.items())
    assert not (tmp_path / "out" / STARTS).exists()


def test_a_whole_grid_ends_in_a_page(make_grid: MakeGrid, results: Path, tmp_path: Path) -> None:
    grid = make_grid(set={"warmup": None}, seeds=[0])
    make_all(grid, maker, tmp_path / "out", results, lambda job, left: None)
    for variant in grid.variants:
        result = read_result(results, variant.candidates[0][0].name)
        assert result is not None
        assert result.validation_loss > 0
        assert 0 < result.trainable_parameters["tuner"] < result.trainable_parameters["all"]
        segmentation, answers = (
            result.splits["test"][task] for task in ("referring_segmentation", "visual_question_answering")
        )
        items = segmentation["items"]
        assert (
            segmentation["scores"]["n"] == len(items["ids"]) == len(items["free"]) == len(items["teacher_forced"]) == 3
        )
        assert "oiou" in segmentation["teacher_forced"]
        assert "oiou" in segmentation["baselines"]["all_objects"]
        assert "teacher_forced" not in answers
    assert "| **LoRA**" in write_page(grid, results, tmp_path / "page.md", "x").read_text()
