"""What the results of a grid say: each variant's scores over seeds, its difference from the reference, a verdict.

Differences are taken on items in pairs, the same items with the same seeds, in each item's own score (mask IoU, F1 of
object names, found among 16). Knows nothing of how runs are made, nor of how the outcome is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuraltuning.ablation.grid import Direction, Grid, Run, Variant
from neuraltuning.ablation.results import Result, read_result
from neuraltuning.ablation.schedule import chosen_runs
from neuraltuning.ablation.significance import PairedDifference, paired_difference
from neuraltuning.errors import InputError
from neuraltuning.report.scores import headline

FREE, FORCED = "free", "teacher_forced"


@dataclass(frozen=True)
class Spread:
    """A score over seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class VariantOutcome:
    """What came of a variant.

    Attributes:
        name: the variant's.
        chosen: the values that were chosen on validation, by dotted key.
        at_the_edge: those of them that are the first or last of the values to choose from.
        seeds: of the runs that are there.
        tuner_parameters: trained parameters of the tuner.
        validation_loss: the lowest of each run, by which choices are made; comparable between equal mixtures.
        scores: task -> its main score, freely generated.
        forced: task -> the same, teacher-forced; tasks without task tokens are left out.
        baselines: name -> the same of the study's task by a trivial baseline.
        differences: "free" and "teacher_forced" -> how the study's items differ from the reference's; empty for it.
        verdicts: the same keys -> what that says of the papers' finding.
    """

    name: str
    chosen: Mapping[str, Any]
    at_the_edge: tuple[str, ...]
    seeds: tuple[int, ...]
    tuner_parameters: int
    validation_loss: Spread
    scores: Mapping[str, Spread]
    forced: Mapping[str, Spread]
    baselines: Mapping[str, float]
    differences: Mapping[str, PairedDifference]
    verdicts: Mapping[str, str]


def compare_study(grid: Grid, study_name: str, results: Path) -> list[VariantOutcome]:
    """The outcomes of a study's variants that have scores, the reference first.

    Raises:
        InputError: two results to be compared were scored on different items.
    """
    study = grid.settings.studies[study_name]
    variants = grid.of_study(study_name)
    reference = _scored(variants[study.reference], grid, results)
    outcomes = []
    for name in sorted(variants, key=lambda name: name != study.reference):
        runs = _scored(variants[name], grid, results)
        if not runs:
            continue
        differences = {}
        if name != study.reference:
            for way in (FREE, FORCED):
                found = _difference(runs, reference, study.task, way, grid.settings.split)
                if found is not None:
                    differences[way] = found
        expected = study.variants[name].expect
        verdicts = {way: verdict(difference, expected) for way, difference in differences.items()}
        outcomes.append(_outcome(variants[name], runs, grid, study.task, differences, verdicts))
    return outcomes


def verdict(difference: PairedDifference, expected: Direction | None) -> str:
    """What a difference says of a direction that the papers found.

    A difference counts as shown where its interval, over seeds and items, leaves zero out; of one seed nothing is said.
    """
    if difference.interval is None or difference.n_seeds < 2:
        return "undecided (one seed)"
    low, high = difference.interval
    shown: Direction | None = "higher" if low > 0 else "lower" if high < 0 else None
    if expected is None:
        return {"higher": "higher", "lower": "lower", None: "no difference shown"}[shown]
    if expected == "equal":
        return "reproduced" if shown is None else "not reproduced"
    if shown is None:
        return "undecided"
    return "reproduced" if shown == expected else "not reproduced"


def _scored(variant: Variant, grid: Grid, results: Path) -> dict[int, tuple[Run, Result]]:
    """Seed -> run and result, of the chosen values, where there are scores."""
    found = {}
    for seed, run in zip(grid.settings.seeds, chosen_runs(variant, results) or (), strict=False):
        result = read_result(results, run.name)
        if result is not None and grid.settings.split in result.splits:
            found[seed] = (run, result)
    return found


def _difference(
    ours: Mapping[int, tuple[Run, Result]],
    theirs: Mapping[int, tuple[Run, Result]],
    task: str,
    way: str,
    split: str,
) -> PairedDifference | None:
    seeds = sorted(set(ours) & set(theirs))
    rows = []
    for seed in seeds:
        pair = [runs[seed][1].splits[split][task]["items"] for runs in (ours, theirs)]
        if any(way not in items for items in pair):
            return None
        if pair[0]["ids"] != pair[1]["ids"]:
            names = " and ".join(runs[seed][1].name for runs in (ours, theirs))
            raise InputError(
                f"The results {names} were scored on different items of {task}, so that they can't be compared: delete "
                "them, and the runs are made again."
            )
        rows.append([items[way] for items in pair])
    if not rows:
        return None
    table = np.array(rows)
    return paired_difference(table[:, 0], table[:, 1])


def _outcome(
    variant: Variant,
    runs: Mapping[int, tuple[Run, Result]],
    grid: Grid,
    task: str,
    differences: Mapping[str, PairedDifference],
    verdicts: Mapping[str, str],
) -> VariantOutcome:
    split = grid.settings.split
    results = [result for _, result in runs.values()]
    scored = [result.splits[split] for result in results]
    study = grid.settings.studies[variant.study].variants[variant.name]
    place = next(k for k, candidate in enumerate(variant.candidates) if next(iter(runs.values()))[0] in candidate)
    values = _chosen(study.choose, place)
    return VariantOutcome(
        name=variant.name,
        chosen=values,
        at_the_edge=tuple(
            key for key, value in values.items() if value in (study.choose[key][0], study.choose[key][-1])
        ),
        seeds=tuple(runs),
        tuner_parameters=results[0].trainable_parameters["tuner"],
        validation_loss=Spread(tuple(result.validation_loss for result in results)),
        scores=_spreads([{t: record["scores"] for t, record in one.items()} for one in scored]),
        forced=_spreads(
            [{t: record["teacher_forced"] for t, record in one.items() if "teacher_forced" in record} for one in scored]
        ),
        baselines=_baselines(scored[0][task]),
        differences=differences,
        verdicts=verdicts,
    )


def _chosen(choose: Mapping[str, Sequence[Any]], place: int) -> dict[str, Any]:
    """The combination at a place, in the order of `itertools.product`."""
    values: dict[str, Any] = {}
    for key in reversed(list(choose)):
        place, k = divmod(place, len(choose[key]))
        values[key] = choose[key][k]
    return {key: values[key] for key in choose}


def _spreads(scored: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Spread]:
    spreads = {}
    for task, scores in scored[0].items():
        name = headline(scores)
        if name is not None:
            spreads[task] = Spread(tuple(float(one[task][name]) for one in scored))
    return spreads


def _baselines(record: Mapping[str, Any]) -> dict[str, float]:
    name = headline(record["scores"])
    return {other: scores[name] for other, scores in record["baselines"].items() if name in scores}
