"""Shows the outcome of a grid: a Markdown page with a table a study, a picture of all differences, and all as JSON.

    neuraltuning ablate configs/grids/ablation.yaml --output runs/ablation --results docs/results/ablation --limit 0 \\
        --page docs/results.md

Studies without results yet are named as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from neuraltuning.ablation.comparison import FORCED, FREE, Spread, VariantOutcome, compare_study
from neuraltuning.ablation.grid import Grid
from neuraltuning.ablation.picture import draw_differences
from neuraltuning.ablation.results import Result, read_result
from neuraltuning.ablation.schedule import chosen_runs, expected_runs, jobs
from neuraltuning.files import atomic_path, write_json
from neuraltuning.report.metric_names import metric_name, title
from neuraltuning.tasks import get_task

WAYS = {FREE: "free", FORCED: "teacher-forced"}


def write_page(grid: Grid, results: Path, page: Path, command: str) -> Path:
    """Writes `page`, `images/<page>.png` and `<page>.json` beside it.

    Args:
        grid: what was run.
        results: folder of the results.
        page: Markdown file.
        command: that makes the page, for its reader.

    Raises:
        InputError: a result is damaged, of another version, or can't be compared.
        RunError: the page can't be written.
    """
    outcomes = {name: compare_study(grid, name, results) for name in grid.settings.studies}
    picture = page.parent / "images" / f"{page.stem}.png"
    drawn = draw_differences({name: found for name, found in outcomes.items() if len(found) > 1}, picture)
    parts = [_head(grid, results, command)]
    if drawn:
        parts.append(
            f"![Differences from the reference of each study](images/{picture.name})\n\n"
            "*Each item's own score beside the reference's, in points, with 95 % intervals over seeds and items.*\n"
        )
    parts += [_study(grid, name, found) for name, found in outcomes.items()]
    with atomic_path(page) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    write_json(page.with_suffix(".json"), {name: [asdict(o) for o in found] for name, found in outcomes.items()})
    return page


def _head(grid: Grid, results: Path, command: str) -> str:
    made = _all_results(grid, results)
    left = len(jobs(grid, results))
    seeds = ", ".join(map(str, grid.settings.seeds))
    lines = [
        "# Ablations",
        "",
        "Made by",
        "",
        "```",
        command,
        "```",
        "",
        f"from {len(made)} of at most {expected_runs(grid)} runs, {_compute(made)} in all"
        + (
            f" (still to be made: {left}; what stands here is what there is)." if left else "; none is left to be made."
        ),
        f"Each variant is run with the seeds {seeds}; all runs of a seed share one start (alignment and warm-up; made "
        "once on each device), see the same images in the same order, and are scored on the same items.",
        "",
        "- Scores are the mean over seeds of the task's main score on the test split, ± the standard deviation over "
        "seeds: of **freely** generated replies, and **teacher-forced**, where the decoders read the true replies, "
        "which is what the papers' released code scores.",
        "- A difference is that of each item's own score (IoU of its masks, F1 of object names, target found or not) "
        "from the reference's, in points, with a 95 % bootstrap interval over seeds and items and the p value of a "
        "sign-flip test over items. Many comparisons stand here: at p = 0.05 one in twenty is chance.",
        "- The verdict: *reproduced* where the interval leaves zero out on the papers' side, *not reproduced* on the "
        "other side, *undecided* where it holds zero.",
        "- Learning rates that are given as chosen were chosen by the validation loss (all losses together) with the "
        "first seed, not by any score here.",
        "",
    ]
    return "\n".join(lines)


def _study(grid: Grid, name: str, outcomes: Sequence[VariantOutcome]) -> str:
    study = grid.settings.studies[name]
    lines = [f"## {name[:1].upper()}{name[1:]}", "", study.question + (f" {study.paper}" if study.paper else ""), ""]
    if not outcomes:
        return "\n".join([*lines, "*Not run yet.*", ""])
    if missing := sorted(set(study.variants) - {outcome.name for outcome in outcomes}):
        lines += [f"*Not run yet: {', '.join(missing)}.*", ""]
    forced = bool(outcomes[0].forced.get(study.task))
    score = _score_name(study.task)
    head = ["variant", "seeds", "validation loss", f"{title(study.task)}, {score}, free"]
    head += ["teacher-forced"] if forced else []
    head += ["difference, free", *(["difference, teacher-forced"] if forced else []), "verdict"]
    lines += [_row(head), _row(["---"] * len(head))]
    for outcome in outcomes:
        cells = [_variant(outcome), str(len(outcome.seeds)), _loss(outcome.validation_loss)]
        cells.append(_spread(outcome.scores.get(study.task)))
        cells += [_spread(outcome.forced.get(study.task))] if forced else []
        for way in WAYS if forced else (FREE,):
            cells.append("reference" if outcome.name == study.reference else _difference(outcome, way))
        cells.append(_verdict(outcome))
        lines.append(_row(cells))
    baselines = ", ".join(f"{title(k).lower()} {100 * v:.1f}" for k, v in outcomes[0].baselines.items())
    lines += ["", *([f"On the same items: {baselines}.", ""] if baselines else [])]
    others = [task for task in outcomes[0].scores if task != study.task]
    if others:
        lines += ["The other tasks of these runs, free:", ""]
        lines += [
            _row(["variant", *(f"{title(t)}, {_score_name(t)}" for t in others)]),
            _row(["---"] * (len(others) + 1)),
        ]
        lines += [_row([o.name, *(_spread(o.scores.get(t)) for t in others)]) for o in outcomes]
        lines.append("")
    return "\n".join(lines)


def _score_name(task: str) -> str:
    key, _ = get_task(task).success
    return metric_name("oiou" if key == "iou" else key).label


def _variant(outcome: VariantOutcome) -> str:
    chosen = [
        f"{key.removeprefix('tuning.learning_rates.')} {value:g}"
        + (" (an end of the range)" if key in outcome.at_the_edge else "")
        for key, value in outcome.chosen.items()
    ]
    said = f"; chosen: {', '.join(chosen)}" if chosen else ""
    return f"**{outcome.name}** ({outcome.tuner_parameters / 1e6:.2f} M parameters{said})"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def _loss(spread: Spread) -> str:
    return f"{spread.mean:.3f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.3f}")


def _difference(outcome: VariantOutcome, way: str) -> str:
    found = outcome.differences.get(way)
    if found is None:
        return "-"
    if found.interval is None or found.p_value is None:
        return f"{100 * found.mean:+.1f}"
    low, high = (100 * end for end in found.interval)
    return f"{100 * found.mean:+.1f} [{low:+.1f}, {high:+.1f}], p {found.p_value:.3f}"


def _verdict(outcome: VariantOutcome) -> str:
    verdicts = list(dict.fromkeys(outcome.verdicts.values()))
    if len(verdicts) <= 1:
        return "".join(verdicts)
    return "; ".join(f"{WAYS[way]}: {said}" for way, said in outcome.verdicts.items())


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _compute(made: Sequence[Result]) -> str:
    """What the runs took, by device; of runs side by side on one GPU each one's whole time."""
    hours = {"core-hours": 0.0}
    for result in made:
        on_cpu = result.machine["device"] == "cpu"
        unit = "core-hours" if on_cpu else f"run-hours on {result.machine['device']}"
        taken = sum(result.seconds.values()) / 3600
        hours[unit] = hours.get(unit, 0.0) + (result.machine["threads"] * taken if on_cpu else taken)
    return " and ".join(f"{value:.1f} {unit}" for unit, value in hours.items())


def _all_results(grid: Grid, results: Path) -> list[Result]:
    found: dict[str, Result] = {}
    for variant in grid.variants:
        for runs in (*variant.candidates, *filter(None, [chosen_runs(variant, results)])):
            for run in runs:
                result = read_result(results, run.name)
                if result is not None:
                    found[run.name] = result
    return list(found.values())
