"""Writes report.html: one self-contained page with a run's scores, curves and pictures.

    neuraltuning report runs/quickstart

Reads only files in the run's folder (`run_files.py`, `analyses.py`), so it knows nothing of models, tasks or data; the
page loads nothing from anywhere.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuraltuning.files import atomic_path
from neuraltuning.report.analyses import analyses_section
from neuraltuning.report.gallery import gallery
from neuraltuning.report.html import Html, document, element
from neuraltuning.report.metric_names import metric_name, title
from neuraltuning.report.run_files import Run, number, read_run
from neuraltuning.report.scores import explanations, full_tables, headline, interval, score_card, split_table
from neuraltuning.report.training import training_section

FIRST_SPLIT = "test"
PACKAGES = ("neuraltuning", "torch", "transformers", "peft", "accelerate")


def write_report(run_dir: Path) -> Path:
    """Writes `run_dir/report.html` from metrics.json, training_log.jsonl, showcase/ and analysis/ in `run_dir`.

    Returns:
        the page's path.

    Raises:
        InputError: metrics.json is missing, or a file isn't what it should be.
        RunError: the page could not be written.
    """
    page = render(read_run(Path(run_dir)), analyses_section(Path(run_dir)))
    path = Path(run_dir) / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(run: Run, analyses: Html | None = None) -> Html:
    """The whole page; `analyses` is its section of what was analysed."""
    split = FIRST_SPLIT if FIRST_SPLIT in run.splits else next(iter(run.splits), "")
    sections = [
        _scores(run, split),
        gallery(run.showcase, split, list(run.splits.get(split, {}))),
        _all_splits(run),
        analyses,
        training_section(run.log),
        _how_it_was_run(run.details),
        _meanings(run),
    ]
    present = [section for section in sections if section is not None]
    body = [_header(run, split, analysed=analyses is not None), element("main", present), element("footer", _footer())]
    return document(f"{run.name}: neural tuning report", body)


def _header(run: Run, split: str, *, analysed: bool) -> Html:
    tiles = []
    for task, scores in run.splits.get(split, {}).items():
        key = headline(scores)
        if key is None:
            continue
        name, bounds = metric_name(key), interval(scores, key)
        tiles.append(
            element(
                "a",
                element("span", title(task), class_="task-name"),
                element("strong", name.format(float(scores[key]))),
                element("span", name.label, class_="unit"),
                None if bounds is None else element("span", name.format_interval(bounds), class_="range"),
                href=f"#score-{task}",
                class_="tile",
            )
        )
    model = _model_line(run.details)
    links = [("#scores", "Scores"), ("#replies", "Replies"), ("#splits", "All splits")]
    links += [("#analyses", "Analyses"), ("#training", "Training")]
    links += [("#how", "How it was run"), ("#meanings", "What the scores mean")]
    shown = {"#replies": bool(run.showcase), "#analyses": analysed, "#training": bool(run.log)}
    nav = element("nav", [element("a", text, href=href) for href, text in links if shown.get(href, True)])
    return element(
        "header",
        element("p", "Neural tuning report", class_="kicker"),
        element("h1", run.name),
        element("p", model, class_="note") if model else None,
        element("div", tiles, class_="tiles"),
        nav,
    )


def _scores(run: Run, split: str) -> Html:
    note = (
        f"Split \u201c{split}\u201d, replies generated freely. Whiskers are 95\u202f% bootstrap intervals over the "
        "items; read a score against the baselines below it, which are scored on the same items."
    )
    cards = [score_card(task, scores) for task, scores in run.splits.get(split, {}).items()]
    if not cards:
        return element(
            "section",
            element("h2", "Scores"),
            element("p", "No task has been evaluated yet.", class_="note"),
            id="scores",
        )
    return element(
        "section",
        element("h2", "Scores"),
        element("p", note, class_="note"),
        element("div", cards, class_="cards"),
        id="scores",
    )


def _all_splits(run: Run) -> Html:
    return element(
        "section", element("h2", "All splits"), split_table(run.splits), full_tables(run.splits), id="splits"
    )


def _meanings(run: Run) -> Html:
    return element("section", element("h2", "What the scores mean"), explanations(run.splits), id="meanings")


def _how_it_was_run(details: Mapping[str, Any]) -> Html:
    facts: list[tuple[str, str]] = []
    shown = {key: value for key, value in details.items() if key not in ("config", "model", "versions")}
    for key, value in _flat(shown):
        first, _, rest = key.partition(".")
        seconds = number(value) if first == "seconds" else None
        if seconds is not None:
            facts.append((f"Time: {title(rest).lower()}" if rest else "Time", duration(seconds)))
        else:
            facts.append((title(key.replace(".", ": ")), str(value)))
    facts.append(("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"))
    versions = details.get("versions")
    if not isinstance(versions, Mapping):
        versions = _installed_versions()
    facts += [(str(package), str(version)) for package, version in versions.items()]
    parts = [
        element(
            "dl", [element("div", element("dt", name), element("dd", value)) for name, value in facts], class_="facts"
        )
    ]
    for key, heading in (("model", "The model"), ("config", "The configuration")):
        rows = _flat(details.get(key) or {})
        if rows:
            table = element(
                "table",
                [element("tr", element("th", name, scope="row"), element("td", str(value))) for name, value in rows],
                class_="settings",
            )
            parts.append(element("details", element("summary", heading), element("div", table, class_="scroll")))
    return element("section", element("h2", "How it was run"), parts, id="how")


def _model_line(details: Mapping[str, Any]) -> str:
    """The model in a line: its LLM, encoder and tuner, and how much of it was trained."""
    model, config = details.get("model"), details.get("config")
    found = dict(model) if isinstance(model, Mapping) else {}
    configured = config.get("model") if isinstance(config, Mapping) else None
    for key, value in configured.items() if isinstance(configured, Mapping) else ():
        found.setdefault(key, value.get("method") if isinstance(value, Mapping) else value)
    parts = [
        str(found[key]).replace("_", " ") for key in ("llm", "encoder", "tuner") if isinstance(found.get(key), str)
    ]
    trained, frozen = number(found.get("trainable_parameters")), number(found.get("frozen_parameters"))
    if trained is not None:
        whole = "" if frozen is None else f" of {(trained + frozen) / 1e6:,.0f}\u202fM"
        parts.append(f"{trained / 1e6:,.1f}\u202fM{whole} parameters trained")
    return " \u00b7 ".join(parts)


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as ("a.b", value)."""
    if isinstance(value, Mapping) and value:
        return [
            pair for key, inner in value.items() for pair in _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, value)] if prefix else []


def _installed_versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def duration(seconds: float) -> str:
    """A time as it is written: "42 s", "9 min 30 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}\u202fs" if seconds < 10 else f"{whole}\u202fs"
    if whole < 3600:
        return f"{whole // 60}\u202fmin {whole % 60}\u202fs"
    return f"{whole // 3600}\u202fh {whole % 3600 // 60}\u202fmin"


def _footer() -> Sequence[Html]:
    return [
        element("p", "Written by neuraltuning from the files of this run. Scores and their traps: docs/metrics.md.")
    ]
