"""Comparisons of results, the verdicts, and the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuraltuning.ablation.comparison import compare_study, verdict
from neuraltuning.ablation.grid import Direction, Grid
from neuraltuning.ablation.page import write_page
from neuraltuning.ablation.results import Result, write_result
from neuraltuning.ablation.significance import PairedDifference
from neuraltuning.errors import InputError
from tests.ablation.conftest import MakeGrid

TASK = "referring_segmentation"


def save(
    results: Path, name: str, values: list[float], *, forced: list[float] | None = None, loss: float = 1.0
) -> None:
    """A result whose items have these IoUs, and whose oIoU is their mean."""

    def record(items: list[float]) -> dict[str, Any]:
        return {"oiou": float(np.mean(items)), "n": len(items)}

    ways = {"free": values, **({} if forced is None else {"teacher_forced": forced})}
    scored = {
        "scores": record(values),
        **({} if forced is None else {"teacher_forced": record(forced)}),
        "baselines": {"all_objects": {"oiou": 0.25}},
        "items": {"ids": [f"item-{k}" for k in range(len(values))], **ways},
    }
    answers = {"scores": {"accuracy": 0.5, "n": 2}, "baselines": {}, "items": {"ids": [], "free": []}}
    machine = {"threads": 2, "device": "cpu", "dtype": "float32", "versions": {}}
    parameters = {"tuner": 5_190_000, "all": 9_000_000}
    splits = {"test": {TASK: scored, "visual_question_answering": answers}}
    write_result(results, Result(name, {}, loss, parameters, {"training": 1800.0}, machine, splits))


def fill(grid: Grid, results: Path, lower: float = 0.2) -> None:
    rng = np.random.default_rng(0)
    plain, lora = grid.variants
    for ours, theirs in zip(plain.candidates[0], lora.candidates[0], strict=True):
        values = rng.uniform(0.4, 0.9, 30)
        save(results, ours.name, values.tolist(), forced=values.tolist())
        save(results, theirs.name, (values - lower).tolist(), forced=values[::-1].tolist())


def test_variants_are_compared_with_the_reference_on_the_same_items(make_grid: MakeGrid, results: Path) -> None:
    grid = make_grid()
    fill(grid, results)
    reference, lora = compare_study(grid, "rate", results)
    assert (reference.name, reference.differences, reference.seeds) == ("plain", {}, (0, 1))
    assert lora.differences["free"].mean == pytest.approx(-0.2)
    assert lora.verdicts["free"] == "reproduced"
    assert lora.verdicts["teacher_forced"] == "undecided"
    assert lora.scores[TASK].mean == pytest.approx(reference.scores[TASK].mean - 0.2)
    assert reference.scores[TASK].deviation == pytest.approx(np.std(reference.scores[TASK].values, ddof=1))
    assert lora.scores["visual_question_answering"].values == (0.5, 0.5)


@pytest.mark.parametrize(
    ("interval", "expected", "said"),
    [
        ((-0.2, -0.1), "lower", "reproduced"),
        ((-0.2, -0.1), "higher", "not reproduced"),
        ((-0.2, -0.1), "equal", "not reproduced"),
        ((-0.2, -0.1), None, "lower"),
        ((0.1, 0.2), "higher", "reproduced"),
        ((-0.1, 0.2), "higher", "undecided"),
        ((-0.1, 0.2), "equal", "reproduced"),
        ((-0.1, 0.2), None, "no difference shown"),
    ],
)
def test_verdicts(interval: tuple[float, float], expected: Direction | None, said: str) -> None:
    assert verdict(PairedDifference(0.0, interval, 0.5, (0.0, 0.0), 9, 2), expected) == said


def test_one_seed_decides_nothing() -> None:
    assert verdict(PairedDifference(0.3, (0.2, 0.4), 0.001, (0.3,), 9, 1), "higher") == "undecided (one seed)"


def test_results_on_different_items_are_not_compared(make_grid: MakeGrid, results: Path) -> None:
    grid = make_grid()
    plain, lora = grid.variants
    save(results, plain.candidates[0][0].name, [0.5, 0.6])
    save(results, lora.candidates[0][0].name, [0.5, 0.6, 0.7])
    with pytest.raises(InputError, match="scored on different items of referring_segmentation"):
        compare_study(grid, "rate", results)


def test_a_choice_at_the_end_of_its_range_is_said(make_grid: MakeGrid, results: Path) -> None:
    rate = "tuning.learning_rates.tuner"
    grid = make_grid(
        seeds=[0],
        variants={"plain": {"choose": {rate: [0.1, 0.2, 0.3]}}, "LoRA": {"set": {"model.tuner.method": "lora"}}},
    )
    for run, loss in zip(grid.variants[0].candidates, (1.0, 0.5, 0.7), strict=True):
        save(results, run[0].name, [0.5, 0.6], loss=loss)
    [plain] = compare_study(grid, "rate", results)
    assert (plain.chosen, plain.at_the_edge) == ({rate: 0.2}, ())
    save(results, grid.variants[0].candidates[2][0].name, [0.5, 0.6], loss=0.1)
    [plain] = compare_study(grid, "rate", results)
    assert (plain.chosen, plain.at_the_edge) == ({rate: 0.3}, (rate,))


def test_the_page_shows_scores_differences_and_verdicts(make_grid: MakeGrid, results: Path, tmp_path: Path) -> None:
    grid = make_grid()
    fill(grid, results)
    page = write_page(grid, results, tmp_path / "page.md", "neuraltuning ablate grid.yaml")
    text = page.read_text()
    assert "neuraltuning ablate grid.yaml" in text
    assert "from 4 of at most 4 runs, 4.0 core-hours in all; none is left" in text
    assert "still to be made" not in text
    row = next(line for line in text.splitlines() if line.startswith("| **LoRA**"))
    assert "5.19 M parameters" in row
    assert "-20.0 [-20.0, -20.0], p 0.0" in row
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["2", "1.000 ± 0.000"]
    assert "free: reproduced; teacher-forced: undecided" in row
    assert "all objects 25.0" in text.lower().replace("every object masked", "all objects")
    with Image.open(tmp_path / "images" / "page.png") as picture:
        assert picture.width > 600
    [study] = json.loads(page.with_suffix(".json").read_text()).values()
    assert study[1]["verdicts"] == {"free": "reproduced", "teacher_forced": "undecided"}


def test_the_page_tells_hours_of_cores_from_those_on_a_gpu(make_grid: MakeGrid, results: Path, tmp_path: Path) -> None:
    grid = make_grid()
    fill(grid, results)
    path = min(results.glob("*.json"))
    value = json.loads(path.read_text())
    value["machine"]["device"] = "NVIDIA H100"
    path.write_text(json.dumps(value))
    text = write_page(grid, results, tmp_path / "page.md", "ablate").read_text()
    assert "from 4 of at most 4 runs, 3.0 core-hours and 0.5 run-hours on NVIDIA H100 in all" in text


def test_a_study_whose_reference_is_missing_compares_nothing(
    make_grid: MakeGrid, results: Path, tmp_path: Path
) -> None:
    grid = make_grid()
    for run in grid.variants[1].candidates[0]:
        save(results, run.name, [0.5, 0.6])
    text = write_page(grid, results, tmp_path / "page.md", "x").read_text()
    assert "*Not run yet: plain.*" in text
    row = next(line for line in text.splitlines() if line.startswith("| **LoRA**"))
    assert row.endswith("| 2 | 1.000 ± 0.000 | 55.0 ± 0.0 | - |  |")


def test_a_grid_without_results_says_so(make_grid: MakeGrid, results: Path, tmp_path: Path) -> None:
    text = write_page(make_grid(), results, tmp_path / "page.md", "x").read_text()
    assert "from 0 of at most 4 runs, 0.0 core-hours in all (still to be made: 4;" in text
    assert "*Not run yet.*" in text
    assert not (tmp_path / "images").exists()
