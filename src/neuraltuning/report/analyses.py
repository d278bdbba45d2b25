"""The report's section of what analyses found in a run: neurons, attention, cost.

Each part appears where `neuraltuning analyse ...` has left its file (`neuraltuning.analysis.results`). Knows files and
pictures, nothing of models.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from neuraltuning.analysis.cost_labels import CONVENTIONS, LABELS, PART_LABELS
from neuraltuning.analysis.neurons_files import PICTURES, verdict
from neuraltuning.analysis.results import ATTENTION, COST, NEURONS, read_result
from neuraltuning.report.html import Html, element

SHOWN_ITEMS = 3
"""Replies whose attention is shown before the rest is folded."""


def analyses_section(run: Path) -> Html | None:
    """The section of the run in folder `run`; None where nothing was analysed.

    Raises:
        InputError: a result is damaged or of another version.
    """
    parts = []
    for kind, draw in ((NEURONS, _neurons), (ATTENTION, _attention), (COST, _cost)):
        found = read_result(run, kind)
        if found is not None:
            parts.append(element("div", draw(found, kind.in_run(run).parent), class_="analysis"))
    return element("section", element("h2", "Analyses"), parts, id="analyses") if parts else None


def _neurons(found: Mapping[str, Any], folder: Path) -> list[Html]:
    whose = "the true replies" if found["replies"] == "true" else "replies that the model gave"
    intro = (
        f"A neuron is an entry of the sparse vector Za. Counted are {found['samples']} images of the split "
        f"\u201c{found['split']}\u201d, each with one example of each task, at the positions that predict the tokens "
        f"of {whose} and their end. A neuron is active for a task if it is at {found['threshold']:.0%} of these "
        f"positions or more, and never used if it is at less than {found['never_below']:.0%} for every task. "
        "\u201cBefore tuning\u201d is the same model with its sparse task network as it was drawn: what the texts "
        "alone make tasks share."
    )
    captions = (
        "How often each neuron is active, by task and layer.",
        "What each pair of tasks shares; pairs that are called related stand in bold.",
        "Neurons by how many tasks they are active for.",
    )
    parts = [element("h3", "Neurons by task"), element("p", intro, class_="note")]
    parts += [element("p", f"{_sentence(verdict(test))}") for test in found["tests"]]
    parts += [_figure(folder / name, caption) for name, caption in zip(PICTURES, captions, strict=True)]
    parts.append(_pairs_table(found["pairs"]))
    if found["tests"]:
        tests = [_comparisons_table(test) for test in found["tests"]]
        how = element("p", f"Permuted: {found['permuted']}. {found['limits']}", class_="note")
        parts.append(element("details", element("summary", "How it was tested"), how, tests))
    return parts


def _pairs_table(pairs: Sequence[Mapping[str, Any]]) -> Html:
    head = ["", "Jaccard index", "by chance", "before tuning", "rank correlation", "before tuning"]
    rows = [
        [
            _named(pair["tasks"]),
            _value(pair["jaccard"], pair["jaccard_ci95"]),
            _value(pair["jaccard_by_chance"]),
            _value(pair["jaccard_before_tuning"]),
            _value(pair["rank_correlation"], pair["rank_correlation_ci95"]),
            _value(pair["rank_correlation_before_tuning"]),
        ]
        for pair in sorted(pairs, key=lambda pair: -(pair["jaccard"] or 0.0))
    ]
    return _table(head, rows)


def _comparisons_table(test: Mapping[str, Any]) -> Html:
    head = ["shares more with one than another task", "measure", "difference", "p", "images", "gain by tuning"]
    rows = []
    for measure in ("jaccard", "rank_correlation"):
        for one in test[measure]["comparisons"]:
            anchor, relative, other = (one[key].replace("_", " ") for key in ("anchor", "relative", "other"))
            rows.append(
                [
                    f"{anchor} with {relative} than with {other}",
                    measure.replace("_", " "),
                    _value(one["difference"]),
                    "\u2013" if one["p"] is None else f"{one['p']:.2g}",
                    str(one["n"]),
                    _value(one["gain_by_tuning"], one["gain_by_tuning_ci95"]),
                ]
            )
    return _table(head, rows)


def _attention(found: Mapping[str, Any], folder: Path) -> list[Html]:
    parts = [element("h3", "Attention"), element("p", found["what"], class_="note")]
    if lift := found.get("lift"):
        parts += [
            element(
                "p",
                "Of the attention on the image, the share that falls on the object that an <OBJ> means, over the "
                f"object's share of the image: 1 is what looking anywhere would give ({lift['n']} true replies).",
            ),
            _table(
                ["attention", "the object", "other objects", "difference"],
                [
                    [name, *(_value(lift[kind][key], lift[kind][f"{key}_ci95"]) for key in keys)]
                    for kind, name in (("patches", "on patches"), ("described", "on names, laid on their patches"))
                    for keys in [("object", "other_objects", "difference")]
                    if lift[kind]["object"] is not None
                ],
            ),
        ]
    figures = [_figure(folder / item["picture"], f"{item['id']}: {item['reply']}") for item in found["items"]]
    parts += figures[:SHOWN_ITEMS]
    if figures[SHOWN_ITEMS:]:
        parts.append(element("details", element("summary", "More replies"), figures[SHOWN_ITEMS:]))
    for item in found["items"][:1]:
        layers = [
            _figure(folder / name, f"{look['word']} in {item['reply']}")
            for look in item["looks"]
            for name in look["pictures"]
        ]
        parts.append(element("details", element("summary", "The first reply by layer"), layers))
    return parts


def _cost(found: Mapping[str, Any], folder: Path) -> list[Html]:
    title = (
        f"One pass of {found['llm']} with {found['encoder']} over {found['image_tokens']} image and "
        f"{found['text_tokens']} text tokens, in GFLOPs, a multiply-add counting two."
    )
    head = ["", *PART_LABELS.values(), "all", "parameters, M", "trained, M", "memory, GB (estimated)"]
    rows = [
        [
            LABELS[method],
            *(f"{one['flops'][part] / 1e9:,.1f}" for part in PART_LABELS),
            f"{one['flops_total'] / 1e9:,.1f}",
            f"{one['parameters_total'] / 1e6:,.1f}",
            f"{one['trained'] / 1e6:,.1f}",
            f"{one['estimated_inference_bytes'] / 1e9:.2f}",
        ]
        for method, one in found["methods"].items()
    ]
    parts = [element("h3", "Cost"), element("p", title, class_="note"), _table(head, rows)]
    measured = found["measured"]
    if measured is not None:
        peak = "" if measured["peak_bytes"] is None else f", peak memory {measured['peak_bytes'] / 1e9:.2f} GB"
        parts.append(
            element(
                "p",
                f"Measured on {measured['device']} in {measured['dtype']} with {measured['threads']} threads, on "
                f"{measured['image_tokens']} image and {measured['text_tokens']} text tokens: a pass "
                f"{measured['pass_seconds']:.3f} s, a reply of {measured['generated_tokens']} tokens "
                f"{measured['reply_seconds']:.3f} s{peak}.",
            )
        )
    return [*parts, element("p", CONVENTIONS, class_="note")]


def _figure(path: Path, caption: str) -> Html:
    """A picture with its caption, smaller in bytes than its file; a sentence where it can't be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.convert("RGBA").save(buffer, "WEBP", quality=84, method=4)
            width, height = picture.size
    except (OSError, UnidentifiedImageError):
        return element("p", f"The picture {path.name} can't be read.", class_="note")
    url = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    image = element("img", src=url, alt=caption, width=width, height=height, decoding="async")
    return element("figure", image, element("figcaption", caption), class_="analysed")


def _table(head: Sequence[str], rows: Sequence[Sequence[Html | str]]) -> Html:
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]]) for row in rows
    ]
    top = element("tr", [element("th", name) for name in head])
    return element("div", element("table", element("thead", top), element("tbody", body)), class_="scroll")


def _value(value: float | None, interval: Sequence[float] | None = None) -> Html:
    """A number with its 95 % interval below it."""
    if value is None:
        return element("span", "\u2013")
    bounds = None if interval is None else element("small", f"{interval[0]:.2f}\u2009\u2013\u2009{interval[1]:.2f}")
    return element("span", f"{value:.2f}", bounds)


def _named(tasks: Sequence[str]) -> str:
    return " and ".join(task.replace("_", " ") for task in tasks)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
