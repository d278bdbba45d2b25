"""What is run, in which order, by whom, and never twice; with a maker that only writes down what it is asked."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from neuraltuning.ablation.grid import Grid
from neuraltuning.ablation.results import Result, read_result, write_result
from neuraltuning.ablation.schedule import RUNS, Job, chosen_runs, expected_runs, jobs, make_all
from neuraltuning.errors import InputError
from neuraltuning.training.settings import RunSettings
from tests.ablation.conftest import MakeGrid

RATE = "tuning.learning_rates.tuner"


class Notes:
    """A maker: the validation loss of a run is how far its tuner's rate is from 0.02."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        self.log, self.seconds = log, seconds

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(what + "\n")

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def train(self, settings: RunSettings, name: str, output: Path) -> Result:
        self.note(f"train {name}")
        time.sleep(self.seconds)
        (output / RUNS / name).mkdir(parents=True, exist_ok=True)
        loss = abs(settings.tuning.learning_rates["tuner"] - 0.02)
        return Result(name, settings.model_dump(mode="json"), loss, {"tuner": 1, "all": 2}, {"training": 1.0}, {})

    def score(self, settings: RunSettings, result: Result, split: str, output: Path) -> None:
        self.note(f"score {result.name}")
        assert (output / RUNS / result.name).is_dir()
        result.splits[split] = {"referring_segmentation": {"scores": {"oiou": 0.5}}}

    def discard(self, name: str, output: Path) -> None:
        if (output / RUNS / name).is_dir():
            (output / RUNS / name).rmdir()


def run(grid: Grid, notes: Notes, results: Path, limit: int | None = None) -> list[str]:
    shown: list[str] = []
    make_all(grid, notes, results.parent / "out", results, lambda job, left: shown.append(job.run.label), limit)
    return shown


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "log")


@pytest.fixture
def choosing(make_grid: MakeGrid) -> Grid:
    return make_grid(
        variants={
            "plain": {"choose": {RATE: [0.001, 0.019, 0.05]}},
            "LoRA": {"set": {"model.tuner.method": "lora"}},
        }
    )


def test_all_runs_are_made_and_the_first_seed_of_all_comes_first(
    make_grid: MakeGrid, notes: Notes, results: Path
) -> None:
    shown = run(make_grid(), notes, results)
    assert shown == ["rate / plain, seed 0", "rate / LoRA, seed 0", "rate / plain, seed 1", "rate / LoRA, seed 1"]
    assert not list((results.parent / "out" / RUNS).iterdir())  # models are not kept


def test_what_has_been_run_is_never_run_again(make_grid: MakeGrid, notes: Notes, results: Path) -> None:
    run(make_grid(), notes, results)
    before = notes.lines
    assert run(make_grid(), notes, results) == []
    assert notes.lines == before
    longer = make_grid(seeds=[0, 1, 2])
    assert run(longer, notes, results) == ["rate / plain, seed 2", "rate / LoRA, seed 2"]


def test_the_lowest_validation_loss_is_chosen_and_alone_is_scored(choosing: Grid, notes: Notes, results: Path) -> None:
    assert chosen_runs(choosing.variants[0], results) is None
    run(choosing, notes, results)
    chosen = chosen_runs(choosing.variants[0], results)
    assert chosen is not None
    assert [r.settings.tuning.learning_rates["tuner"] for r in chosen] == [0.019, 0.019]
    for candidate in choosing.variants[0].candidates:
        result = read_result(results, candidate[0].name)
        assert result is not None
        assert bool(result.splits) == (candidate[0].name == chosen[0].name)
    assert notes.lines.count(f"train {chosen[0].name}") == 1  # what was trained to choose by is scored as it is
    assert len([line for line in notes.lines if line.startswith("train")]) == expected_runs(choosing) == 6
    assert not list((results.parent / "out" / RUNS).iterdir())


def test_a_limit_stops_and_the_next_call_goes_on(choosing: Grid, notes: Notes, results: Path) -> None:
    assert len(run(choosing, notes, results, limit=2)) == 2
    assert run(choosing, notes, results, limit=0) == []
    run(choosing, notes, results)
    trained = [line for line in notes.lines if line.startswith("train")]
    assert len(trained) == len(set(trained)) == 6


def test_a_model_that_is_gone_is_trained_again(choosing: Grid, notes: Notes, results: Path) -> None:
    run(choosing, notes, results, limit=3)
    for folder in (results.parent / "out" / RUNS).iterdir():
        folder.rmdir()
    run(choosing, notes, results)
    assert jobs(choosing, results) == []


def work(grid: Grid, log: Path, results: Path) -> None:
    run(grid, Notes(log, seconds=0.2), results)


def test_processes_side_by_side_divide_the_runs(make_grid: MakeGrid, tmp_path: Path, results: Path) -> None:
    grid = make_grid(seeds=[0, 1, 2])
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(grid, tmp_path / "log", results)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    trained = [line for line in Notes(tmp_path / "log").lines if line.startswith("train")]
    assert len(trained) == len(set(trained)) == 6
    assert jobs(grid, results) == []


def test_a_failed_run_leaves_its_lock_to_the_next(make_grid: MakeGrid, notes: Notes, results: Path) -> None:
    class Failing(Notes):
        def score(self, settings: RunSettings, result: Result, split: str, output: Path) -> None:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        run(make_grid(), Failing(notes.log), results)
    run(make_grid(), notes, results)
    trained = [line for line in notes.lines if line.startswith("train")]
    assert len(trained) == len(set(trained)) == 4  # also the one that was trained and not scored


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "damaged; delete it"),
        ("[]", "has format None"),
        ('{"format": 99}', "has format 99, this program reads format 1"),
        ('{"format": 1, "name": "x"}', "damaged; delete it"),
    ],
)
def test_a_result_that_cannot_be_read_is_named(results: Path, text: str, sentence: str) -> None:
    (results / "abc.json").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_result(results, "abc")


def test_results_come_back_as_they_were(results: Path) -> None:
    result = Result("abc", {"seed": 1}, 0.5, {"tuner": 3, "all": 4}, {"training": 2.0}, {"threads": 1}, {"test": {}})
    write_result(results, result)
    assert read_result(results, "abc") == result
    assert read_result(results, "other") is None


def test_jobs_tell_whether_scores_are_wanted(choosing: Grid, results: Path) -> None:
    first: list[Job] = jobs(choosing, results)
    assert [job.scored for job in first] == [False, False, False, True, True]
