"""The score cards and tables of the report: each task's headline with its interval beside every baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neuraltuning.report.charts import Bar, bar_chart
from neuraltuning.report.html import Html, element
from neuraltuning.report.metric_names import (
    COUNTS,
    HEADLINES,
    MetricName,
    baseline_label,
    baseline_meaning,
    metric_name,
    title,
)
from neuraltuning.report.run_files import number

Scores = Mapping[str, Any]
_NOT_SCORES = frozenset(("teacher_forced", "baselines", "by_kind", "missing"))


def headline(scores: Scores) -> str | None:
    """The key of the score that stands for a task; None where it has no number at all."""
    keys = [*HEADLINES, *(key for key in scores if key not in (*_NOT_SCORES, *COUNTS))]
    return next((key for key in keys if number(scores.get(key)) is not None), None)


def interval(scores: Scores, key: str) -> list[float] | None:
    """The 95 % interval that belongs to `key`, if there is one."""
    bounds = scores.get(f"{key}_ci95")
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    low, high = number(bounds[0]), number(bounds[1])
    return None if low is None or high is None else [low, high]


def score_card(task: str, scores: Scores) -> Html:
    """One task: its headline number, bars beside the baselines, scores by kind, and what is missing."""
    key = headline(scores)
    heading = element("h3", title(task))
    count = number(scores.get("n"))
    counted = "" if count is None else f"{count:,.0f} items"
    if key is None:
        return element("article", heading, element("p", "No score.", class_="note"), _missing(scores), class_="card")
    name = metric_name(key)
    value, bounds = float(scores[key]), interval(scores, key)
    ranged = None if bounds is None else f"95\u202f% interval {name.format_interval(bounds)}"
    figure = element(
        "p",
        element("strong", name.format(value), class_="figure"),
        element("span", name.label, class_="unit"),
        element("span", " · ".join(filter(None, (ranged, counted))), class_="range"),
        class_="headline",
    )
    chart = bar_chart(list(_bars(key, name, scores)), f"{name.label}: {title(task)}") if name.percent else None
    return element(
        "article",
        heading,
        figure,
        chart,
        _other_scores(key, scores),
        _kinds(key, scores),
        _missing(scores),
        class_="card",
        id=f"score-{task}",
    )


def split_table(splits: Mapping[str, Mapping[str, Scores]]) -> Html:
    """Every task's headline on every split."""
    tasks = list(dict.fromkeys(task for scores in splits.values() for task in scores))
    rows = []
    for task in tasks:
        key = next((k for scores in splits.values() if task in scores and (k := headline(scores[task]))), None)
        cells = [element("td", _cell(scores.get(task, {}), key)) for scores in splits.values()]
        label = "" if key is None else metric_name(key).label
        rows.append(element("tr", element("th", title(task), element("small", label), scope="row"), cells))
    head = element("tr", element("th", "Task"), [element("th", title(split), scope="col") for split in splits])
    return _table(head, rows)


def full_tables(splits: Mapping[str, Mapping[str, Scores]]) -> list[Html]:
    """For each task a folded table of every score on every split, teacher-forced and baselines included."""
    tasks = list(dict.fromkeys(task for scores in splits.values() for task in scores))
    result = []
    for task in tasks:
        columns: list[tuple[str, str, Scores]] = []
        for split, scored in splits.items():
            scores = scored.get(task, {})
            columns += [(split, who, part) for who, part in (("", scores), *_others(scores)) if part]
        keys = dict.fromkeys(key for _, _, part in columns for key in part if _is_score(key, part))
        rows = [
            element(
                "tr",
                element("th", metric_name(key).label, scope="row"),
                [element("td", _cell(part, key)) for _, _, part in columns],
            )
            for key in keys
        ]
        head = element(
            "tr",
            element("th", "Score"),
            [
                element("th", title(split), element("small", baseline_label(who) if who else "this model"), scope="col")
                for split, who, _ in columns
            ],
        )
        result.append(element("details", element("summary", f"{title(task)}: every score"), _table(head, rows)))
    return result


