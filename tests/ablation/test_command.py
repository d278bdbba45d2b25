"""The command `neuraltuning ablate`, as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuraltuning.ablation.grid import load_grid
from tests.command_line import Run, command_line

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return command_line(monkeypatch, capsys)


def test_the_page_of_a_grid_without_results(tmp_path: Path, command: Run) -> None:
    status, out, err = command("ablate", CONFIGS / "grids" / "ablation.yaml", "--output", tmp_path, "--limit", "0")
    assert status == 0, err
    assert out.strip() == str(tmp_path / "ablation.md")
    text = (tmp_path / "ablation.md").read_text()
    assert "--limit 0" in text  # the command that made it
    assert "from 0 of at most 67 runs" in text


def test_a_range_from_the_command_line(tmp_path: Path, command: Run) -> None:
    over = ["--over", "alpha=0.1:1.0:0.1", "--seeds", "0,1", "--task", "reasoning_segmentation"]
    status, _, err = command("ablate", CONFIGS / "quickstart.yaml", *over, "--output", tmp_path, "--limit", "0")
    assert status == 0, err
    assert "(still to be made: 20;" in (tmp_path / "ablation.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["quickstart.yaml", "--over", "alfa=0.1,0.2"], "did you mean alpha?"),
        (["quickstart.yaml", "--over", "alpha=0.1,1.2"], "variant 'alpha 1.2': alpha must be in [0, 1], got 1.2"),
        (["quickstart.yaml", "--over", "alpha=0.1,0.2", "--seeds", "one"], "--seeds one: write whole numbers"),
        (["quickstart.yaml"], "configures one run: say what to vary by --over"),
        (["grids/ablation.yaml", "--jobs", "2", "--limit", "1"], "leave --jobs out"),
        (["none.yaml"], "There is no configuration file"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_status_2(
    tmp_path: Path, command: Run, arguments: list[str], sentence: str
) -> None:
    status, out, err = command("ablate", CONFIGS / arguments[0], *arguments[1:], "--output", tmp_path / "out")
    assert (status, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "out").exists()


def test_a_result_of_another_version_is_named_and_no_page_is_written(tmp_path: Path, command: Run) -> None:
    grid = CONFIGS / "grids" / "ablation.yaml"
    results = tmp_path / "results"
    results.mkdir()
    name = load_grid(grid).variants[0].candidates[0][0].name
    (results / f"{name}.json").write_text('{"format": 7}')
    status, _, err = command("ablate", grid, "--output", tmp_path / "out", "--results", results, "--limit", "0")
    assert status == 2
    assert f"{name}.json has format 7, this program reads format 1" in err
    assert not (tmp_path / "out").exists()
