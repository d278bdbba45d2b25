"""Makes the runs of a grid, each once, whoever asks first: several processes may work on one grid.

A run whose result lies in the results' folder is never made again. A run under way is locked by its process; the lock
ends with the process, and the next one goes on from its checkpoint. Knows nothing of what a run does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from neuraltuning.ablation.grid import Grid, Run, Variant
from neuraltuning.ablation.results import Result, read_result, write_result
from neuraltuning.training.settings import RunSettings

LOCKS = "locks"
RUNS = "runs"
"""Folder of the runs under way, in the grid's output."""
WAIT_SECONDS = 5.0


class Maker(Protocol):
    """How runs are made: `neuraltuning.ablation.run`."""

    def train(self, settings: RunSettings, name: str, output: Path) -> Result: ...
    def score(self, settings: RunSettings, result: Result, split: str, output: Path) -> None: ...
    def discard(self, name: str, output: Path) -> None: ...


@dataclass(frozen=True)
class Job:
    """A run, and whether its scores are wanted or its validation loss alone."""

    run: Run
    scored: bool


def chosen_runs(variant: Variant, results: Path) -> tuple[Run, ...] | None:
    """A variant's runs, by seed, with the values that have the lowest validation loss at the first seed.

    None as long as the runs to choose from are not there.
    """
    if len(variant.candidates) == 1:
        return variant.candidates[0]
    losses = []
    for runs in variant.candidates:
        result = read_result(results, runs[0].name)
        if result is None:
            return None
        losses.append(result.validation_loss)
    return variant.candidates[losses.index(min(losses))]


def jobs(grid: Grid, results: Path) -> list[Job]:
    """What is to be done as far as it can be told now, without what is done: all studies' first seed, then the next."""
    wanted: dict[str, Job] = {}
    for place in range(len(grid.settings.seeds)):
        for variant in grid.variants:
            chosen = chosen_runs(variant, results)
            if chosen is None:
                for runs in variant.candidates:
                    wanted.setdefault(runs[0].name, Job(runs[0], scored=False))
            else:
                wanted[chosen[place].name] = Job(chosen[place], scored=True)
    return [job for job in wanted.values() if not _is_done(job, grid, results)]


def expected_runs(grid: Grid) -> int:
    """How many trainings the whole grid takes at most."""
    names = {runs[0].name for variant in grid.variants for runs in variant.candidates}
    more = {run.name for variant in grid.variants for run in variant.candidates[0][1:]}
    return len(names | more)


def make_all(
    grid: Grid, maker: Maker, output: Path, results: Path, report: Callable[[Job, int], None], limit: int | None = None
) -> int:
    """Makes what is left of a grid, and waits for what other processes are making.

    Args:
        grid: what is to be run.
        maker: makes it.
        output: folder for the runs under way.
        results: folder of the results.
        report: called before each job with it and the number of those left that can be told.
        limit: stop after so many jobs.

    Returns:
        The number of jobs made by this process.
    """
    made = 0
    while left := jobs(grid, results):
        if limit is not None and made >= limit:
            return made
        for job in left:
            with _locked(output, job.run.name) as ours:
                if not ours or _is_done(job, grid, results):
                    continue
                report(job, len(left))
                _make(job, grid, maker, output, results)
                made += 1
                break
        else:  # others are at work on all of them
            time.sleep(WAIT_SECONDS)
        _discard_losers(grid, maker, output, results)
    return made


def _make(job: Job, grid: Grid, maker: Maker, output: Path, results: Path) -> None:
    run, settings = job.run, job.run.settings
    result = read_result(results, run.name)
    if result is None or not (output / RUNS / run.name).is_dir():
        # the training of an unscored run whose model is gone comes out the same again
        result = maker.train(settings, run.name, output)
        write_result(results, result)
    if job.scored:
        maker.score(settings, result, grid.settings.split, output)
        write_result(results, result)
        maker.discard(run.name, output)


def _discard_losers(grid: Grid, maker: Maker, output: Path, results: Path) -> None:
    """Removes what was trained only to be chosen from, once that is done."""
    chosen = [chosen_runs(variant, results) for variant in grid.variants]
    winners = {run.name for runs in chosen for run in runs or ()}
    for variant, runs in zip(grid.variants, chosen, strict=True):
        if runs is not None:
            for candidate in variant.candidates:
                if candidate[0].name not in winners and read_result(results, candidate[0].name) is not None:
                    maker.discard(candidate[0].name, output)


def _is_done(job: Job, grid: Grid, results: Path) -> bool:
    result = read_result(results, job.run.name)
    return result is not None and (not job.scored or grid.settings.split in result.splits)


class _locked:
    """Holds the lock of a run for the block, if nobody else does."""

    def __init__(self, output: Path, name: str) -> None:
        folder = output / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / f"{name}.lock")

    def __enter__(self) -> bool:
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def __exit__(self, *error: object) -> None:
        self.lock.release()