def explanations(splits: Mapping[str, Mapping[str, Scores]]) -> Html:
    """What the scores and baselines that occur mean."""
    keys: dict[str, None] = {}
    others: dict[str, None] = {}
    for scored in splits.values():
        for scores in scored.values():
            keys |= dict.fromkeys(key for key in scores if _is_score(key, scores))
            others |= dict.fromkeys(who for who, _ in _others(scores))
    ordered = sorted(keys, key=lambda key: HEADLINES.index(key) if key in HEADLINES else len(HEADLINES))
    entries = [(metric_name(key).label, metric_name(key).meaning) for key in ordered]
    entries += [(baseline_label(who), baseline_meaning(who)) for who in sorted(others)]
    items = [(element("dt", label), element("dd", meaning)) for label, meaning in entries if meaning]
    return element("dl", items, class_="meanings")


def _bars(key: str, name: MetricName, scores: Scores) -> Iterable[Bar]:
    def bar(label: str, part: Scores, style: str) -> Bar | None:
        value, bounds = number(part.get(key)), interval(part, key)
        if value is None:
            return None
        return Bar(label, value, name.format(value), None if bounds is None else (bounds[0], bounds[1]), style)

    bars = [bar("this model", scores, "model")]
    for who, part in _others(scores):
        bars.append(bar(baseline_label(who), part, "other" if who == "teacher_forced" else "baseline"))
    chance = number(scores.get(f"{key}_chance"))
    if chance is not None:
        bars.append(Bar(baseline_label("chance"), chance, name.format(chance)))
    return (found for found in bars if found is not None)


def _others(scores: Scores) -> list[tuple[str, Scores]]:
    """Teacher-forced and baseline scores by name."""
    found: list[tuple[str, Scores]] = []
    if isinstance(scores.get("teacher_forced"), Mapping):
        found.append(("teacher_forced", scores["teacher_forced"]))
    baselines = scores.get("baselines")
    if isinstance(baselines, Mapping):
        found += [(str(who), part) for who, part in baselines.items() if isinstance(part, Mapping)]
    return found


def _is_score(key: str, scores: Scores) -> bool:
    return (
        key not in _NOT_SCORES
        and not key.endswith(("_ci95", "_chance", "_std"))
        and (scores[key] is None or number(scores[key]) is not None)
    )


def _other_scores(shown: str, scores: Scores) -> Html | None:
    items = [
        element(
            "div", element("dt", metric_name(key).label), element("dd", metric_name(key).format(float(scores[key])))
        )
        for key in scores
        if _is_score(key, scores) and scores[key] is not None and key not in (shown, *COUNTS)
    ]
    return element("dl", items, class_="facts") if items else None


def _kinds(key: str, scores: Scores) -> Html | None:
    kinds = scores.get("by_kind")
    name = metric_name(key)
    if not isinstance(kinds, Mapping) or not name.percent:
        return None
    bars = []
    for kind, part in kinds.items():
        value = number(part.get(key)) if isinstance(part, Mapping) else None
        if value is not None:
            bounds, count = interval(part, key), number(part.get("n"))
            label = str(kind).replace("_", " ") + (f" ({count:,.0f})" if count is not None else "")
            bars.append(
                Bar(label, value, name.format(value), None if bounds is None else (bounds[0], bounds[1]), "model")
            )
    if not bars:
        return None
    return element("details", element("summary", f"{name.label} by kind"), bar_chart(bars, "by kind"))


def _missing(scores: Scores) -> Html | None:
    missing = scores.get("missing")
    if not isinstance(missing, Mapping) or not missing:
        return None
    reasons: dict[str, list[str]] = {}
    for key, reason in missing.items():
        reasons.setdefault(str(reason), []).append(metric_name(str(key)).label)
    return element(
        "ul", [element("li", f"{', '.join(labels)}: {reason}") for reason, labels in reasons.items()], class_="missing"
    )


def _cell(scores: Scores, key: str | None) -> list[Html | str]:
    value = None if key is None else number(scores.get(key))
    if key is None or value is None:
        return ["\u2013"]
    name, bounds = metric_name(key), interval(scores, key)
    shown: list[Html | str] = [f"{value:,.0f}" if key in COUNTS else name.format(value)]
    if bounds is not None:
        shown.append(element("small", name.format_interval(bounds)))
    return shown


def _table(head: Html, rows: list[Html]) -> Html:
    return element("div", element("table", element("thead", head), element("tbody", rows)), class_="scroll")
